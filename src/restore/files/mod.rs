//! Files and directories of an archive into a directory, by `borg extract`.
//!
//! borg 1.2 writes through the links that it made: of a link `a` to /etc and a file `a/x` comes
//! /etc/x. So what is to be extracted is looked through first ([`listing`]); then borg extracts into a
//! fresh directory where links lead nowhere ([`fresh`]); and then all is moved to where it belongs, one name
//! in an open directory at a time ([`place`]). Until then nothing that was there is touched.

mod fresh;
mod listing;
mod place;

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use borg_repository::ItemPath;
use nix::fcntl::AtFlags;
use nix::sys::stat::fstatat;
use parking_lot::Mutex;

use self::fresh::Fresh;
use self::listing::Listing;
use super::attributes::{self, Attributes};
use crate::error::{Error, Result};
use crate::tools::borg::{self, Borg, Level, Line};

/// How long a call waits for the repository.
const LOCK_WAIT: Duration = Duration::from_secs(300);
/// Lines of borg's log that are kept for the error.
const KEPT_LINES: usize = 64;

/// What is to be restored, and where to.
pub struct Request<'a> {
    /// The archive's name.
    pub archive: &'a str,
    /// As the archive has them; directories with all that is in them.
    pub paths: &'a [ItemPath],
    /// The directories above them that the archive has, and what it says of them; the upper ones first.
    pub parents: &'a [(ItemPath, Attributes)],
    /// The directory; it is made where only itself is missing.
    pub to: &'a Path,
    /// Files that are there are replaced.
    pub overwrite: bool,
    /// Owners by number, not by name.
    pub numeric_ids: bool,
}

/// What happens meanwhile.
pub enum Event<'a> {
    /// Bytes that are extracted, of all.
    Extracted { done: u64, total: u64 },
    /// What borg could not do as it should.
    Warning(&'a str),
}

pub type Tell = Arc<dyn Fn(Event<'_>) + Send + Sync>;

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Report {
    /// Files, directories, links and whatever else there is.
    pub entries: u64,
    pub bytes: u64,
    pub warnings: u64,
    /// How many of the entries did not come.
    pub missing: u64,
}

/// Restores `request`. Its directory keeps what it has besides, and directories that are there stay as they are.
///
/// # Errors
/// When something is in the way, the archive would lead out of the directory, or borg fails; then nothing
/// was changed in the directory.
pub fn restore(borg: &Borg, request: &Request<'_>, tell: &Tell) -> Result<Report> {
    let directory = Directory::open(request.to, request.overwrite)?;
    let listing = Listing::of(borg, request, LOCK_WAIT)?;
    directory.refuse(&listing.in_the_way(request.to, request.overwrite))?;
    let names = listing.names(request.paths);
    let (warnings, made) = directory.fill(|dir| {
        let warnings = run(borg, request, &listing.patterns, dir, Arc::clone(tell))?;
        attributes::of_parents(dir, request.parents)?;
        let made =
            place::count(dir).map_err(|e| Error::failed("cannot look at what was extracted").because(e))?;
        if made == Some(0) {
            return Err(Error::failed(format!("borg extracted nothing of {}", request.archive)));
        }
        Ok((warnings, made))
    })?;
    Ok(Report {
        entries: listing.entries,
        bytes: listing.bytes,
        warnings,
        missing: made.map_or(0, |made| names.saturating_sub(made)),
    })
}

/// A directory that files are put into, whoever owns it and whatever links are in it.
pub struct Directory<'a> {
    dir: File,
    label: &'a Path,
    overwrite: bool,
}

impl<'a> Directory<'a> {
    /// Opens the directory `path`, which is made where only itself is missing. With `overwrite` files in it may
    /// be replaced.
    ///
    /// # Errors
    /// When it cannot be made, or is none.
    pub fn open(path: &'a Path, overwrite: bool) -> Result<Self> {
        let dir = open(path)?;
        fresh::remove_abandoned(&dir);
        Ok(Directory { dir, label: path, overwrite })
    }

    /// Tells early that the file `name` would be in the way.
    ///
    /// # Errors
    /// When it is there, and must not be replaced.
    pub fn must_take(&self, name: &OsStr) -> Result<()> {
        let there = fstatat(&self.dir, name, AtFlags::AT_SYMLINK_NOFOLLOW).is_ok();
        if there && !self.overwrite { self.refuse(&[name.into()]) } else { Ok(()) }
    }

