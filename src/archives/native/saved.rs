//! Lists of files from earlier commands: one file for each archive in the cache directory, encrypted and
//! authenticated with a key that is derived from the repository's own. A file that is not exactly right
//! is ignored.
//!
//! The file of an archive holds what its predecessors do not have, and refers to their files for the
//! rest. Files never change. Several processes may share the directory: each file is complete before it
//! gets its name.

use std::collections::HashMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime};

use borg_repository::Id;
use parking_lot::Mutex;
use ring::hmac;
use tempfile::NamedTempFile;
use zeroize::Zeroizing;

use super::sealed::{Sealed, Writer};
use crate::archive::tree::{Assembly, BlobWriter, Blobs, Pages, Part, PartName, PathHasher};
use crate::directories::Private;
use crate::error::{Error, Result};
use crate::secret::Secret;

const SUFFIX: &str = "catalog";
/// The prefix of an incomplete file's name.
const UNFINISHED: &str = ".tmp";
/// Must be increased when the meaning of the blobs changes between two versions of the program.
const FORM: u32 = 4;
/// The age at which a file that nobody holds any more is removed: a killed process left it.
const STALE: Duration = Duration::from_secs(10);
/// The limit for all files together, in bytes, unless the disk is too full for it. A list that alone has
/// more is not kept.
const LIMIT: u64 = 8 << 30;
/// The part of the free space that the files may take.
const SHARE: u64 = 4;
/// The directory is looked through when so much of the limit was written since the last time.
const LOOK: u64 = 16;

/// The directory of the files.
pub struct Saved {
    dir: PathBuf,
    secret: Secret<[u8; 32]>,
    hasher: PathHasher,
    limit: Option<u64>,
    pages: Arc<Pages>,
    /// The parts that are open.
    parts: Mutex<HashMap<PartName, Weak<Part>>>,
    /// The bytes that were written since the directory was looked through.
    written: AtomicU64,
    looked: AtomicBool,
}

/// A file that is being written.
pub struct Unfinished {
    file: NamedTempFile,
    /// Where it gets its name.
    path: PathBuf,
    /// Both are in this directory as long as it is open.
    directory: Private,
    pub name: PartName,
    failed: Arc<AtomicBool>,
}

impl Unfinished {
    /// Whether something could not be written.
    pub fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }
}

impl Saved {
    /// In `dir`, which is made when something is saved; `secret` opens the files. `limit` is the most
    /// bytes of all files; `None`: what fits the disk.
    pub fn new(dir: PathBuf, secret: Zeroizing<[u8; 32]>, limit: Option<u64>, pages: Arc<Pages>) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &*secret);
        let mut of_paths = [0; 16];
        of_paths.copy_from_slice(&hmac::sign(&key, b"hashes of paths").as_ref()[..16]);
        Saved {
            dir,
            secret: Secret::new(*secret),
            hasher: PathHasher::new(&of_paths),
            limit,
            pages,
            parts: Mutex::default(),
            written: AtomicU64::new(0),
            looked: AtomicBool::new(false),
        }
    }

    pub fn hasher(&self) -> PathHasher {
        self.hasher
    }

    pub fn pages(&self) -> Arc<Pages> {
        Arc::clone(&self.pages)
    }

    /// The saved list of the archive with this id.
    pub fn load(&self, archive: &Id) -> Option<Assembly> {
        let sealed = Arc::new(self.open(archive)?);
        let last = sealed.len().checked_sub(1)?;
        let own = name(archive, &sealed.salt());
        Assembly::parse(&sealed.read(last).ok()?, self.hasher, &mut |name| match *name == own {
            true => self.part(name, &sealed),
            false => {
                let (archive, _) = name.split_first_chunk::<32>()?;
                let sealed = Arc::new(self.open(&Id(*archive))?);
                (name[32..] == sealed.salt()).then_some(())?;
                self.part(name, &sealed)
            }
        })
    }

    /// The part that a file holds.
    fn part(&self, name: &PartName, sealed: &Arc<Sealed>) -> Option<Arc<Part>> {
        let mut parts = self.parts.lock();
        if let Some(part) = parts.get(name).and_then(Weak::upgrade) {
            return Some(part);
        }
        let bytes = sealed.read(sealed.len().checked_sub(2)?).ok()?;
        let part = Part::parse(&bytes, Arc::clone(sealed) as _, self.pages())?;
        let part = (part.name == *name).then(|| Arc::new(part))?;
        parts.retain(|_, part| part.strong_count() > 0);
        parts.insert(*name, Arc::downgrade(&part));
        Some(part)
    }

    fn open(&self, archive: &Id) -> Option<Sealed> {
        let about = about(archive);
        let directory = Private::open(&self.dir).ok()?;
        let file = File::open(self.path(&directory.path(), &about)).ok()?;
        // The file that was used last is removed last. A failure here does no harm.
        let _ = file.set_modified(SystemTime::now());
        Sealed::open(file, &*self.secret, &about)
    }

    /// Begins the file of an archive.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn begin(&self, archive: &Id) -> Result<(Unfinished, Box<dyn BlobWriter>)> {
        let directory = Private::make(&self.dir)?;
        let to_error = |e| Error::failed(format!("cannot make a file in {}", self.dir.display())).because(e);
        // The file has mode 0600.
        let file =
            tempfile::Builder::new().prefix(UNFINISHED).tempfile_in(directory.path()).map_err(to_error)?;
        // Whoever finds it locked lets it be. Without a lock it is removed, and the list is not kept.
        file.as_file().try_lock().map_err(|e| to_error(e.into()))?;
        remove_abandoned(&directory.path());
        let about = about(archive);
        let failed = Arc::new(AtomicBool::new(false));
        let open = file.as_file().try_clone().map_err(to_error)?;
        let most = self.limit.unwrap_or_else(|| fitting(&directory.path()));
        let writer = Writer::new(open, &*self.secret, &about, most, Arc::clone(&failed))?;
        let (path, name) = (self.path(&directory.path(), &about), name(archive, &writer.salt()));
        Ok((Unfinished { file, path, directory, name, failed }, Box::new(writer)))
    }

    /// Ends the file, and gives it its name.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn keep(
        &self,
        unfinished: Unfinished,
        mut writer: Box<dyn BlobWriter>,
        assembly: &Assembly,
    ) -> Result<()> {
        let own = assembly.parts.first().ok_or_else(|| Error::failed("a list of files without a part"))?;
        writer.write(&own.to_bytes())?;
        writer.write(&assembly.to_bytes())?;
        writer.finish()?;
        let Unfinished { file, path, directory, name, .. } = unfinished;
        let kept = file.persist(&path);
        let kept = kept.map_err(|e| Error::failed("cannot keep the list of files").because(e.error))?;
        self.parts.lock().insert(name, Arc::downgrade(own));
        let bytes = kept.metadata().map_or(0, |meta| meta.len());
        let limit = self.limit.unwrap_or_else(|| fitting(&directory.path()));
        let written = self.written.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if !self.looked.swap(true, Ordering::Relaxed) || written >= limit / LOOK {
            self.written.store(0, Ordering::Relaxed);
            prune(&directory.path(), &path, limit);
        }
        Ok(())
    }

    /// The name reveals nothing without the key.
    fn path(&self, dir: &Path, about: &[u8]) -> PathBuf {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &*self.secret);
        let name: String =
            hmac::sign(&key, about).as_ref()[..16].iter().map(|b| format!("{b:02x}")).collect();
        dir.join(name).with_extension(SUFFIX)
    }
}

