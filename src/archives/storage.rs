//! Where archives keep what was read: the cache of a mount, and what outlives it.

use std::path::{Path, PathBuf};

use super::cache::Limits;
use crate::directories;
use crate::error::{Error, Result};

/// File contents in memory, in bytes. Little, since the kernel keeps what
/// was read, too, and pages of the scratch.
const MEMORY: u64 = 8 << 20;
/// The same where there is no scratch file.
const MEMORY_ALONE: u64 = 512 << 20;
/// The scratch file takes at most this, unless more is asked for.
const SCRATCH: u64 = 64 << 30;
/// Less than this is not worth a file.
const LEAST_SCRATCH: u64 = 1 << 20;
/// Directory in that of the cache for chunks.
const CHUNKS: &str = "chunks";
/// Directory in that of the cache for lists of files.
const CATALOGS: &str = "catalogs";

/// What a source leaves on disk for the next command.
#[derive(Debug, Clone, Default)]
pub struct Remembered {
    /// The directory of lists of files.
    pub catalogs: Option<PathBuf>,
    /// The directory of a server's chunks, and how many bytes it may take.
    pub chunks: Option<(PathBuf, u64)>,
}

impl Remembered {
    /// Lists of files, in the cache directory where there is one.
    pub fn catalogs() -> Self {
        Remembered { catalogs: directories::cache_dir().ok().map(|dir| dir.join(CATALOGS)), chunks: None }
    }
}

/// The disk space of a mount.
#[derive(Debug, Clone)]
pub struct Storage {
    pub cache: Limits,
    pub remembered: Remembered,
}

impl Storage {
    /// In `dir`, or the usual cache directory, with `size` bytes, or half of what is free. The chunks of a server
    /// (`remote`) outlive the mount only in a directory that the user names, and get half of the space.
    ///
    /// # Errors
    /// When `dir` cannot be used.
    pub fn new(dir: Option<&Path>, size: Option<u64>, remote: bool) -> Result<Self> {
        let mut cache = cache_limits(dir, size)?;
        let is_on_disk = cache.scratch > 0;
        let catalogs = is_on_disk.then(|| cache.dir.join(CATALOGS));
        let mut chunks = None;
        if remote && dir.is_some() && is_on_disk {
            cache.scratch /= 2;
            chunks = Some((cache.dir.join(CHUNKS), cache.scratch));
        }
        Ok(Storage { cache, remembered: Remembered { catalogs, chunks } })
    }
}

fn cache_limits(dir: Option<&Path>, size: Option<u64>) -> Result<Limits> {
    let none = Limits { memory: MEMORY_ALONE, scratch: 0, dir: PathBuf::new() };
    if size == Some(0) {
        return Ok(none);
    }
    let made = match dir {
        // The user's own directory: its mode is the user's affair, the file in it is private.
        Some(dir) => Ok(dir.to_owned()),
        None => directories::cache_dir().and_then(|dir| directories::make_private(&dir).map(|()| dir)),
    };
    let (dir, free) = match made.and_then(|dir| free_space(&dir).map(|free| (dir, free))) {
        Ok(found) => found,
        Err(e) if dir.is_some() => return Err(e),
        Err(e) => {
            // A rescue system may have no place for it; the restore must go on.
            tracing::warn!("no cache on disk, so far seeks are slow: {}", e.chain());
            return Ok(none);
        }
    };
    match size.unwrap_or_else(|| SCRATCH.min(free / 2)) {
        scratch if scratch < LEAST_SCRATCH => Ok(none),
        scratch => Ok(Limits { memory: MEMORY, scratch, dir }),
    }
}

fn free_space(dir: &Path) -> Result<u64> {
    let stat = nix::sys::statvfs::statvfs(dir)
        .map_err(|e| Error::usage(format!("cannot use the cache directory {}", dir.display())).because(e))?;
    Ok(stat.blocks_available() * stat.fragment_size())
}
