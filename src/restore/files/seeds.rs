//! What lies on this machine already: files of it may have the archive's bytes, and what they have is not fetched.
//!
//! A seed is only ever read, and what is read of it is used only if its hash is the chunk's.

use std::collections::{HashMap, HashSet};
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use rustix::fs::{FileType, fstat};

use super::content::{SMALL, regular};
use super::parent::join;
use crate::error::{Error, Result};
use crate::tools::directory::{Directory, c_name};
use crate::tools::mounts::{self, Mount};
use crate::tools::page_cache;

/// So many files of a seed are remembered by their size.
const MOST: usize = 1 << 20;
/// And so many of one size are tried.
const TRIES: usize = 4;
/// Beside a local repository, so many bytes of this machine's own file system are read from its disks.
const FROM_DISK: u64 = 64 << 20;
/// File systems of this machine's own disks and memory.
const LOCAL: [&str; 18] = [
    "bcachefs", "btrfs", "erofs", "exfat", "ext2", "ext3", "ext4", "f2fs", "iso9660", "jfs", "ntfs3",
    "overlay", "reiserfs", "squashfs", "tmpfs", "vfat", "xfs", "zfs",
];

/// Directories and files that may have what is to be restored.
#[derive(Default)]
pub struct Seeds {
    roots: Vec<Root>,
    /// Files and devices that were named: images.
    files: Vec<Arc<File>>,
    /// What may still be read from a disk of a root that should be in memory, in bytes.
    from_disk: AtomicU64,
}

struct Root {
    directory: Arc<Directory>,
    /// Paths in it that are not looked into.
    barred: HashSet<Vec<u8>>,
    /// Files that are not in memory are read only up to [`FROM_DISK`].
    only_cached: bool,
    /// Its files by their size, for those that are not where the archive has them; only of one that was named.
    index: Option<OnceLock<HashMap<u64, Vec<CString>>>>,
}

/// The directories that stand, in the seeds, where one of the archive does.
#[derive(Clone, Default)]
pub struct Beside(Vec<Arc<Directory>>, Vec<usize>);

impl Seeds {
    /// Those that the user names, and, where `to` is not all of this machine, its own file system.
    /// If the repository is on this machine, too (`is_local`), only 64 MiB of that are read that are not
    /// in memory: reading a file from a disk takes as long as fetching it, or longer, since chunks
    /// are compressed.
    ///
    /// # Errors
    /// When one that was named cannot be opened.
    pub fn open(named: &[PathBuf], to: &Directory, is_local: bool) -> Result<Self> {
        let mut seeds = Seeds { from_disk: FROM_DISK.into(), ..Seeds::default() };
        for path in named {
            let to_error = |e| Error::usage(format!("cannot read the seed {}", path.display())).because(e);
            let kind = std::fs::metadata(path).map_err(to_error)?;
            if kind.is_dir() {
                let directory = Arc::new(Directory::open(path).map_err(to_error)?);
                let (barred, index) = (HashSet::new(), Some(OnceLock::new()));
                seeds.roots.push(Root { directory, barred, only_cached: false, index });
            } else {
                seeds.files.push(Arc::new(File::open(path).map_err(to_error)?));
            }
        }
        if let Ok(root) = Directory::open(Path::new("/"))
            && !is_same(&root, to)
        {
            // A file system of the network may hang, and one of FUSE may be a mount of this very archive.
            let is_readable = |mount: &Mount| LOCAL.contains(&&*mount.kind);
            let barred = mounts::list()?.into_iter().filter(|mount| !is_readable(mount));
            let barred = barred.map(|mount| mount.dir.as_os_str().as_bytes()[1..].to_vec()).collect();
            seeds.roots.push(Root { directory: Arc::new(root), barred, only_cached: is_local, index: None });
        }
        Ok(seeds)
    }

    /// Their roots.
    pub fn roots(&self) -> Beside {
        Beside(
            self.roots.iter().map(|root| Arc::clone(&root.directory)).collect(),
            (0..self.roots.len()).collect(),
        )
    }

