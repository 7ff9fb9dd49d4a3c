//! `borg create` on the staged tree: the call, its progress, and the resulting archive.

use std::cell::Cell;
use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::thread;

use chrono::Utc;
use parking_lot::Mutex;

use super::archived::{Archived, Made, Warnings, parse_found, parse_made};
use super::borg_log::Seen;
use super::caches;
use super::events::{Event, Listener};
use super::planned::Planned;
use crate::archive::mark::Mark;
use crate::archive::name::Archive;
use crate::archive::origin::Listed;
use crate::error::{Error, Kind, Result};
use crate::process::{Command, Ended};
use crate::tools::borg::{self, Borg, Level, Line};

/// The most work, in seconds, that a dropped connection can cost; borg's own default is half an
/// hour.
const CHECKPOINT_INTERVAL: &str = "300";

/// Makes archives of a tree.
pub struct Archiver<'a> {
    pub planned: &'a Planned<'a>,
    /// The root of the archive.
    pub tree: &'a Path,
    /// The paths for borg, relative to `tree`.
    pub paths: Vec<OsString>,
    /// Whether borg stays on one file system per path.
    pub one_file_system: bool,
    /// The warnings of failed attempts, because one of them may have made the archive nevertheless.
    pub tried: Cell<Warnings>,
}

