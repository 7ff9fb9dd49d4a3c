//! borg's log on standard error with `--log-json`.

use serde::Deserialize;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Debug,
    Info,
    Warning,
    Error,
}

/// The progress of `borg create`; sizes in bytes.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Progress {
    #[serde(default)]
    pub original_size: u64,
    #[serde(default)]
    pub compressed_size: u64,
    #[serde(default)]
    pub deduplicated_size: u64,
    #[serde(default)]
    pub nfiles: u64,
    #[serde(default)]
    pub path: String,
}

/// A line of borg's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    /// `id` is borg's msgid, such as "LockTimeout", if there is one.
    Message {
        level: Level,
        id: Option<String>,
        text: String,
    },
    Progress(Progress),
    /// The progress of `borg extract`, in bytes.
    Extracted {
        done: u64,
        total: u64,
    },
    /// A line of `borg create --list`: a file and its status (A, M, U, E, …).
    File {
        status: char,
        path: String,
    },
    /// A question of borg's, named by the variable that answers it.
    Question {
        id: String,
    },
    /// Another report of borg's about its own work.
    Other,
}

#[derive(Deserialize)]
struct Raw {
    r#type: String,
    #[serde(default)]
    levelname: String,
    #[serde(default)]
    message: String,
    msgid: Option<String>,
    #[serde(default)]
    current: u64,
    #[serde(default)]
    total: u64,
    #[serde(default)]
    status: String,
    #[serde(default)]
    path: String,
}

impl Line {
    /// A line that is not JSON (from ssh, a shell or Python) counts as a warning.
    pub fn parse(bytes: &[u8]) -> Line {
        let Ok(raw) = serde_json::from_slice::<Raw>(bytes) else {
            let text = String::from_utf8_lossy(bytes).into_owned();
            return Line::Message { level: Level::Warning, id: None, text };
        };
        match raw.r#type.as_str() {
            "log_message" => {
                let level = match raw.levelname.as_str() {
                    "DEBUG" => Level::Debug,
                    "INFO" => Level::Info,
                    "ERROR" | "CRITICAL" => Level::Error,
                    _ => Level::Warning,
                };
                Line::Message { level, id: raw.msgid, text: raw.message }
            }
            "archive_progress" => serde_json::from_slice(bytes).map_or(Line::Other, Line::Progress),
            "progress_percent" if raw.msgid.as_deref() == Some("extract") && raw.total > 0 => {
                Line::Extracted { done: raw.current, total: raw.total }
            }
            "file_status" => Line::File { status: raw.status.chars().next().unwrap_or('?'), path: raw.path },
            "question_prompt" => Line::Question { id: raw.msgid.unwrap_or_default() },
            _ => Line::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_progress_and_foreign_lines_are_told_apart() {
        let line = Line::parse(
            br#"{"type": "log_message", "time": 1.5, "message": "Archive no does not exist",
                "levelname": "ERROR", "name": "borg.archiver", "msgid": "Archive.DoesNotExist"}"#,
        );
        let text = "Archive no does not exist".to_owned();
        assert_eq!(
            line,
            Line::Message { level: Level::Error, id: Some("Archive.DoesNotExist".into()), text }
        );
        let line = Line::parse(
            br#"{"original_size": 5, "compressed_size": 4, "deduplicated_size": 3, "nfiles": 2,
                "path": "t", "time": 1.0, "type": "archive_progress", "finished": false}"#,
        );
        let progress = Progress {
            original_size: 5,
            compressed_size: 4,
            deduplicated_size: 3,
            nfiles: 2,
            path: "t".into(),
        };
        assert_eq!(line, Line::Progress(progress));
        assert_eq!(
            Line::parse(b"bash: borg: command not found"),
            Line::Message { level: Level::Warning, id: None, text: "bash: borg: command not found".into() }
        );
        let line = br#"{"message": "  0.0% Extracting: d/f", "current": 2, "total": 20, "info": ["d/f"],
            "operation": 1, "msgid": "extract", "type": "progress_percent", "finished": false}"#;
        assert_eq!(Line::parse(line), Line::Extracted { done: 2, total: 20 });
        assert_eq!(
            Line::parse(br#"{"type": "file_status", "status": "A", "path": "x/y"}"#),
            Line::File { status: 'A', path: "x/y".into() }
        );
    }
}
