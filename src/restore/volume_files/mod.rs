//! Files out of a volume that is mounted, copied.

mod fresh;
mod place;
mod salvage;

use std::ffi::OsStr;
use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::fcntl::AtFlags;
use nix::sys::stat::fstatat;

use self::fresh::Fresh;
use super::conflicts::Conflicts;
use crate::archives::damage::Damaged;
use crate::error::{Error, Result};
use crate::tools::tar;

/// Copies `name` of the directory `from` (a file, or a directory with all that is in it; of `.`, what is in it) into the
/// directory `to`, which is made if it is missing. Owners (by number), modes, times, links, holes,
/// xattrs and ACLs are kept. Nothing is written outside of `to`, whatever links are in it. `progress` is
/// told the bytes copied so far. With `salvages`, files come that the disk cannot read in part, with zeros in the place
/// of what is lost.
///
/// # Errors
/// When something of that name is there already, unless `overwrite`; and when nothing can be read, or
/// it cannot be written. Then nothing was changed in `to`.
pub fn copy(
    from: &Path,
    name: &OsStr,
    to: &Path,
    overwrite: bool,
    salvages: bool,
    progress: &mut (dyn FnMut(u64) + Send),
) -> Result<Copied> {
    if let Some(above) = to.parent() {
        std::fs::create_dir_all(above).map_err(|e| {
            Error::failed(format!("cannot make the directory {}", above.display())).because(e)
        })?;
    }
    let directory = Directory::open(to, overwrite)?;
    if name != "." && !from.join(name).is_dir() {
        directory.must_take(name)?;
    }
    let damaged = if salvages { salvage::damaged(from, name)? } else { Vec::new() };
    let missing = directory.fill(|dir| {
        let missing = tar::copy(from, name, dir, !damaged.is_empty(), progress)?;
        salvage::refill(from, dir, &damaged)?;
        Ok(missing)
    })?;
    Ok(Copied { missing, damaged })
}

/// What did not come.
pub struct Copied {
    /// What could not be read, in tar's words.
    pub missing: Option<String>,
    /// Files with zeros in the place of what is lost.
    pub damaged: Vec<Damaged>,
}

/// A directory that files are put into, whoever owns it and whatever links are in it.
struct Directory<'a> {
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
    fn open(path: &'a Path, overwrite: bool) -> Result<Self> {
        let dir = open(path)?;
        fresh::remove_abandoned(&dir);
        Ok(Directory { dir, label: path, overwrite })
    }

    /// Tells early that the file `name` would be in the way.
    ///
    /// # Errors
    /// When it is there, and must not be replaced.
    fn must_take(&self, name: &OsStr) -> Result<()> {
        let there = fstatat(&self.dir, name, AtFlags::AT_SYMLINK_NOFOLLOW).is_ok();
        if there && !self.overwrite { self.refuse(&[name.into()]) } else { Ok(()) }
    }

    /// Lets `fill` make files in a directory that it is told, where links lead nowhere, and then moves them to where
    /// they belong. Directories that are there stay as they are.
    ///
    /// # Errors
    /// What `fill` says, and when something is in the way; then nothing was changed in the directory.
    fn fill<T: Send>(&self, fill: impl FnOnce(&Path) -> Result<T> + Send) -> Result<T> {
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
    fn refuse(&self, in_the_way: &[PathBuf]) -> Result<()> {
        let mut conflicts = Conflicts::default();
        for path in in_the_way {
            let path = path.as_os_str().as_bytes();
            if self.overwrite { conflicts.add_clash(path) } else { conflicts.add(path) }
        }
        if conflicts.is_empty() { Ok(()) } else { Err(conflicts.into_error(self.label)) }
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
