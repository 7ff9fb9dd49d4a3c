//! An archive and its name.

use chrono::{NaiveDate, NaiveDateTime};
use serde::Deserialize;

/// An archive in the output of `borg list --json`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Archive {
    pub name: String,
    /// 64 hex digits. It identifies the archive even if another one takes its name.
    pub id: String,
    /// The start in UTC as ISO text, which sorts by time.
    pub start: String,
}

impl Archive {
    /// The start in nanoseconds since 1970; 0 if it cannot be read.
    pub fn start_ns(&self) -> i64 {
        let start = NaiveDateTime::parse_from_str(&self.start, "%Y-%m-%dT%H:%M:%S%.f");
        start.ok().and_then(|t| t.and_utc().timestamp_nanos_opt()).unwrap_or_default()
    }
}

/// `yyyy-mm-dd`, the name of the archive of this day.
pub fn date_name(date: NaiveDate) -> String {
    date.format("%Y-%m-%d").to_string()
}

/// The date in `name`, if it is exactly `yyyy-mm-dd`.
pub fn as_date(name: &str) -> Option<NaiveDate> {
    let date = NaiveDate::parse_from_str(name, "%Y-%m-%d").ok()?;
    (date_name(date) == name).then_some(date)
}

/// Whether borg left this archive when it was interrupted.
pub fn is_checkpoint(name: &str) -> bool {
    name.contains(".checkpoint")
}

const BESIDE: &str = ".beside";
const NEW: &str = ".new";

/// The name of an archive that could not take the name `name`; `number` counts from 1.
pub fn beside(name: &str, number: usize) -> String {
    numbered(name, BESIDE, number)
}

/// The name of the archive that this one is beside.
pub fn is_beside(name: &str) -> Option<&str> {
    without_number(name, BESIDE)
}

/// The temporary name of an archive that replaces the archive `name`, until that one is deleted;
/// `number` counts from 1. It is not a date, so it is never pruned.
pub fn in_the_making(name: &str, number: usize) -> String {
    numbered(name, NEW, number)
}

/// The name of the archive that this one replaces.
pub fn is_in_the_making(name: &str) -> Option<&str> {
    without_number(name, NEW)
}

fn numbered(name: &str, end: &str, number: usize) -> String {
    match number {
        ..2 => format!("{name}{end}"),
        _ => format!("{name}{end}-{number}"),
    }
}

fn without_number<'a>(name: &'a str, end: &str) -> Option<&'a str> {
    let (stem, number) = name.rsplit_once(end)?;
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    (number.is_empty() || number.strip_prefix('-').is_some_and(is_number)).then_some(stem)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_beside_an_archive_bears_its_name() {
        for number in [1, 2, 30] {
            assert_eq!(is_beside(&beside("2026-11-27-media", number)), Some("2026-11-27-media"));
        }
        assert_eq!(is_in_the_making(&in_the_making("2026-11-27", 3)), Some("2026-11-27"));
        for name in ["2026-11-27", "2026-11-27.besides", "a.beside-x", "a.beside-", "a.news", "a.new-"] {
            assert_eq!((is_beside(name), is_in_the_making(name)), (None, None), "{name}");
        }
    }

    #[test]
    fn only_an_exact_date_is_a_date() {
        assert!(as_date("2026-11-30").is_some());
        for name in ["2026-11-31", "2026-1-3", "2026-11-30.new", "x", "+026-11-30"] {
            assert!(as_date(name).is_none(), "{name}");
        }
    }
}
