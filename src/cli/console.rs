//! Output of commands: messages on standard error, as lines for people or as JSON objects; results
//! on standard output.

use std::io::{ErrorKind, IsTerminal, Write};

use chrono::{SecondsFormat, Utc};
use serde_json::{Map, Value, json};

use super::log_format::LogFormat;
use crate::error::{Error, Result};
use crate::escape;

/// How a command prints.
#[derive(Debug, Clone, Copy)]
pub struct Console {
    quiet: bool,
    format: LogFormat,
}

impl Console {
    pub fn new(quiet: bool, format: LogFormat) -> Self {
        Console { quiet, format }
    }

    /// Whether progress can redraw a line.
    pub fn is_interactive(&self) -> bool {
        !self.quiet && self.format == LogFormat::Text && std::io::stderr().is_terminal()
    }

    pub fn format(&self) -> LogFormat {
        self.format
    }

    /// Prints a message for people, in lines of ours; nothing when quiet.
    pub fn say(&self, text: &str) {
        if !self.quiet {
            match self.format {
                LogFormat::Text => self.line("INFO", "", &escape::lines(text), Map::new()),
                LogFormat::Json => self.line("INFO", "", text, Map::new()),
            }
        }
    }

    /// Prints a step of the work: `  archive    41.2 GB ...`
    pub fn step(&self, label: &str, text: &str) {
        match self.format {
            LogFormat::Text => self.say(&format!("  {label:<9}  {}", escape::line(text))),
            LogFormat::Json => self.say(&format!("{label}: {text}")),
        }
    }

    /// Prints a warning on one line, whatever it contains, even when quiet.
    pub fn warn(&self, text: &str) {
        match self.format {
            LogFormat::Text => self.line("WARN", &paint("warning:", "33"), &escape::line(text), Map::new()),
            LogFormat::Json => self.line("WARN", "", text, Map::new()),
        }
    }

    /// Prints an event: `label text`, without control characters, or a JSON object that also has
    /// `fields`.
    pub fn line(&self, level: &str, label: &str, text: &str, fields: Map<String, Value>) {
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

/// Prints `text`, lines of ours or JSON, and a newline on standard output. A closed pipe (`| head`)
/// is not an error.
///
/// # Errors
/// When it cannot be written, for example to a full disk.
pub fn print(text: &str) -> Result<()> {
    // Neither form can steer a terminal, and JSON keeps its meaning.
    let text = if text.starts_with(['{', '[']) { escape::json(text) } else { escape::lines(text) };
    let mut out = std::io::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Err(e) if e.kind() != ErrorKind::BrokenPipe => {
            Err(Error::failed("cannot write to standard output").because(e))
        }
        _ => Ok(()),
    }
}

/// If standard error fails, there is no other place for the line.
pub fn stderr_line(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// `text` in bold and the colour `code` (of SGR), if standard error is a terminal with colours.
pub fn paint(text: &str, code: &str) -> String {
    let plain = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty())
        || std::env::var_os("TERM").is_some_and(|v| v == "dumb");
    if plain || !std::io::stderr().is_terminal() {
        return text.to_owned();
    }
    format!("\x1b[1;{code}m{text}\x1b[0m")
}