impl Archiver<'_> {
    /// Makes the archive `name`.
    ///
    /// # Errors
    /// The failure of borg, explained. Then there is no such archive, or it existed before.
    pub fn archive(&self, name: &str, listener: Arc<dyn Listener>) -> Result<Archived> {
        let (options, comment) = with_comment(&self.planned.job.options.borg_options, &self.planned.mark);
        let mut command = self.command()?.args(["--json", "--progress"]);
        if self.planned.plan.exclude_caches && !self.lists() {
            command = command.args(caches::LISTED);
        }
        let begun = self.planned.job.begun.with_timezone(&Utc);
        let command = command.args(["--timestamp", &begun.format("%Y-%m-%dT%H:%M:%S").to_string()]);
        let command = command.args(options).arg(comment);
        let (stdout, seen) = self.run(command, name, false, listener)?;
        let made = parse_made(&stdout).map_err(|e| {
            Error::failed(format!("borg did not confirm that it made the archive {name}"))
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

    /// The archive `name`, if this run made it: the archive may be complete if only the answer was
    /// lost.
    ///
    /// # Errors
    /// When it is another archive; otherwise the failure of borg, explained.
    pub fn find(&self, name: &str) -> Result<Archived> {
        let doing = format!("look at the archive {name}");
        let command = self.planned.borg.command("info", self.planned.job.options.lock_wait)?.arg("--json");
        let output =
            self.planned.borg.run(command.arg(borg::archive_argument(name)).die_with_parent(), &doing)?;
        let (Made { id, start, end, comment, stats }, modified) = parse_found(&output.stdout)
            .map_err(|e| Error::failed(format!("cannot {doing}: borg's answer cannot be read")).because(e))?;
        if Mark::find(&comment).as_ref() != Some(&self.planned.mark) {
            return Err(exists_already(self.planned.borg.repository(), name));
        }
        let warnings = self.tried.take();
        Ok(Archived { id, start, end, modified, statistics: Some(stats), warnings, caches: 0 })
    }

    /// The same from the list of archives, which does not need borg's cache. It has no statistics.
    ///
    /// # Errors
    /// As [`Archiver::find`].
    pub fn find_in_list(&self, name: &str) -> Result<Archived> {
        let listed = self.planned.borg.listed(self.planned.job.options.lock_wait)?;
        let is_ours = |there: &Listed| {
            there.archive.name == name
                && there.origin.mark.as_ref().is_some_and(|mark| mark.run == self.planned.mark.run)
        };
        let there = listed.into_iter().find(is_ours);
        let Archive { id, start, .. } =
            there.ok_or_else(|| exists_already(self.planned.borg.repository(), name))?.archive;
        let (end, modified, warnings) = (start.clone(), start.clone(), self.tried.take());
        Ok(Archived { id, start, end, modified, warnings, ..Archived::default() })
    }

    /// Lists what would be archived, and makes nothing.
    ///
    /// # Errors
    /// The failure of borg, explained.
    pub fn rehearse(&self, name: &str, listener: Arc<dyn Listener>) -> Result<Warnings> {
        let command =
            self.command()?.args(["--dry-run", "--list"]).args(&self.planned.job.options.borg_options);
        let (_, seen) = self.run(command, name, true, listener)?;
        Ok(seen.warnings())
    }

    fn command(&self) -> Result<Command> {
        let mut command = self
            .planned
            .borg
            .command("create", self.planned.job.options.lock_wait)?
            .args(["--compression", &self.planned.plan.compression])
            .background_priority()
            .die_with_parent()
            .current_dir(self.tree);
        if self.planned.borg.route().is_some() {
            command = command.args(["--checkpoint-interval", CHECKPOINT_INTERVAL]);
        }
        if self.planned.plan.exclude_caches {
            command = command.args(["--exclude-caches", "--keep-exclude-tags"]);
        }
        if self.one_file_system {
            command = command.arg("--one-file-system");
        }
        for pattern in &self.planned.plan.excludes {
            command = command.arg(format!("--exclude={pattern}"));
        }
        Ok(command)
    }

    /// Whether the user asked borg for a list of files.
    fn lists(&self) -> bool {
        self.planned.job.options.borg_options.iter().any(|option| {
            option.to_str().is_some_and(|o| o.starts_with("--list") || o.starts_with("--filter"))
        })
    }

    fn run(
        &self,
        command: Command,
        name: &str,
        is_rehearsal: bool,
        listener: Arc<dyn Listener>,
    ) -> Result<(Vec<u8>, Seen)> {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let sink = Arc::clone(&seen);
        let (tree, lists) = (self.tree.to_owned(), self.lists());
        let mut child =
            command.arg(borg::archive_argument(name)).arg("--").args(&self.paths).spawn(move |bytes| {
                let line = Line::parse(bytes);
                if let Some(cache) = caches::left_out(&line, &tree) {
                    tracing::info!("left out as a cache: {cache}");
                    sink.lock().caches += 1;
                }
                if matches!(line, Line::File { .. }) && !lists && !is_rehearsal {
                    return;
                }
                if sink.lock().take(&line) {
                    tell(&line, &*listener);
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
        let seen = std::mem::take(&mut *seen.lock());
        match borg::warned(ended) {
            Some(warned) if !seen.crashed => Ok((stdout, Seen { warned, ..seen })),
            _ => {
                self.tried.set(self.tried.get().max(seen.warnings));
                Err(explain(&self.planned.borg, name, ended, &seen.lines))
            }
        }
    }
}

/// The user's options without a comment, and the option with this comment and the mark.
fn with_comment(options: &[OsString], mark: &Mark) -> (Vec<OsString>, OsString) {
    let (mut rest, mut comment) = (Vec::new(), OsString::from("--comment="));
    let mut words = options.iter();
    while let Some(word) = words.next() {
        let (name, value) = match word.as_bytes().iter().position(|b| *b == b'=') {
            Some(at) => (&word.as_bytes()[..at], Some(OsStr::from_bytes(&word.as_bytes()[at + 1..]))),
            None => (word.as_bytes(), None),
        };
        // borg also accepts abbreviated options.
        if !(name.starts_with(b"--comm") && b"--comment".starts_with(name)) {
            rest.push(word.clone());
            continue;
        }
        comment = "--comment=".into();
        if let Some(text) = value.or_else(|| words.next().map(OsString::as_os_str)) {
            comment.push(text);
            comment.push(" ");
        }
    }
    comment.push(mark.to_string());
    (rest, comment)
}

fn tell(line: &Line, listener: &dyn Listener) {
    match line {
        Line::Message { level: Level::Warning, text, .. } => listener.tell(Event::Warning(text)),
        // The last progress message has no figures.
        Line::Progress(progress) if progress.original_size > 0 => listener.tell(Event::Progress(progress)),
        Line::File { status, path } => listener.tell(Event::File { status: *status, path }),
        _ => {}
    }
}

/// The error of a failed `create`, with causes that only `create` has.
fn explain(borg: &Borg, name: &str, ended: Ended, lines: &[Line]) -> Error {
    let any_message = |wanted: &dyn Fn(Option<&str>, &str) -> bool| {
        lines.iter().any(|l| matches!(l, Line::Message { id, text, .. } if wanted(id.as_deref(), text)))
    };
    if any_message(&|id, _| id == Some("Archive.AlreadyExists")) {
        return exists_already(borg.repository(), name);
    }
    let error = borg::explain(borg, &format!("make the archive {name}"), ended, lines);
    if any_message(&|_, text| text.starts_with("re.error: ") || text.starts_with("re.PatternError: ")) {
        return error.hint("a `re:` pattern in exclude_patterns is not a valid regular expression");
    }
    if any_message(&|id, text| {
        id == Some("Repository.InsufficientFreeSpaceError") || text.contains("No space left")
    }) {
        return error
            .hint(format!(
                "a disk is full: the one of {}, or the one with borg's cache on this machine",
                borg.repository()
            ))
            .hint("free space in a repository with `borg-offsite-backup delete` or `prune`, then `compact`");
    }
    error
}

/// The error if the archive exists already.
pub fn exists_already(repository: &str, name: &str) -> Error {
    Error::new(Kind::Exists, format!("there is an archive {name} in {repository} already"))
        .hint("`--if-exists replace` makes a new one and then removes the old one")
        .hint("`--if-exists skip` keeps it and makes no other")
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
