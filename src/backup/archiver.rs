//! `borg create` on the staged tree: the call, what it tells while it runs, what it made.

use std::cell::Cell;
use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::caches;
use super::monitor::{Event, Monitor};
use super::plan::Plan;
use crate::archive::name::Archive;
use crate::archive::origin::{Listed, Mark};
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
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Archived {
    /// 64 hex digits.
    pub id: String,
    /// When it was started, in UTC, as `borg list` tells it.
    pub start: String,
    /// When it was complete, ...
    pub end: String,
    /// ... and the repository changed with it.
    pub modified: String,
    /// `None`: borg made it, and could not say them any more.
    pub statistics: Option<Statistics>,
    pub warnings: Warnings,
    /// Folders that a CACHEDIR.TAG keeps out.
    pub caches: u64,
}

impl Archived {
    /// What was made again as `again`, which was read without a word of what happened.
    pub fn known_as(self, again: Archived) -> Archived {
        let Archived { statistics, warnings, caches, .. } = self;
        Archived { statistics, warnings, caches, ..again }
    }
}

/// How often borg warned while it made an archive.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Warnings {
    pub all: u64,
    /// Those of `all` that say that a file changed while it was read.
    pub changed: u64,
    /// Those that say that something could not be read, and is therefore not in the archive.
    pub unread: u64,
}

impl Warnings {
    fn max(self, other: Warnings) -> Warnings {
        Warnings {
            all: self.all.max(other.all),
            changed: self.changed.max(other.changed),
            unread: self.unread.max(other.unread),
        }
    }
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
    /// When the run began, which is what the archive is dated by.
    pub begun: DateTime<Utc>,
    /// Goes into the archive's comment.
    pub mark: &'a Mark,
    /// What was warned of in the tries that failed: one of them may have made the archive nevertheless.
    pub tried: Cell<Warnings>,
    pub lock_wait: Duration,
}

