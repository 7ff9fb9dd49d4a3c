//! `borg create` on the staged tree: the call, what it tells while it runs, what it made.

use std::ffi::OsString;
use std::io::Read;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use chrono::NaiveDateTime;
use serde::{Deserialize, Serialize};

use super::caches;
use super::monitor::{Event, Monitor};
use super::plan::Plan;
use crate::error::{Error, Kind, Result};
use crate::process::{Command, Ended};
use crate::tools::borg::{self, Borg, Level, Line};

/// So much work at most, in seconds, is lost when the line to the server is cut; borg's own
/// default is half an hour.
const CHECKPOINT_INTERVAL: &str = "300";

/// What borg counted; sizes in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statistics {
    /// Of all that was looked at.
    pub original_size: u64,
    /// Of the same, compressed.
    pub compressed_size: u64,
    /// What came new into the repository.
    pub deduplicated_size: u64,
    /// Regular files.
    #[serde(rename = "nfiles")]
    pub files: u64,
}

/// An archive that stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archived {
    /// 64 hex digits.
    pub id: String,
    /// When it was started, in UTC, as `borg list` tells it.
    pub start: String,
    /// When it was complete, ...
    pub end: String,
    /// ... and the repository changed with it.
    pub modified: String,
    pub statistics: Statistics,
    pub warnings: Warnings,
    /// Folders that a CACHEDIR.TAG keeps out.
    pub caches: u64,
}

/// How often borg warned while it made an archive.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Warnings {
    pub all: u64,
    /// Those of `all` that say that a file changed while it was read.
    pub changed: u64,
}

/// Makes archives of one tree.
pub struct Archiver<'a> {
    pub borg: &'a Borg,
    pub plan: &'a Plan,
    /// The root of the archive.
    pub tree: &'a Path,
    /// What borg is given of it, relative to `tree`.
    pub paths: Vec<OsString>,
    /// No path is followed into another file system.
    pub one_file_system: bool,
    /// The user's own, before the archive's name.
    pub options: &'a [OsString],
    pub lock_wait: Duration,
}

impl Archiver<'_> {
    /// Makes the archive `name`.
    ///
    /// # Errors
    /// What borg said, explained; then there is no such archive, or it was there before.
    pub fn archive(&self, name: &str, monitor: Arc<dyn Monitor>) -> Result<Archived> {
        let mut command = self.command()?.args(["--json", "--progress"]);
        if self.plan.exclude_caches && !self.lists() {
            command = command.args(caches::LISTED);
        }
        let (stdout, seen) = self.run(command, name, false, monitor)?;
        let made = parse_made(&stdout).map_err(|e| {
            Error::failed(format!("borg does not say that it made the archive {name}"))
                .because(e)
                .hint("see whether one of the options after `--` keeps it from doing so")
        })?;
        let (Made { id, start, end, stats, .. }, modified) = made;
        Ok(Archived {
            id,
            start,
            end,
            modified,
            statistics: stats,
            warnings: seen.warnings(),
            caches: seen.caches,
        })
    }

    /// The archive `name`, if this machine has begun it since `since`, in UTC: of an archive that is
    /// whole while only the answer got lost. What was warned of while it was made is not known.
    ///
    /// # Errors
    /// When it is another one; else what borg said, explained.
    pub fn find(&self, name: &str, since: NaiveDateTime) -> Result<Archived> {
        let doing = format!("look at the archive {name}");
        let command = self.borg.command("info", self.lock_wait)?.arg("--json");
        let output = self.borg.run(command.arg(borg::archive_argument(name)).die_with_parent(), &doing)?;
        let (Made { id, start, end, hostname, stats }, modified) = parse_found(&output.stdout)
            .map_err(|e| Error::failed(format!("cannot {doing}: borg's answer cannot be read")).because(e))?;
        let begun = start.parse::<NaiveDateTime>().is_ok_and(|start| start >= since);
        let host = nix::unistd::gethostname().unwrap_or_default();
        if !begun || hostname.is_none_or(|name| host != *name) {
            return Err(exists_already(self.borg.repository(), name));
        }
        Ok(Archived { id, start, end, modified, statistics: stats, warnings: Warnings::default(), caches: 0 })
    }

    /// Tells what would be looked at, and makes nothing.
    ///
    /// # Errors
    /// What borg said, explained.
    pub fn rehearse(&self, name: &str, monitor: Arc<dyn Monitor>) -> Result<Warnings> {
        let command = self.command()?.args(["--dry-run", "--list"]);
        let (_, seen) = self.run(command, name, true, monitor)?;
        Ok(seen.warnings())
    }

    fn command(&self) -> Result<Command> {
        let mut command = self
            .borg
            .command("create", self.lock_wait)?
            .args(["--compression", &self.plan.compression])
            .background_priority()
            .die_with_parent()
            .current_dir(self.tree);
        if self.borg.way().is_some() {
            command = command.args(["--checkpoint-interval", CHECKPOINT_INTERVAL]);
        }
        if self.plan.exclude_caches {
            command = command.args(["--exclude-caches", "--keep-exclude-tags"]);
        }
        if self.one_file_system {
            command = command.arg("--one-file-system");
        }
        for pattern in &self.plan.excludes {
            command = command.arg(format!("--exclude={pattern}"));
        }
        Ok(command)
    }

    /// Whether the user wants a list of his own.
    fn lists(&self) -> bool {
        self.options.iter().any(|option| {
            option.to_str().is_some_and(|o| o.starts_with("--list") || o.starts_with("--filter"))
        })
    }

    fn run(
        &self,
        command: Command,
        name: &str,
        is_rehearsal: bool,
        monitor: Arc<dyn Monitor>,
    ) -> Result<(Vec<u8>, Seen)> {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let sink = Arc::clone(&seen);
        let (tree, lists) = (self.tree.to_owned(), self.lists());
        let mut child =
            command.args(self.options).arg(borg::archive_argument(name)).arg("--").args(&self.paths).spawn(
                move |bytes| {
                    let line = Line::parse(bytes);
                    if let Some(cache) = caches::left_out(&line, &tree) {
                        tracing::info!("left out as a cache: {cache}");
                        sink.lock().unwrap_or_else(|e| e.into_inner()).caches += 1;
                    }
                    if matches!(line, Line::File { .. }) && !lists && !is_rehearsal {
                        return;
                    }
                    if sink.lock().unwrap_or_else(|e| e.into_inner()).take(&line) {
                        tell(&line, &*monitor);
                    }
                },
            )?;
        let stdout = child.stdout().map(|mut pipe| {
            thread::spawn(move || {
                let mut json = Vec::new();
                pipe.read_to_end(&mut json).map(|_| json)
            })
        });
        let ended = child.wait_or_interrupt().map_err(|e| match e.kind() {
            Kind::Interrupted => e.hint(format!("the archive {name} was not made")),
            _ => e,
        })?;
        let stdout = match stdout.map(thread::JoinHandle::join) {
            Some(Ok(Ok(json))) => json,
            _ => return Err(Error::failed("cannot read what borg reports")),
        };
        let seen = std::mem::take(&mut *seen.lock().unwrap_or_else(|e| e.into_inner()));
        match borg::warned(ended) {
            Some(warned) if !seen.crashed => Ok((stdout, Seen { warned, ..seen })),
            _ => Err(explain(self.borg, name, ended, &seen.lines)),
        }
    }
}

