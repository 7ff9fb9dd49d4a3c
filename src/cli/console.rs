//! How commands speak beside their result: on standard error, in lines for people or as JSON
//! objects; and what was asked for, on standard output.

use std::io::{ErrorKind, IsTerminal, Write};

use chrono::{SecondsFormat, Utc};
use serde_json::{Map, Value, json};

use super::log_format::LogFormat;
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

    /// Reports one step of the work: `  archive    41.2 GB ...`
    pub fn step(&self, label: &str, text: &str) {
        match self.format {
            LogFormat::Text => self.say(&format!("  {label:<9}  {}", escape::line(text))),
            LogFormat::Json => self.say(&format!("{label}: {text}")),
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

/// A line that cannot be written to standard error has nowhere else to go.
pub fn stderr_line(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// `text` in bold and the colour `code` (as SGR has it), where standard error is a terminal that
/// shows colours.
pub fn paint(text: &str, code: &str) -> String {
    let plain = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty())
        || std::env::var_os("TERM").is_some_and(|v| v == "dumb");
    if plain || !std::io::stderr().is_terminal() {
        return text.to_owned();
    }
    format!("\x1b[1;{code}m{text}\x1b[0m")
}