impl Archiver<'_> {
    /// Makes the archive `name`.
    ///
    /// # Errors
    /// What borg said, explained; then there is no such archive, or it was there before.
    pub fn archive(&self, name: &str, monitor: Arc<dyn Monitor>) -> Result<Archived> {
        let (options, comment) = with_comment(self.options, self.mark);
        let mut command = self.command()?.args(["--json", "--progress"]);
        if self.plan.exclude_caches && !self.lists() {
            command = command.args(caches::LISTED);
        }
        let command = command.args(["--timestamp", &self.begun.format("%Y-%m-%dT%H:%M:%S").to_string()]);
        let command = command.args(options).arg(comment);
        let (stdout, seen) = self.run(command, name, false, monitor)?;
        let made = parse_made(&stdout).map_err(|e| {
            Error::failed(format!("borg does not say that it made the archive {name}"))
                .because(e)
                .hint("see whether one of the options after `--` keeps it from doing so")
        })?;
        let (Made { id, start, end, stats, .. }, modified) = made;
        self.tried.take();
        Ok(Archived {
            id,
            start,
            end,
            modified,
            statistics: Some(stats),
            warnings: seen.warnings(),
            caches: seen.caches,
        })
    }

    /// The archive `name`, if it is of this run: of an archive that is whole while only the answer
    /// got lost.
    ///
    /// # Errors
    /// When it is another one; else what borg said, explained.
    pub fn find(&self, name: &str) -> Result<Archived> {
        let doing = format!("look at the archive {name}");
        let command = self.borg.command("info", self.lock_wait)?.arg("--json");
        let output = self.borg.run(command.arg(borg::archive_argument(name)).die_with_parent(), &doing)?;
        let (Made { id, start, end, comment, stats }, modified) = parse_found(&output.stdout)
            .map_err(|e| Error::failed(format!("cannot {doing}: borg's answer cannot be read")).because(e))?;
        if Mark::find(&comment).as_ref() != Some(self.mark) {
            return Err(exists_already(self.borg.repository(), name));
        }
        let warnings = self.tried.take();
        Ok(Archived { id, start, end, modified, statistics: Some(stats), warnings, caches: 0 })
    }

    /// The same by the list of archives, which takes no cache of borg's. Figures it has none.
    ///
    /// # Errors
    /// As [`Archiver::find`].
    pub fn find_in_list(&self, name: &str) -> Result<Archived> {
        let listed = self.borg.listed(self.lock_wait)?;
        let is_ours = |there: &Listed| {
            there.archive.name == name
                && there.origin.mark.as_ref().is_some_and(|mark| mark.run == self.mark.run)
        };
        let there = listed.into_iter().find(is_ours);
        let Archive { id, start, .. } =
            there.ok_or_else(|| exists_already(self.borg.repository(), name))?.archive;
        let (end, modified, warnings) = (start.clone(), start.clone(), self.tried.take());
        Ok(Archived { id, start, end, modified, warnings, ..Archived::default() })
    }

    /// Tells what would be looked at, and makes nothing.
    ///
    /// # Errors
    /// What borg said, explained.
    pub fn rehearse(&self, name: &str, monitor: Arc<dyn Monitor>) -> Result<Warnings> {
        let command = self.command()?.args(["--dry-run", "--list"]).args(self.options);
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
            command.arg(borg::archive_argument(name)).arg("--").args(&self.paths).spawn(move |bytes| {
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
            })?;
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
            _ => {
                self.tried.set(self.tried.get().max(seen.warnings));
                Err(explain(self.borg, name, ended, &seen.lines))
            }
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
                // Names of files stand in the text, too, and may say anything.
                match text.ends_with(CHANGED) {
                    true => self.warnings.changed += 1,
                    false => self.warnings.unread += u64::from(says_unread(text)),
                }
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

/// How all borgs end the line about a file that changed while it was read.
const CHANGED: &str = ": file changed while we backed it up";

/// Whether borg says that it could not read something: with the number of an error of the system at the
/// end, as all borgs write it, and not because it was gone or had become something else.
fn says_unread(text: &str) -> bool {
    const VANISHED: [i32; 4] = [libc::ENOENT, libc::ENOTDIR, libc::ELOOP, libc::ESTALE];
    let errno = text.match_indices("[Errno ").find_map(|(at, begin)| {
        let (number, rest) = text[at + begin.len()..].split_once("] ")?;
        is_end_of_error(rest).then(|| number.parse::<i32>().ok()).flatten()
    });
    errno.is_some_and(|errno| !VANISHED.contains(&errno))
}

/// Whether it is what Python writes after an error's number: the meaning, and maybe the file as a literal.
/// What stands in the name of a file is followed by more than that.
fn is_end_of_error(rest: &str) -> bool {
    let (meaning, file) = rest.split_once(": ").map_or((rest, None), |(meaning, file)| (meaning, Some(file)));
    !meaning.contains(['[', '\'', '"']) && file.is_none_or(is_literal)
}

/// Whether all of it is one text, or the number of a descriptor, as Python writes them.
fn is_literal(text: &str) -> bool {
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        return true;
    }
    let mut chars = text.strip_prefix('b').unwrap_or(text).chars();
    let Some(quote) = chars.next().filter(|c| ['\'', '"'].contains(c)) else { return false };
    while let Some(c) = chars.next() {
        match c {
            '\\' => drop(chars.next()),
            c if c == quote => return chars.as_str().is_empty(),
            _ => {}
        }
    }
    false
}

