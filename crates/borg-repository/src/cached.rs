//! Keeps objects of a slow store in a directory, unchanged: encrypted, with one file for each id.
//! They outlive the process and a reboot. The directory is trusted no more than the store: an
//! object that is not authentic is fetched again.
//!
//! Never keeps objects of an unencrypted repository, or the manifest, which changes.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::SystemTime;

use zeroize::Zeroizing;

use super::crypto::Mode;
use super::error::Result;
use super::id::Id;
use super::segment::LARGEST_OBJECT;
use super::store::{Object, Pending, Store};

/// A store behind a directory.
pub struct Cached {
    inner: Arc<dyn Store>,
    dir: PathBuf,
    /// The limit of all objects together, in bytes.
    limit: u64,
    /// The bytes of all objects; `None` until they are first counted.
    used: Mutex<Option<u64>>,
}

impl Cached {
    /// Keeps objects of `inner` in `dir`, up to `limit` bytes; the least recently used ones are
    /// removed first. `dir` must be private, and used for this repository only.
    pub fn new(inner: Arc<dyn Store>, dir: PathBuf, limit: u64) -> Self {
        Cached { inner, dir, limit, used: Mutex::new(None) }
    }

    /// One directory for each first byte, because file systems are slow with a million names in
    /// one.
    fn path(&self, id: &Id) -> PathBuf {
        self.dir.join(format!("{:02x}", id.0[0])).join(id.to_string())
    }

    fn used(&self) -> MutexGuard<'_, Option<u64>> {
        self.used.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn read(&self, id: &Id, buffer: &mut Vec<u8>) -> io::Result<usize> {
        let file = File::options().read(true).custom_flags(libc::O_NOFOLLOW).open(self.path(id))?;
        let length = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
        if length > LARGEST_OBJECT {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        if buffer.len() < length {
            buffer.resize(length, 0);
        }
        file.read_exact_at(&mut buffer[..length], 0)?;
        // The object that was used last is removed last. A failure here does no harm.
        let _ = file.set_modified(SystemTime::now());
        Ok(length)
    }

    /// Keeps an object if it is encrypted.
    fn keep(&self, id: &Id, object: &[u8]) -> io::Result<()> {
        let mode = object.first().and_then(|kind| Mode::of(*kind));
        if !mode.is_some_and(Mode::is_encrypted) || *id == Id::MANIFEST {
            return Ok(());
        }
        let path = self.path(id);
        let directory = path.parent().unwrap_or(&self.dir);
        fs::DirBuilder::new().mode(0o700).recursive(true).create(directory)?;
        if !fs::symlink_metadata(directory)?.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        let mut file = tempfile::NamedTempFile::new_in(directory)?;
        file.write_all(object)?;
        file.persist(&path)?;
        self.make_room(object.len() as u64)
    }

    /// Counts `more` bytes, and removes objects if there are too many.
    fn make_room(&self, more: u64) -> io::Result<()> {
        let mut used = self.used();
        let total = match *used {
            Some(bytes) => bytes + more,
            None => objects(&self.dir)?.iter().map(|(_, length, _)| length).sum(),
        };
        *used = Some(total);
        if total <= self.limit {
            return Ok(());
        }
        let mut all = objects(&self.dir)?;
        all.sort_unstable();
        let mut total: u64 = all.iter().map(|(_, length, _)| length).sum();
        // An eighth is freed at once, because listing all objects for each new one would take too
        // long.
        let goal = self.limit / 8 * 7;
        for (_, length, path) in all {
            if total <= goal {
                break;
            }
            if fs::remove_file(path).is_ok() {
                total -= length;
            }
        }
        *used = Some(total);
        Ok(())
    }
}

/// The last use, the length and the path of each object below `dir`. Only our own files count: the
/// directory may have belonged to somebody else, who put links there.
fn objects(dir: &Path) -> io::Result<Vec<(SystemTime, u64, PathBuf)>> {
    let mut all = Vec::new();
    let digits = |name: &OsStr, count| {
        name.len() == count && name.as_encoded_bytes().iter().all(u8::is_ascii_hexdigit)
    };
    for directory in fs::read_dir(dir)?.flatten() {
        if !digits(&directory.file_name(), 2) || !directory.file_type()?.is_dir() {
            continue;
        }
        for entry in fs::read_dir(directory.path())?.flatten() {
            // Does not follow links.
            if let Ok(meta) = entry.metadata()
                && digits(&entry.file_name(), 64)
                && meta.is_file()
            {
                all.push((meta.modified()?, meta.len(), entry.path()));
            }
        }
    }
    Ok(all)
}

impl Store for Cached {
    fn id(&self) -> Id {
        self.inner.id()
    }

    fn key(&self) -> Result<Zeroizing<String>> {
        self.inner.key()
    }

    fn request(self: Arc<Self>, id: Id, length: Option<u32>) -> Box<dyn Pending> {
        let here = id != Id::MANIFEST && self.path(&id).exists();
        let asked = (!here).then(|| Arc::clone(&self.inner).request(id, length));
        Box::new(Wanted { cached: self, id, length, asked })
    }

    fn refresh(&self) -> Result<()> {
        self.inner.refresh()
    }

    fn distrust(&self, id: &Id) -> bool {
        fs::remove_file(self.path(id)).is_ok()
    }
}

/// An object in the directory, or one that was requested from the store.
struct Wanted {
    cached: Arc<Cached>,
    id: Id,
    length: Option<u32>,
    asked: Option<Box<dyn Pending>>,
}

impl Pending for Wanted {
    fn wait(self: Box<Self>, mut buffer: Vec<u8>) -> Result<Object> {
        let Wanted { cached, id, length, asked } = *self;
        let asked = match asked {
            Some(asked) => asked,
            None => match cached.read(&id, &mut buffer) {
                Ok(length) => return Ok(Object { buffer, range: 0..length }),
                Err(_) => Arc::clone(&cached.inner).request(id, length),
            },
        };
        let object = asked.wait(buffer)?;
        if let Err(e) = cached.keep(&id, object.bytes()) {
            tracing::debug!("{id} is not kept in {}: {e}", cached.dir.display());
        }
        Ok(object)
    }
}