    /// Lets `fill` make files in a directory that it is told, where links lead nowhere, and then moves them to where
    /// they belong. Directories that are there stay as they are.
    ///
    /// # Errors
    /// What `fill` says, and when something is in the way; then nothing was changed in the directory.
    pub fn fill<T: Send>(&self, fill: impl FnOnce(&Path) -> Result<T> + Send) -> Result<T> {
        let label = self.label.display();
        let fresh = Fresh::make(&self.dir).map_err(|e| {
            Error::failed(format!("cannot make a directory in {label} to extract to")).because(e)
        })?;
        // The mounts that it works in are those of its thread.
        let filled = std::thread::scope(|scope| scope.spawn(|| fill(&fresh.enter()?)).join());
        let filled = filled.unwrap_or_else(|_| Err(Error::failed("the thread that extracts panicked")))?;
        let to_error = |e: std::io::Error| {
            Error::failed(format!("cannot put what was extracted into {label}")).because(e)
        };
        self.refuse(&place::in_the_way(fresh.dir(), &self.dir, self.overwrite).map_err(to_error)?)?;
        place::put(fresh.dir(), &self.dir, self.overwrite)
            .map_err(|e| to_error(e).hint(format!("a part of it may be in {label} already")))?;
        fresh.close().map_err(to_error)?;
        Ok(filled)
    }

    /// An error, if there is anything in the way.
    fn refuse(&self, in_the_way: &[std::path::PathBuf]) -> Result<()> {
        refuse(in_the_way, self.label, self.overwrite)
    }
}

fn open(dir: &Path) -> Result<File> {
    let to_error = |e| Error::usage(format!("cannot restore to the directory {}", dir.display())).because(e);
    match std::fs::create_dir(dir) {
        Err(e) if e.kind() != ErrorKind::AlreadyExists => return Err(to_error(e)),
        _ => {}
    }
    let opened = File::open(dir).map_err(to_error)?;
    match opened.metadata().map_err(to_error)?.is_dir() {
        true => Ok(opened),
        false => Err(to_error(ErrorKind::NotADirectory.into())),
    }
}

fn refuse(in_the_way: &[std::path::PathBuf], to: &Path, overwrite: bool) -> Result<()> {
    const SHOWN: usize = 10;
    if in_the_way.is_empty() {
        return Ok(());
    }
    let (count, to) = (in_the_way.len(), to.display());
    let what = if count == 1 { "1 file is" } else { &format!("{count} files are") };
    let mut error = Error::usage(format!("{what} in {to} already; nothing was written"));
    for path in in_the_way.iter().take(SHOWN) {
        error = error.hint(path.as_os_str().as_bytes().escape_ascii().to_string());
    }
    if count > SHOWN {
        error = error.hint(format!("and {} more", count - SHOWN));
    }
    Err(match overwrite {
        false => error.hint("`--overwrite` replaces files, or name another directory"),
        true => error.hint(
            "a directory is never replaced by a file, nor a file by a directory: name another directory",
        ),
    })
}

fn run(borg: &Borg, request: &Request<'_>, patterns: &[OsString], dir: &Path, tell: Tell) -> Result<u64> {
    let mut command = borg.command("extract --progress --sparse", LOCK_WAIT)?;
    if request.numeric_ids {
        command = command.arg("--numeric-ids");
    }
    let command = command
        .arg(borg::archive_argument(request.archive))
        .args(patterns)
        .current_dir(dir)
        .die_with_parent();
    let warnings = Arc::new(AtomicU64::new(0));
    let log = Arc::new(Mutex::new(Vec::new()));
    let (counter, sink) = (Arc::clone(&warnings), Arc::clone(&log));
    let mut child = command.spawn(move |line| {
        let line = Line::parse(line);
        match &line {
            Line::Extracted { done, total } => tell(Event::Extracted { done: *done, total: *total }),
            Line::Message { level, text, .. } if *level >= Level::Warning => {
                counter.fetch_add(1, Ordering::Relaxed);
                tell(Event::Warning(text));
            }
            _ => {}
        }
        let mut log = sink.lock();
        if log.len() < KEPT_LINES && matches!(line, Line::Message { .. }) {
            log.push(line);
        }
    })?;
    let ended = child.wait_or_interrupt()?;
    match borg::warned(ended) {
        Some(_) => Ok(warnings.load(Ordering::Relaxed)),
        None => {
            let log = log.lock();
            Err(borg::explain(borg, "extract from the archive", ended, &log))
        }
    }
}