/// What was seen of borg's log.
#[derive(Default)]
struct Seen {
    /// By the exit code.
    warned: bool,
    warnings: Warnings,
    caches: u64,
    /// The last messages that explain a failure.
    lines: Vec<Line>,
    /// Python gave up on borg, as on an exclude pattern that is no regular expression. Its exit
    /// code is then 1, which elsewhere stands for warnings.
    crashed: bool,
}

impl Seen {
    const KEPT_LINES: usize = 200;

    /// Whether it is something to tell.
    fn take(&mut self, line: &Line) -> bool {
        if let Line::Message { text, .. } = line
            && (self.crashed || text == "Traceback (most recent call last):")
        {
            self.trace(line, text);
            return false;
        }
        match line {
            Line::Message { level: Level::Warning, text, .. } => {
                self.warnings.all += 1;
                self.warnings.changed += u64::from(text.contains("file changed while we backed it up"));
            }
            Line::Message { level: Level::Error, .. } | Line::Question { .. } => {}
            _ => return true,
        }
        if self.lines.len() == Seen::KEPT_LINES {
            self.lines.remove(0);
        }
        self.lines.push(line.clone());
        true
    }

    /// Of a traceback only the exception, the first line that is not indented, explains anything.
    fn trace(&mut self, line: &Line, text: &str) {
        if !self.crashed {
            self.crashed = true;
            self.lines.clear();
        } else if self.lines.is_empty() && !text.is_empty() && !text.starts_with(' ') {
            self.lines.push(line.clone());
        }
    }

    /// The exit code decides: what ssh or a shell says in passing warns of nothing.
    fn warnings(&self) -> Warnings {
        match self.warned {
            true => Warnings { all: self.warnings.all.max(1), ..self.warnings },
            false => Warnings::default(),
        }
    }
}

fn tell(line: &Line, monitor: &dyn Monitor) {
    match line {
        Line::Message { level: Level::Warning, text, .. } => monitor.tell(Event::Warning(text)),
        // The last one of a run has no figures.
        Line::Progress(progress) if progress.original_size > 0 => monitor.tell(Event::Progress(progress)),
        Line::File { status, path } => monitor.tell(Event::File { status: *status, path }),
        _ => {}
    }
}

