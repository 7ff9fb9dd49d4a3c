//! Where archives keep what they read: the cache of a mount, and files that outlive it.

use std::path::{Path, PathBuf};

use super::cache::Limits;
use crate::directories;
use crate::error::{Error, Result};

/// File contents in memory, in bytes. A small number, because the kernel also keeps what it read,
/// and pages of the scratch.
const MEMORY: u64 = 8 << 20;
/// The same for streams without a scratch file: what left the memory costs another stream.
const MEMORY_ALONE: u64 = 512 << 20;
/// The same for chunks, with and without a scratch file: what is read ahead, and what was read last.
const MEMORY_OF_CHUNKS: u64 = 32 << 20;
/// The default limit of the scratch file.
const SCRATCH: u64 = 64 << 30;
/// A smaller scratch file is not worth its cost.
const LEAST_SCRATCH: u64 = 1 << 20;
/// The subdirectory for chunks.
const CHUNKS: &str = "chunks";
/// The subdirectory for lists of files.
const CATALOGS: &str = "catalogs";

/// What a source keeps on disk for the next command.
#[derive(Debug, Clone, Default)]
pub struct Remembered {
    /// The directory for lists of files.
    pub catalogs: Option<PathBuf>,
    /// The limit for these lists in bytes; `None`: what fits the disk.
    pub catalog_limit: Option<u64>,
    /// The directory for a server's chunks, and its limit in bytes.
    pub chunks: Option<(PathBuf, u64)>,
}

impl Remembered {
    /// Keeps lists of files in the cache directory, if there is one, up to `limit` bytes; none if it is 0.
    pub fn catalogs(limit: Option<u64>) -> Self {
        let catalogs = directories::cache_dir().ok().map(|dir| dir.join(CATALOGS));
        Remembered { catalogs: catalogs.filter(|_| limit != Some(0)), catalog_limit: limit, chunks: None }
    }
}

/// The disk space that a mount uses.
#[derive(Debug, Clone)]
pub struct Storage {
    pub cache: Limits,
    pub remembered: Remembered,
}

impl Storage {
    /// In `dir` or the default cache directory, with `size` bytes or half of the free space, and up to
    /// `catalog_limit` bytes of lists of files. The chunks of a server (`remote`) outlive the mount only in a directory that the user names, and
    /// get half of the space.
    ///
    /// # Errors
    /// When `dir` cannot be used.
    pub fn new(
        dir: Option<&Path>,
        size: Option<u64>,
        catalog_limit: Option<u64>,
        remote: bool,
    ) -> Result<Self> {
        let mut cache = cache_limits(dir, size)?;
        let is_on_disk = cache.scratch > 0;
        let catalogs = (is_on_disk && catalog_limit != Some(0)).then(|| cache.dir.join(CATALOGS));
        let mut chunks = None;
        if remote && dir.is_some() && is_on_disk {
            cache.scratch /= 2;
            chunks = Some((cache.dir.join(CHUNKS), cache.scratch));
        }
        Ok(Storage { cache, remembered: Remembered { catalogs, catalog_limit, chunks } })
    }
}

/// The limits of a cache for chunks, which can be fetched again.
pub fn for_chunks(limits: Limits) -> Limits {
    Limits { memory: MEMORY_OF_CHUNKS, ..limits }
}

fn cache_limits(dir: Option<&Path>, size: Option<u64>) -> Result<Limits> {
    let none = Limits { memory: MEMORY_ALONE, scratch: 0, dir: PathBuf::new() };
    if size == Some(0) {
        return Ok(none);
    }
    let made = match dir {
        // The user chose the directory and its mode. The file in it is private.
        Some(dir) => Ok(dir.to_owned()),
        None => directories::cache_dir().and_then(|dir| directories::make_private(&dir).map(|()| dir)),
    };
    let (dir, free) = match made.and_then(|dir| free_space(&dir).map(|free| (dir, free))) {
        Ok(found) => found,
        Err(e) if dir.is_some() => return Err(e),
        Err(e) => {
            // A rescue system may have no cache directory; the restore must continue.
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
