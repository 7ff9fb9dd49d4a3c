//! How commands speak beside their result: on standard error, in lines for people or as JSON
//! objects; and what was asked for, on standard output.

use std::io::{ErrorKind, IsTerminal, Write};
use std::time::Duration;

use chrono::{SecondsFormat, Utc};
use serde_json::{Map, Value, json};

use super::args::LogFormat;
use crate::error::{Error, Result};
use crate::escape;

/// The voice of one run.
#[derive(Debug, Clone, Copy)]
pub struct Console {
    quiet: bool,
    format: LogFormat,
}

impl Console {
    pub fn new(quiet: bool, format: LogFormat) -> Self {
        Console { quiet, format }
    }

    /// Whether progress that redraws a line has a place to be drawn.
    pub fn is_interactive(&self) -> bool {
        !self.quiet && self.format == LogFormat::Text && std::io::stderr().is_terminal()
    }

    pub fn is_quiet(&self) -> bool {
        self.quiet
    }

    pub fn format(&self) -> LogFormat {
        self.format
    }

    /// Tells what is done or came of it, in lines of ours; nothing when quiet.
    pub fn say(&self, text: &str) {
        if !self.quiet {
            match self.format {
                LogFormat::Text => self.line("INFO", "", &escape::lines(text), Map::new()),
                LogFormat::Json => self.line("INFO", "", text, Map::new()),
            }
        }
    }

    /// Tells what the user should know, also when quiet; on one line, whatever is in it.
    pub fn warn(&self, text: &str) {
        match self.format {
            LogFormat::Text => self.line("WARN", &paint("warning:", "33"), &escape::line(text), Map::new()),
            LogFormat::Json => self.line("WARN", "", text, Map::new()),
        }
    }

    /// One event: `label text`, which steers no terminal, or a JSON object with `fields` besides.
    pub(super) fn line(&self, level: &str, label: &str, text: &str, fields: Map<String, Value>) {
        match self.format {
            LogFormat::Text if label.is_empty() => stderr_line(text),
            LogFormat::Text => stderr_line(&format!("{label} {text}")),
            LogFormat::Json => {
                let timestamp = Utc::now().to_rfc3339_opts(SecondsFormat::Millis, true);
                let mut event = json!({"timestamp": timestamp, "level": level, "message": text});
                if let Some(object) = event.as_object_mut() {
                    object.extend(fields);
                }
                stderr_line(&escape::json(&event.to_string()));
            }
        }
    }
}

/// Writes `text`, lines of ours or JSON, and a line end to standard output. Nobody reading it any
/// more (`| head`) is no error.
///
/// # Errors
/// When it cannot be written, as to a full disk.
pub fn print(text: &str) -> Result<()> {
    // Either way nothing steers a terminal; JSON goes on meaning what it did.
    let text = if text.starts_with(['{', '[']) { escape::json(text) } else { escape::lines(text) };
    let mut out = std::io::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Err(e) if e.kind() != ErrorKind::BrokenPipe => {
            Err(Error::failed("cannot write to standard output").because(e))
        }
        _ => Ok(()),
    }
}

/// Draws the line of progress anew, on one line of the terminal however narrow it is; an empty
/// text takes it away.
pub(super) fn redraw(text: &str) {
    let _ = write!(std::io::stderr().lock(), "\r\x1b[?7l{}\x1b[K\x1b[?7h", escape::line(text));
}

/// A line that cannot be written to standard error has nowhere else to go.
pub(super) fn stderr_line(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// `text` in bold and the colour `code` (as SGR has it), where standard error is a terminal that
/// shows colours.
pub(super) fn paint(text: &str, code: &str) -> String {
    let plain = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty())
        || std::env::var_os("TERM").is_some_and(|v| v == "dumb");
    if plain || !std::io::stderr().is_terminal() {
        return text.to_owned();
    }
    format!("\x1b[1;{code}m{text}\x1b[0m")
}

/// `41.2 GB`: decimal units, three digits.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["kB", "MB", "GB", "TB", "PB", "EB"];
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1000.0;
    let mut unit = 0;
    // What would be rounded to 1000 is shown in the next unit.
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    let digits = if value < 99.95 { 1 } else { 0 };
    format!("{value:.digits$} {}", UNITS[unit])
}

/// `0.3 s`, `42 s`, `6 min 12 s`, `3 h 5 min`.
pub fn duration(time: Duration) -> String {
    let tenths = (time.as_millis() + 50) / 100;
    if tenths < 100 {
        return format!("{}.{} s", tenths / 10, tenths % 10);
    }
    let seconds = (time.as_millis() + 500) / 1000;
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, s) => format!("{s} s"),
        (0, m, s) => format!("{m} min {s} s"),
        (h, m, _) => format!("{h} h {m} min"),
    }
}

/// `214,310`
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_decimal_units_and_three_digits() {
        for (bytes, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (99_900, "99.9 kB"),
            (99_960, "100 kB"),
            (999_499, "999 kB"),
            (999_500, "1.0 MB"),
            (41_200_000_000, "41.2 GB"),
            (u64::MAX, "18.4 EB"),
        ] {
            assert_eq!(size(bytes), text, "{bytes}");
        }
    }

    #[test]
    fn durations_have_two_units_at_most() {
        for (millis, text) in [
            (0, "0.0 s"),
            (340, "0.3 s"),
            (9_949, "9.9 s"),
            (9_950, "10 s"),
            (59_499, "59 s"),
            (59_500, "1 min 0 s"),
            (372_000, "6 min 12 s"),
            (3_599_600, "1 h 0 min"),
            (11_100_000, "3 h 5 min"),
        ] {
            assert_eq!(duration(Duration::from_millis(millis)), text, "{millis}");
        }
    }

    #[test]
    fn counts_have_a_comma_each_three_digits() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (214_310, "214,310")] {
            assert_eq!(count(number), text);
        }
        assert_eq!(count(u64::MAX), "18,446,744,073,709,551,615");
    }
}