/// The user's options without a comment, and one that holds it and the mark.
fn with_comment(options: &[OsString], mark: &Mark) -> (Vec<OsString>, OsString) {
    let (mut rest, mut comment) = (Vec::new(), OsString::from("--comment="));
    let mut words = options.iter();
    while let Some(word) = words.next() {
        let (name, value) = match word.as_bytes().iter().position(|b| *b == b'=') {
            Some(at) => (&word.as_bytes()[..at], Some(OsStr::from_bytes(&word.as_bytes()[at + 1..]))),
            None => (word.as_bytes(), None),
        };
        // borg takes it shortened, too.
        if !(name.starts_with(b"--comm") && b"--comment".starts_with(name)) {
            rest.push(word.clone());
            continue;
        }
        comment = "--comment=".into();
        if let Some(said) = value.or_else(|| words.next().map(OsString::as_os_str)) {
            comment.push(said);
            comment.push(" ");
        }
    }
    comment.push(mark.to_string());
    (rest, comment)
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
    #[serde(default)]
    comment: String,
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
        assert_eq!(seen.warnings(), Warnings { all: 1, changed: 0, unread: 0 });
    }

    #[test]
    fn a_file_that_changed_is_counted_as_such() {
        let mut seen = Seen { warned: true, ..Seen::default() };
        for text in
            ["a: file changed while we backed it up", "b: stat: [Errno 2] No such file or directory: 'b'"]
        {
            let line = serde_json::json!({"type": "log_message", "levelname": "WARNING", "message": text});
            seen.take(&Line::parse(line.to_string().as_bytes()));
        }
        assert_eq!(seen.warnings(), Warnings { all: 2, changed: 1, unread: 0 });
    }

    #[test]
    fn a_line_counts_once_whatever_the_file_is_called() {
        let mut seen = Seen { warned: true, ..Seen::default() };
        for text in [
            "x: read: [Errno 5] Input/output error: file changed while we backed it up",
            "x: file changed while we backed it up: read: [Errno 5] Input/output error",
        ] {
            let line = serde_json::json!({"type": "log_message", "levelname": "WARNING", "message": text});
            seen.take(&Line::parse(line.to_string().as_bytes()));
        }
        assert_eq!(seen.warnings(), Warnings { all: 2, changed: 1, unread: 1 });
    }

    #[test]
    fn what_could_not_be_read_differs_from_what_was_gone() {
        for unread in [
            "a: read: [Errno 5] Input/output error",
            "b: open: [Errno 13] Permission denied: 'b'",
            "d: dir_open: [Errno 1] Operation not permitted: 'd'",
            "n: [Errno 2] x: open: [Errno 107] Transport endpoint is not connected: 'n: [Errno 2] x'",
            "x: open: [Errno 13] Permission denied: b\"it's\"",
            "x: scandir: [Errno 5] Input/output error: 7",
            r#"a'"\: open: [Errno 13] Permission denied: 'a\'"\\'"#,
        ] {
            assert!(says_unread(unread), "{unread}");
        }
        for other in [
            "a: file changed while we backed it up",
            "a: stat: [Errno 2] No such file or directory: 'a'",
            "a: open: [Errno 40] Too many levels of symbolic links: 'a'",
            "a: dir_open: [Errno 20] Not a directory: 'a'",
            "[Errno x] [Errno",
            "x [Errno 5] y: stat: [Errno 2] No such file or directory: 'x [Errno 5] y'",
            "x: read: [Errno 5] Input/output error: stat: [Errno 2] No such file or directory",
            "[Errno 5] y: 'z: open: [Errno 2] No such file or directory: \"[Errno 5] y: 'z\"",
            r#"[Errno 5] y: "z': open: [Errno 2] No such file or directory: '[Errno 5] y: "z\''"#,
            "Include pattern '[Errno 5] x' never matched.",
        ] {
            assert!(!says_unread(other), "{other}");
        }
    }

    #[test]
    fn a_comment_of_the_users_stands_before_the_mark() {
        let mark = Mark::new(None, None, "r".into(), &[b"/".to_vec()]);
        let words = |words: &[&str]| words.iter().map(OsString::from).collect::<Vec<_>>();
        for given in [
            &["--comment", "a b", "--stats"][..],
            &["--stats", "--comment=a b"],
            &["--comm", "a b", "--stats"],
        ] {
            let (rest, comment) = with_comment(&words(given), &mark);
            assert_eq!((rest, comment), (words(&["--stats"]), format!("--comment=a b {mark}").into()));
        }
        let (rest, comment) = with_comment(&words(&["--compression", "none"]), &mark);
        assert_eq!((rest, comment), (words(&["--compression", "none"]), format!("--comment={mark}").into()));
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
