//! What is to be deleted since the archive does not have it: found before anything is written.

use std::collections::HashSet;
use std::ffi::CStr;

use rustix::fs::{AtFlags, FileType, Stat, StatxFlags, statx};

use super::file::is_temporary;
use super::parent::join;
use crate::archive::patterns::Patterns;
use crate::error::Result;
use crate::process::interrupt;
use crate::tools::directory::Directory;

const CACHE_TAG: &CStr = c"CACHEDIR.TAG";

/// What is never deleted.
#[derive(Default)]
pub struct Protection {
    /// What the configuration excludes from backups.
    pub excluded: Patterns,
    /// Directories with a CACHEDIR.TAG: archives do not have what is in them.
    pub caches: bool,
    /// Device and inode of what must stay: the repository, and what opens it.
    pub inodes: HashSet<(u64, u64)>,
}

/// Something that is to be deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deletion {
    /// Below the directory that is restored to.
    pub path: Box<[u8]>,
    pub is_directory: bool,
    pub(super) device: u64,
    pub(super) inode: u64,
}

/// Collects what is to be deleted.
pub struct Collector<'a> {
    protection: &'a Protection,
    /// What is in a directory before the directory.
    pub found: Vec<Deletion>,
}

impl<'a> Collector<'a> {
    pub fn new(protection: &'a Protection) -> Self {
        Collector { protection, found: Vec::new() }
    }

    /// Collects what is in `directory`, which has the path `path`, but not in `archived`, the names that the archive
    /// has there.
    ///
    /// # Errors
    /// On a signal.
    pub fn collect(&mut self, directory: &Directory, path: &[u8], archived: &HashSet<&[u8]>) -> Result<()> {
        if self.is_excluded(directory, path) {
            return Ok(());
        }
        for name in directory.names().unwrap_or_default() {
            if !archived.contains(name.to_bytes()) && !is_temporary(name.to_bytes()) {
                self.take(directory, &name, &join(path, name.to_bytes()))?;
            }
        }
        Ok(())
    }

    fn is_excluded(&self, directory: &Directory, path: &[u8]) -> bool {
        let is_cache = || self.protection.caches && matches!(directory.stat(CACHE_TAG), Ok(Some(_)));
        !path.is_empty() && self.protection.excluded.exclude(path) || is_cache()
    }

    /// Whether all of it is to go.
    fn take(&mut self, directory: &Directory, name: &CStr, path: &[u8]) -> Result<bool> {
        interrupt::check()?;
        let Ok(Some(stat)) = directory.stat(name) else { return Ok(false) };
        let identity = (stat.st_dev, stat.st_ino);
        if self.protection.excluded.exclude(path)
            || self.protection.inodes.contains(&identity)
            || is_mount(directory, name, &stat)
        {
            return Ok(false);
        }
        let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        if is_directory {
            let Ok(child) = directory.child(name) else { return Ok(false) };
            if self.is_excluded(&child, path) {
                return Ok(false);
            }
            let Ok(names) = child.names() else { return Ok(false) };
            let mut goes = true;
            for name in names {
                goes &= self.take(&child, &name, &join(path, name.to_bytes()))?;
            }
            if !goes {
                return Ok(false);
            }
        }
        let (device, inode) = identity;
        self.found.push(Deletion { path: path.into(), is_directory, device, inode });
        Ok(true)
    }
}

/// Whether another file system, or another part of this one, is mounted there.
pub fn is_mount(directory: &Directory, name: &CStr, stat: &Stat) -> bool {
    let mount = |name: &CStr, flags| {
        let found = statx(directory, name, flags | AtFlags::NO_AUTOMOUNT, StatxFlags::MNT_ID).ok()?;
        (found.stx_mask & StatxFlags::MNT_ID.bits() != 0).then_some(found.stx_mnt_id)
    };
    let device = rustix::fs::fstat(directory).map(|stat| stat.st_dev);
    device != Ok(stat.st_dev) || mount(name, AtFlags::SYMLINK_NOFOLLOW) != mount(c"", AtFlags::EMPTY_PATH)
}
