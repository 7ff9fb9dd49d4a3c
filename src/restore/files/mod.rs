//! Files and folders of an archive into a folder, by `borg extract`.
//!
//! borg 1.2 writes through the links that it made: of a link `a` to /etc and a file `a/x` comes
//! /etc/x. So what is to be extracted is looked through first ([`listing`]); then borg extracts into a
//! fresh folder where links lead nowhere ([`fresh`]); and then all is moved to where it belongs, one name
//! in an open folder at a time ([`place`]). Until then nothing that was there is touched.

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
    /// As the archive has them; folders with all that is in them.
    pub paths: &'a [ItemPath],
    /// The folders above them that the archive has, and what it says of them; the upper ones first.
    pub parents: &'a [(ItemPath, Attributes)],
    /// The folder; it is made where only itself is missing.
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
    /// Files, folders, links and whatever else there is.
    pub entries: u64,
    pub bytes: u64,
    pub warnings: u64,
    /// How many of the entries did not come.
    pub missing: u64,
}

/// Restores `request`. Its folder keeps what it has besides, and folders that are there stay as they are.
///
/// # Errors
/// When something is in the way, the archive would lead out of the folder, or borg fails; then nothing
/// was changed in the folder.
pub fn restore(borg: &Borg, request: &Request<'_>, tell: &Tell) -> Result<Report> {
    let folder = Folder::open(request.to, request.overwrite)?;
    let listing = Listing::of(borg, request, LOCK_WAIT)?;
    folder.refuse(&listing.in_the_way(request.to, request.overwrite))?;
    let names = listing.names(request.paths);
    let (warnings, made) = folder.fill(|dir| {
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

/// A folder that files are put into, whoever owns it and whatever links are in it.
pub struct Folder<'a> {
    dir: File,
    shown: &'a Path,
    overwrite: bool,
}

impl<'a> Folder<'a> {
    /// Opens the folder `path`, which is made where only itself is missing. With `overwrite` files in it may
    /// be replaced.
    ///
    /// # Errors
    /// When it cannot be made, or is none.
    pub fn open(path: &'a Path, overwrite: bool) -> Result<Self> {
        let dir = open(path)?;
        fresh::remove_abandoned(&dir);
        Ok(Folder { dir, shown: path, overwrite })
    }

    /// Tells early that the file `name` would be in the way.
    ///
    /// # Errors
    /// When it is there, and must not be replaced.
    pub fn must_take(&self, name: &OsStr) -> Result<()> {
        let there = fstatat(&self.dir, name, AtFlags::AT_SYMLINK_NOFOLLOW).is_ok();
        if there && !self.overwrite { self.refuse(&[name.into()]) } else { Ok(()) }
    }

    /// Lets `fill` make files in a folder that it is told, where links lead nowhere, and then moves them to where
    /// they belong. Folders that are there stay as they are.
    ///
    /// # Errors
    /// What `fill` says, and when something is in the way; then nothing was changed in the folder.
    pub fn fill<T: Send>(&self, fill: impl FnOnce(&Path) -> Result<T> + Send) -> Result<T> {
        let shown = self.shown.display();
        let fresh = Fresh::make(&self.dir).map_err(|e| {
            Error::failed(format!("cannot make a folder in {shown} to extract to")).because(e)
        })?;
        // The mounts that it works in are those of its thread.
        let filled = std::thread::scope(|scope| scope.spawn(|| fill(&fresh.enter()?)).join());
        let filled = filled.unwrap_or_else(|_| Err(Error::failed("the thread that extracts panicked")))?;
        let cannot = |e: std::io::Error| {
            Error::failed(format!("cannot put what was extracted into {shown}")).because(e)
        };
        self.refuse(&place::in_the_way(fresh.dir(), &self.dir, self.overwrite).map_err(cannot)?)?;
        place::put(fresh.dir(), &self.dir, self.overwrite)
            .map_err(|e| cannot(e).hint(format!("a part of it may be in {shown} already")))?;
        fresh.close().map_err(cannot)?;
        Ok(filled)
    }

    /// An error, if there is anything in the way.
    fn refuse(&self, in_the_way: &[std::path::PathBuf]) -> Result<()> {
        refuse(in_the_way, self.shown, self.overwrite)
    }
}

fn open(dir: &Path) -> Result<File> {
    let cannot = |e| Error::usage(format!("cannot restore to the folder {}", dir.display())).because(e);
    match std::fs::create_dir(dir) {
        Err(e) if e.kind() != ErrorKind::AlreadyExists => return Err(cannot(e)),
        _ => {}
    }
    let opened = File::open(dir).map_err(cannot)?;
    match opened.metadata().map_err(cannot)?.is_dir() {
        true => Ok(opened),
        false => Err(cannot(ErrorKind::NotADirectory.into())),
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
        false => error.hint("`--overwrite` replaces files, or name another folder"),
        true => {
            error.hint("a folder is never replaced by a file, nor a file by a folder: name another folder")
        }
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
