//! A value of a key in a format.

use std::borrow::Cow;

use chrono::{DateTime, Local, NaiveDateTime};
use serde_json::{Value as Json, json};

/// As borg shows a time in a list.
const LONG: &str = "%a, %Y-%m-%d %H:%M:%S";
/// As borg shows it in JSON.
const ISO: &str = "%Y-%m-%dT%H:%M:%S%.6f";
/// As borg stores it, in UTC.
const STORED: &str = "%Y-%m-%dT%H:%M:%S%.f";

/// A value of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value<'a> {
    Text(Cow<'a, str>),
    /// Printed unchanged, as it is not always text.
    Bytes(&'a [u8]),
    Number(u64),
    Time(Time),
}

/// A moment, shown in the local time zone; `None` if it is no moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Time(Option<DateTime<Local>>);

impl Time {
    /// From nanoseconds since 1970, rounded to microseconds as Python rounds a float of seconds.
    pub fn from_nanos(nanos: i64) -> Self {
        let seconds = nanos as f64 / 1e9;
        let micros = seconds.trunc() as i64 * 1_000_000 + (seconds.fract() * 1e6).round_ties_even() as i64;
        Time(DateTime::from_timestamp_micros(micros).map(|time| time.with_timezone(&Local)))
    }

    /// From the text in an archive, which is UTC.
    pub fn parse(text: &str) -> Self {
        let utc = NaiveDateTime::parse_from_str(text, STORED).ok();
        Time(utc.map(|utc| utc.and_utc().with_timezone(&Local)))
    }

    /// By `format`, as strftime(3) takes it; borg's own if it is empty. `None` if it is no format.
    pub fn format(self, format: &str) -> Option<String> {
        use std::fmt::Write;
        let Some(time) = self.0 else { return Some(String::new()) };
        let mut text = String::new();
        let format = if format.is_empty() { LONG } else { format };
        // Printing a format that is none is an error, and `to_string` would panic.
        write!(text, "{}", time.format(format)).ok()?;
        Some(text)
    }

    pub fn long(self) -> String {
        self.format(LONG).unwrap_or_default()
    }

    pub fn iso(self) -> String {
        self.format(ISO).unwrap_or_default()
    }

    /// The time from this one to `end`, in seconds.
    pub fn seconds_to(self, end: Time) -> f64 {
        let between = self.0.zip(end.0).and_then(|(start, end)| (end - start).num_microseconds());
        between.unwrap_or_default() as f64 / 1e6
    }
}

impl<'a> Value<'a> {
    pub fn text(text: impl Into<Cow<'a, str>>) -> Self {
        Value::Text(text.into())
    }

    pub fn json(&self) -> Json {
        match self {
            Value::Text(text) => json!(text),
            Value::Bytes(bytes) => json!(readable(bytes)),
            Value::Number(number) => json!(number),
            Value::Time(time) => json!(time.iso()),
        }
    }
}

/// `bytes` as text, with `?` for each byte that is not UTF-8, as borg prints it.
pub fn readable(bytes: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = std::str::from_utf8(bytes) {
        return Cow::Borrowed(text);
    }
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|_| '?'));
    }
    Cow::Owned(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_no_text_are_question_marks() {
        assert_eq!(readable(b"a\xff\xfeb"), "a??b");
        assert_eq!(readable("ü".as_bytes()), "ü");
    }

    #[test]
    fn a_time_is_shown_as_borg_shows_it_or_by_a_format_and_a_wrong_format_is_none() {
        let time = Time::parse("2026-11-24T07:06:54.000120");
        assert!(time.iso().ends_with(":06:54.000120"), "{}", time.iso());
        assert!(time.long().contains(", 2026-11-2"), "{}", time.long());
        assert_eq!(time.format("%Y").unwrap(), "2026");
        assert_eq!(time.format("%!"), None);
        assert_eq!(Time::parse("x").long(), "");
        assert_eq!(time.seconds_to(Time::parse("2026-11-24T07:06:55.500120")), 1.5);
        assert_eq!(Time::from_nanos(1).iso().len(), 26);
        let micros = |nanos| Time::from_nanos(nanos).iso().split_off(20);
        assert_eq!(
            (micros(999), micros(499), micros(-1_000)),
            ("000001".into(), "000000".into(), "999999".into())
        );
    }
}