    /// Those that have the directory `name`, whose path in the archive is `path`.
    pub fn enter(&self, above: &Beside, name: &CStr, path: &[u8]) -> Beside {
        let mut beside = Beside::default();
        for (directory, number) in above.0.iter().zip(&above.1) {
            if self.roots[*number].barred.contains(path) {
                continue;
            }
            if let Ok(child) = directory.child(name) {
                beside.0.push(Arc::new(child));
                beside.1.push(*number);
            }
        }
        beside
    }

    /// Files that may have bytes of the file `name` of `size` bytes, the likeliest first.
    pub fn candidates(&self, beside: &Beside, name: &CStr, size: u64) -> Vec<Arc<File>> {
        let mut found: Vec<Arc<File>> = Vec::new();
        for (directory, number) in beside.0.iter().zip(&beside.1) {
            let only_cached = self.roots[*number].only_cached;
            let is_likely = |file: &File| {
                let length = file.metadata().map_or(0, |meta| meta.len());
                // Small files differ as a whole.
                let may_read = || !only_cached || page_cache::has(file, length) || self.spend(length);
                (size > SMALL || length == size) && may_read()
            };
            found.extend(open_regular(directory, name).filter(is_likely).map(Arc::new));
        }
        if found.is_empty() {
            for root in &self.roots {
                found.extend(root.of_size(size, name).map(Arc::new));
            }
        }
        if size > SMALL {
            found.extend(self.files.iter().cloned());
        }
        found
    }
}

impl Seeds {
    /// Whether so many more bytes may be read from a disk.
    fn spend(&self, bytes: u64) -> bool {
        let spend = |left: u64| left.checked_sub(bytes);
        self.from_disk.fetch_update(Ordering::Relaxed, Ordering::Relaxed, spend).is_ok()
    }
}

impl Root {
    fn of_size(&self, size: u64, name: &CStr) -> impl Iterator<Item = File> {
        let index = self.index.as_ref().map(|index| index.get_or_init(|| by_size(&self.directory)));
        let mut paths: Vec<&CString> =
            index.and_then(|index| index.get(&size)).into_iter().flatten().collect();
        let is_other = |path: &&CString| !path.to_bytes().ends_with(name.to_bytes());
        paths.sort_by_key(is_other);
        let open = |path: &CString| {
            let mut names: Vec<&[u8]> = path.to_bytes().split(|byte| *byte == b'/').collect();
            let name = c_name(names.pop()?).ok()?;
            let directory = self.directory.below(names.into_iter()).ok()?;
            open_regular(&directory, &name)
        };
        paths.into_iter().take(TRIES).filter_map(open).collect::<Vec<_>>().into_iter()
    }
}

/// Never a FIFO or a device: it is looked at before it is opened.
fn open_regular(directory: &Directory, name: &CStr) -> Option<File> {
    let stat = directory.stat(name).ok()??;
    (FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile)
        .then(|| regular(directory.open_file(name)))
        .flatten()
}

/// The paths of the files in a directory by their sizes; of the same file system.
fn by_size(directory: &Directory) -> HashMap<u64, Vec<CString>> {
    let mut index: HashMap<u64, Vec<CString>> = HashMap::new();
    let mut count = 0;
    let mut open = vec![Vec::new()];
    while let Some(path) = open.pop() {
        let names = path.split(|byte| *byte == b'/').filter(|name| !name.is_empty());
        let Ok(here) = directory.below(names) else { continue };
        for name in here.names().unwrap_or_default() {
            let Ok(Some(stat)) = here.stat(&name) else { continue };
            let path = join(&path, name.to_bytes());
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory => open.push(path),
                FileType::RegularFile if count < MOST && stat.st_size > 0 => {
                    count += 1;
                    let path = CString::new(path).unwrap_or_default();
                    index.entry(stat.st_size as u64).or_default().push(path);
                }
                _ => {}
            }
        }
    }
    index
}

fn is_same(one: &Directory, other: &Directory) -> bool {
    let identity = |directory: &Directory| -> io::Result<_> {
        let stat = fstat(directory.as_fd())?;
        Ok((stat.st_dev, stat.st_ino))
    };
    matches!((identity(one), identity(other)), (Ok(one), Ok(other)) if one == other)
}