/// The limit that fits the disk.
fn fitting(dir: &Path) -> u64 {
    let free = nix::sys::statvfs::statvfs(dir);
    free.map_or(LIMIT, |free| LIMIT.min(free.blocks_available() * free.fragment_size() / SHARE))
}

/// Removes the least recently used files, except `newest`, until all fit.
fn prune(dir: &Path, newest: &Path, limit: u64) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    let known = |entry: fs::DirEntry| {
        // Removes only our own files: the user may have other files in the directory.
        entry.file_name().to_str().filter(|name| is_saved(name))?;
        let meta = entry.metadata().ok().filter(fs::Metadata::is_file)?;
        Some((meta.modified().ok()?, meta.len(), entry.path()))
    };
    let mut saved: Vec<_> = entries.flatten().filter_map(known).collect();
    saved.sort();
    let mut bytes: u64 = saved.iter().map(|(_, length, _)| length).sum();
    for (_, length, path) in saved.iter().filter(|(.., path)| path != newest) {
        if bytes <= limit {
            return;
        }
        if fs::remove_file(path).is_ok() {
            bytes -= length;
        }
    }
}

/// Removes what killed processes left.
fn remove_abandoned(dir: &Path) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        let is_ours = entry.file_name().to_str().is_some_and(|name| name.starts_with(UNFINISHED));
        let meta = entry.metadata().ok().filter(|meta| is_ours && meta.is_file());
        let is_old = |meta: &fs::Metadata| {
            meta.modified().is_ok_and(|made| made.elapsed().is_ok_and(|age| age > STALE))
        };
        if meta.as_ref().is_some_and(is_old)
            && File::open(entry.path()).is_ok_and(|file| file.try_lock().is_ok())
        {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Whether this is the name of one of our files.
fn is_saved(name: &str) -> bool {
    let digits = name.strip_suffix(SUFFIX).and_then(|name| name.strip_suffix('.'));
    digits.is_some_and(|digits| digits.len() == 32 && digits.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// The subject of a file: the program that wrote it, and the archive.
fn about(archive: &Id) -> Vec<u8> {
    let version = env!("CARGO_PKG_VERSION");
    format!("{version} {FORM} {archive}").into_bytes()
}

fn name(archive: &Id, salt: &[u8; 32]) -> PartName {
    let mut name = [0; 64];
    name[..32].copy_from_slice(&archive.0);
    name[32..].copy_from_slice(salt);
    name
}

#[cfg(test)]
mod tests;