/// The error of a failed `create`, with what only `create` knows besides.
fn explain(borg: &Borg, name: &str, ended: Ended, lines: &[Line]) -> Error {
    let said = |wanted: &dyn Fn(Option<&str>, &str) -> bool| {
        lines.iter().any(|l| matches!(l, Line::Message { id, text, .. } if wanted(id.as_deref(), text)))
    };
    if said(&|id, _| id == Some("Archive.AlreadyExists")) {
        return exists_already(borg.repository(), name);
    }
    let error = borg::explain(borg, &format!("make the archive {name}"), ended, lines);
    if said(&|_, text| text.starts_with("re.error: ") || text.starts_with("re.PatternError: ")) {
        return error.hint("a `re:` pattern in exclude_patterns is no regular expression");
    }
    if said(&|id, text| id == Some("Repository.InsufficientFreeSpaceError") || text.contains("No space left"))
    {
        return error
            .hint(format!("a disk is full: that of {}, or that of borg's cache here", borg.repository()))
            .hint("`borg-offsite-backup delete` or `prune`, then `compact`, make room in a repository");
    }
    error
}

/// The error for an archive that is there before it is made.
pub fn exists_already(repository: &str, name: &str) -> Error {
    Error::new(Kind::Exists, format!("there is an archive {name} in {repository} already"))
        .hint("`--if-exists replace` makes it anew, and removes the old one when the new one stands")
        .hint("`--if-exists skip` is content with it")
}

#[derive(Deserialize)]
struct Made {
    id: String,
    start: String,
    end: String,
    /// Told by `info` alone.
    hostname: Option<String>,
    stats: Statistics,
}

#[derive(Deserialize)]
struct Repository {
    last_modified: String,
}

/// Of `create --json`: the archive, and when the repository changed with it.
fn parse_made(json: &[u8]) -> serde_json::Result<(Made, String)> {
    #[derive(Deserialize)]
    struct Report {
        archive: Made,
        repository: Repository,
    }
    let report: Report = serde_json::from_slice(json)?;
    Ok((report.archive, report.repository.last_modified))
}

/// The same of `info --json` of one archive.
fn parse_found(json: &[u8]) -> serde_json::Result<(Made, String)> {
    #[derive(Deserialize)]
    struct Report {
        archives: [Made; 1],
        repository: Repository,
    }
    let Report { archives: [made], repository } = serde_json::from_slice(json)?;
    Ok((made, repository.last_modified))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figures_are_taken_from_borgs_json() {
        let json = br#"{"archive": {"command_line": ["borg"], "duration": 0.004, "end": "2026-11-24T07:21:38.000000", "id": "00ff", "name": "x",
            "start": "2026-11-24T07:21:37.000000", "stats": {"compressed_size": 3, "deduplicated_size": 2,
            "nfiles": 4, "original_size": 608}}, "cache": {}, "encryption": {"mode": "none"},
            "repository": {"id": "ff", "last_modified": "2026-11-24T07:21:39.000000", "location": "/r"}}"#;
        let (made, modified) = parse_made(json).unwrap();
        assert_eq!(modified, "2026-11-24T07:21:39.000000");
        assert_eq!(made.start, "2026-11-24T07:21:37.000000");
        let expected = Statistics { original_size: 608, compressed_size: 3, deduplicated_size: 2, files: 4 };
        assert_eq!(made.stats, expected);
    }

    #[test]
    fn nothing_on_stdout_is_no_archive() {
        assert!(parse_made(b"").is_err());
    }

    #[test]
    fn what_ssh_says_in_passing_is_no_warning_when_borg_is_content() {
        let mut seen = Seen::default();
        seen.take(&Line::parse(b"Warning: Permanently added 'milena' to the list of known hosts."));
        assert_eq!(seen.warnings(), Warnings::default());
        seen.warned = true;
        assert_eq!(seen.warnings(), Warnings { all: 1, changed: 0 });
    }

    #[test]
    fn a_file_that_changed_is_counted_as_such() {
        let mut seen = Seen { warned: true, ..Seen::default() };
        for text in ["a: file changed while we backed it up", "b: open: [Errno 13] Permission denied: 'b'"] {
            let line = serde_json::json!({"type": "log_message", "levelname": "WARNING", "message": text});
            seen.take(&Line::parse(line.to_string().as_bytes()));
        }
        assert_eq!(seen.warnings(), Warnings { all: 2, changed: 1 });
    }

    #[test]
    fn a_crash_of_python_is_told_by_its_exception() {
        let mut seen = Seen { warned: true, ..Seen::default() };
        let lines: [&[u8]; 5] = [
            b"Traceback (most recent call last):",
            b"  File \"/usr/bin/borg\", line 33, in <module>",
            b"    raise source.error(\"nothing to repeat\",",
            b"re.error: nothing to repeat at position 0",
            b"Platform: Linux",
        ];
        for line in lines {
            assert!(!seen.take(&Line::parse(line)));
        }
        assert!(seen.crashed);
        assert_eq!(seen.lines, [Line::parse(lines[3])]);
    }
}
