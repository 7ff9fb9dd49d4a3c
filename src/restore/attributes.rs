//! Owner, mode and time of a file, as the archive has them.

use std::fs::File;
use std::io;
use std::path::Path;

use borg_repository::ItemPath;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{Mode, fchmod, futimens};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, fchown, geteuid};

use crate::archive::tree::{Body, Meta, Tree};
use crate::error::{Error, Result};
use crate::tools::owners::{Owners, Ownership};
use crate::tools::target::open::Target;

const NANOS: i64 = 1_000_000_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attributes {
    /// Of this machine.
    uid: u32,
    gid: u32,
    /// Without the file type.
    mode: u32,
    /// Nanoseconds since 1970.
    mtime: i64,
}

impl Attributes {
    fn new(meta: &Meta<'_>, owners: &Owners) -> Self {
        Attributes {
            uid: owners.uid(meta.user, meta.uid),
            gid: owners.gid(meta.group, meta.gid),
            mode: meta.mode & 0o7777,
            mtime: meta.mtime,
        }
    }

    /// Of `path` in the archive, with owners by name unless `numeric`; `None` where it has no such item.
    fn find(tree: &Tree, path: &ItemPath, numeric: bool) -> Option<Self> {
        let owners = Owners::new(Ownership { numeric_ids: numeric, ..Ownership::default() });
        Some(Attributes::new(&tree.node(tree.find(path)?)?.meta, &owners))
    }

    /// Gives `target` those of `path`, if the archive has such an item.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn give(tree: &Tree, path: &ItemPath, numeric: bool, target: &Target) -> Result<()> {
        let Some(attributes) = Attributes::find(tree, path, numeric) else { return Ok(()) };
        attributes.give_to(target.file()).map_err(|e| {
            Error::failed(format!("cannot give {} its owner, mode and time", target.label())).because(e)
        })
    }

    /// Who is not root gives nothing away, and keeps what he must be able to write to.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn give_to(&self, file: &File) -> io::Result<()> {
        let mut mode = self.mode;
        if geteuid().is_root() {
            fchown(file, Some(Uid::from_raw(self.uid)), Some(Gid::from_raw(self.gid)))?;
        } else {
            mode = mode & 0o777 | 0o200;
        }
        fchmod(file, Mode::from_bits_truncate(mode))?;
        let time = TimeSpec::new(self.mtime.div_euclid(NANOS), self.mtime.rem_euclid(NANOS));
        Ok(futimens(file, &time, &time)?)
    }
}

/// The directories above `paths` that the archive has, the upper ones first, each once; what it has no item of, whose
/// attributes the tree made up, is not among them. `made` is the time that it gives those.
pub fn above(tree: &Tree, paths: &[ItemPath], made: i64, numeric: bool) -> Vec<(ItemPath, Attributes)> {
    let owners = Owners::new(Ownership { numeric_ids: numeric, ..Ownership::default() });
    let mut found: Vec<(ItemPath, Attributes)> = Vec::new();
    for path in paths {
        let bytes = path.as_bytes();
        for end in memchr::memchr_iter(b'/', bytes) {
            let Some(directory) = ItemPath::new(&bytes[..end]) else { continue };
            let node = tree.find(&directory).and_then(|node| tree.node(node));
            let Some(node) = node.filter(|node| matches!(node.body, Body::Directory { .. })) else {
                continue;
            };
            let meta = node.meta;
            let is_made_up = (meta.mtime, meta.atime, meta.ctime) == (made, made, made);
            if !is_made_up && found.iter().all(|(known, _)| *known != directory) {
                found.push((directory, Attributes::new(&meta, &owners)));
            }
        }
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    found
}

/// Gives the directories in `dir` what the archive says of them, the lowest first; one that is not there stays away.
///
/// # Errors
/// When one of them is no directory, or the file system refuses.
pub fn of_parents(dir: &Path, parents: &[(ItemPath, Attributes)]) -> Result<()> {
    const DIRECTORY: OFlag = OFlag::O_DIRECTORY.union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);
    let top = File::open(dir).map_err(|e| Error::failed("cannot look at what was extracted").because(e))?;
    for (path, attributes) in parents.iter().rev() {
        let mut directory =
            top.try_clone().map(Some).map_err(|e| Error::failed("cannot open a directory").because(e))?;
        for name in path.components() {
            let above = directory.take();
            directory =
                above.and_then(|above| openat(&above, name, DIRECTORY, Mode::empty()).ok()).map(File::from);
        }
        if let Some(directory) = directory {
            attributes.give_to(&directory).map_err(|e| {
                Error::failed(format!("cannot give the directory {path} its owner and mode")).because(e)
            })?;
        }
    }
    Ok(())
}
