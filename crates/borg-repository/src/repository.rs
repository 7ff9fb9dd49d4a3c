//! An open repository: its archives, items and chunks.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

use crossbeam_channel::bounded;
use zeroize::Zeroizing;

use super::archive::Archive;
use super::borg1::{Borg1, LARGEST_METADATA};
use super::cached::Cached;
use super::chunks::{Chunk, ChunkLists};
use super::compression::Size;
use super::credentials::Credentials;
use super::error::{Error, Result};
use super::format::Format;
use super::id::Id;
use super::item::Item;
use super::items::ItemParser;
use super::manifest::Manifest;
use super::store::{Object, Pending, Store};
use super::zeros::Zeros;

/// The largest chunk of a file in plain bytes: borg's chunkers stop at 20 MiB.
const LARGEST_CHUNK: u32 = 32 << 20;
/// The largest object of the item stream in plain bytes: borg cuts at 512 KiB. This limits what is
/// in flight, whatever an archive lists.
const LARGEST_ITEMS: usize = 8 << 20;
/// How many objects of metadata are requested ahead of the one that is parsed. They have some 128
/// KiB each, which fills a connection of 100 Mbit/s with a round trip of 300 ms.
const WINDOW: usize = 32;
/// The number of buffers that are kept for reuse: as many as two threads use at once.
const BUFFERS: usize = 2 * TOGETHER;
/// The largest buffer that is kept, in bytes: most chunks fit, and a few large ones should not make
/// all of them large.
const LARGEST_BUFFER: usize = 4 << 20;
/// How many objects are opened together, because so many are hashed side by side.
const TOGETHER: usize = 4;

/// An open repository, which several threads may use at once.
pub struct Repository {
    store: Arc<dyn Store>,
    format: Box<dyn Format>,
    manifest: Mutex<Arc<Manifest>>,
    zeros: Zeros,
    /// Buffers for reuse: getting megabytes from the system costs as much as decrypting them.
    buffers: Mutex<Vec<Vec<u8>>>,
}

/// A requested chunk; [`Repository::receive`] returns its bytes.
pub struct Request {
    id: Id,
    size: Size,
    pending: Box<dyn Pending>,
}

impl Repository {
    /// Opens the repository in `store`, and authenticates its manifest.
    ///
    /// # Errors
    /// `Passphrase` and `NoKey` when the key cannot be opened; `KeyChanged`, `Replayed`,
    /// `Relocated` and `Unknown` when the repository is not as borg saw it; `Unsupported` when only
    /// borg may be able to read it; `Integrity` and others when nobody should.
    pub fn open(store: Arc<dyn Store>, credentials: Credentials<'_>) -> Result<Self> {
        let mut object = manifest_object(&store)?;
        let format = format(&*store, object.bytes(), credentials)?;
        let manifest = format.manifest(object.bytes_mut())?;
        Ok(Repository {
            zeros: Zeros::default(),
            store,
            format,
            manifest: Mutex::new(Arc::new(manifest)),
            buffers: Mutex::default(),
        })
    }

    /// The id of the repository.
    pub fn id(&self) -> Id {
        self.store.id()
    }

    /// The name of its encryption, as `borg init --encryption` takes it.
    pub fn encryption(&self) -> &'static str {
        self.format.encryption()
    }

    /// From now on keeps objects in `dir` as they are in the repository, up to `limit` bytes, and
    /// fetches none of them twice. `dir` must be private, and used for this repository only.
    /// Unencrypted objects are not kept.
    pub fn keep_objects_in(&mut self, dir: PathBuf, limit: u64) {
        self.store = Arc::new(Cached::new(Arc::clone(&self.store), dir, limit));
    }

    /// A key for `purpose`, which only someone with the repository's key can compute; in an
    /// unencrypted repository, everybody who knows its id. `None` when the cipher fails.
    pub fn derive(&self, purpose: &[u8]) -> Option<Zeroizing<[u8; 32]>> {
        self.format.derive(purpose)
    }

    /// The manifest from when the repository was opened or last refreshed.
    pub fn manifest(&self) -> Arc<Manifest> {
        Arc::clone(&lock(&self.manifest))
    }

    /// Looks for changes, and returns the newest manifest.
    ///
    /// # Errors
    /// As [`Repository::open`]; `Replayed` also when the manifest is older than the last one.
    pub fn refresh(&self) -> Result<Arc<Manifest>> {
        self.store.refresh()?;
        let manifest = self.format.manifest(manifest_object(&self.store)?.bytes_mut())?;
        let mut current = lock(&self.manifest);
        if manifest.timestamp < current.timestamp {
            let known = current.timestamp.clone();
            return Err(Error::Replayed { known, found: manifest.timestamp });
        }
        *current = Arc::new(manifest);
        Ok(Arc::clone(&current))
    }

    /// The metadata of the archive `id`. The caller must check whether it can be trusted
    /// (`authenticity`).
    ///
    /// # Errors
    /// `NotFound` when it was deleted, `Integrity` when it is broken.
    pub fn archive(&self, id: &Id) -> Result<Archive> {
        self.format.archive(*id, &self.receive(self.request_metadata(id, LARGEST_METADATA))?)
    }

    /// Passes every item of `archive` with its chunks to `each`, in the order of the archive.
    ///
    /// Objects are fetched ahead and opened on all cores; `each` runs on the calling thread.
    ///
    /// Calls `go_on` after each object: an archive may have any number of items, and only the
    /// caller knows what they cost.
    ///
    /// # Errors
    /// When the archive cannot be read to its end; then `each` got the items before. Those of
    /// `go_on`.
    pub fn items(
        &self,
        archive: &Archive,
        mut go_on: impl FnMut() -> std::io::Result<()>,
        mut each: impl FnMut(Item, &ChunkLists),
    ) -> Result<()> {
        let broken = |why| Error::integrity(format!("the items of the archive {}: {why}", archive.id));
        let mut parser = ItemParser::default();
        self.read_metadata(&archive.items, |bytes| {
            parser.feed_chunks(&bytes, &mut each).map_err(broken)?;
            go_on().map_err(Error::io(format!("read all items of the archive {}", archive.id)))
        })?;
        parser.finish().map_err(broken)
    }

    /// Passes the plain bytes of the objects `ids`, which hold metadata, to `each`, in this order. They
    /// are fetched ahead and opened on all cores; `each` runs on the calling thread.
    ///
    /// # Errors
    /// When an object cannot be read, and those of `each`.
    pub fn read_metadata(&self, ids: &[Id], mut each: impl FnMut(Vec<u8>) -> Result<()>) -> Result<()> {
        if let [id] = ids {
            return each(self.receive(self.request_metadata(id, LARGEST_ITEMS))?);
        }
        let workers = std::thread::available_parallelism().map_or(1, usize::from).min(ids.len());
        std::thread::scope(|scope| {
            let (jobs, taken) = bounded::<(Vec<Request>, crossbeam_channel::Sender<_>)>(WINDOW);
            for _ in 0..workers {
                let taken = taken.clone();
                scope.spawn(move || {
                    for (requests, answer) in taken {
                        let _ = answer.send(self.receive_all(requests));
                    }
                });
            }
            drop(taken);
            let panicked = || Error::integrity("an object crashed its reader");
            let together = (ids.len() / workers.max(1)).clamp(1, TOGETHER);
            let mut batches = ids.chunks(together);
            let mut waiting = VecDeque::new();
            loop {
                while waiting.len() < WINDOW / together
                    && let Some(batch) = batches.next()
                {
                    let (answer, plain) = bounded(1);
                    let requests = batch.iter().map(|id| self.request_metadata(id, LARGEST_ITEMS)).collect();
                    jobs.send((requests, answer)).map_err(|_| panicked())?;
                    waiting.push_back(plain);
                }
                let Some(plain) = waiting.pop_front() else { return Ok(()) };
                for object in plain.recv().map_err(|_| panicked())? {
                    each(object?)?;
                }
            }
        })
    }

    /// Whether the id of `chunk` shows that it consists of zeros. Only sizes that are multiples of
    /// 512 bytes are checked, because zeros must be hashed once for each size; holes of disk
    /// images, and of files with a block size, have such sizes.
    pub fn is_zero(&self, chunk: &Chunk) -> bool {
        self.zeros.is_zero(|plain| self.format.id_of(plain), chunk)
    }

    /// Whether each of these pieces of plain bytes is what the chunk of its id holds. Fetches
    /// nothing. Several at once are faster, as with [`Repository::receive_all`].
    pub fn matches(&self, pieces: &[(Id, &[u8])]) -> Vec<bool> {
        self.format.check(pieces).iter().map(Result::is_ok).collect()
    }

    /// The plain bytes of `chunk`: authenticated, with the listed size and the listed id. Zeros are
    /// not fetched.
    ///
    /// # Errors
    /// `NotFound` when the chunk is no longer in the repository, `Integrity` when it is broken.
    pub fn read_chunk(&self, chunk: &Chunk) -> Result<Vec<u8>> {
        if self.is_zero(chunk) {
            return Ok(vec![0; chunk.size as usize]);
        }
        self.receive(self.request_chunk(chunk))
    }

    /// Requests a chunk, so that several are in flight at the same time. Should not be called for
    /// one that [is zero](Repository::is_zero). Blocks only while too many bytes are in flight.
    /// Dropping a request does not cancel it.
    pub fn request_chunk(&self, chunk: &Chunk) -> Request {
        let pending = Arc::clone(&self.store).request(chunk.id, Some(chunk.stored));
        Request { id: chunk.id, size: Size::Exactly(chunk.size as usize), pending }
    }

    fn request_metadata(&self, id: &Id, most: usize) -> Request {
        let pending = Arc::clone(&self.store).request(*id, None);
        Request { id: *id, size: Size::AtMost(most), pending }
    }

    /// Waits for the bytes, then decrypts and checks them on the calling thread.
    ///
    /// # Errors
    /// As [`Repository::read_chunk`].
    pub fn receive(&self, request: Request) -> Result<Vec<u8>> {
        self.receive_all(vec![request]).remove(0)
    }

    /// As [`Repository::receive`], for several requests, in order. With keys of the BLAKE2 kind,
    /// four or more at once are hashed in less than half the time of one by one.
    pub fn receive_all(&self, requests: Vec<Request>) -> Vec<Result<Vec<u8>>> {
        let asked: Vec<_> = requests.iter().map(|request| (request.id, request.size)).collect();
        let mut plain = self.receive_once(requests);
        for ((id, size), plain) in asked.into_iter().zip(&mut plain) {
            if matches!(plain, Err(Error::Integrity(_))) && self.store.distrust(&id) {
                let pending = Arc::clone(&self.store).request(id, None);
                *plain = self.receive_once(vec![Request { id, size, pending }]).remove(0);
            }
        }
        plain
    }

    fn receive_once(&self, requests: Vec<Request>) -> Vec<Result<Vec<u8>>> {
        let arrived = requests.into_iter().map(|request| self.arrive(request)).collect();
        let authentic = judged(
            arrived,
            |one: &Arrived| (one.id, one.object.bytes()),
            |listed| self.format.authenticate(listed),
        );
        let plain = authentic.into_iter().map(|one| self.open_object(one?)).collect();
        let right =
            judged(plain, |(id, plain): &(Id, Vec<u8>)| (*id, plain), |listed| self.format.check(listed));
        right.into_iter().map(|one| one.map(|(_, plain)| plain)).collect()
    }

    fn arrive(&self, Request { id, size, pending }: Request) -> Result<Arrived> {
        if let Size::Exactly(bytes) = size
            && bytes > LARGEST_CHUNK as usize
        {
            return Err(Error::integrity(format!("chunk {id} is listed with {bytes} bytes")));
        }
        let buffer = lock(&self.buffers).pop().unwrap_or_default();
        Ok(Arrived { id, size, object: pending.wait(buffer)? })
    }

    /// Decrypts and decompresses an authentic object.
    fn open_object(&self, Arrived { id, size, mut object }: Arrived) -> Result<(Id, Vec<u8>)> {
        let plain = self.format.open(object.bytes_mut(), size);
        let mut buffers = lock(&self.buffers);
        if buffers.len() < BUFFERS && object.buffer.capacity() <= LARGEST_BUFFER {
            buffers.push(object.buffer);
        }
        drop(buffers);
        match plain {
            Ok(plain) => Ok((id, plain)),
            Err(Error::Integrity(why)) => Err(Error::integrity(format!("object {id}: {why}"))),
            Err(other) => Err(other),
        }
    }
}

/// An object that arrived, but is not authenticated yet.
struct Arrived {
    id: Id,
    size: Size,
    object: Object,
}

/// Replaces values by the errors that `judge` returns for them.
fn judged<T>(
    all: Vec<Result<T>>,
    view: impl for<'a> Fn(&'a T) -> (Id, &'a [u8]),
    judge: impl FnOnce(&[(Id, &[u8])]) -> Vec<Result<()>>,
) -> Vec<Result<T>> {
    let listed: Vec<_> = all.iter().flatten().map(view).collect();
    let mut verdicts = judge(&listed).into_iter();
    let unjudged = || Err(Error::integrity("an object was not checked"));
    all.into_iter()
        .map(|one| one.and_then(|one| verdicts.next().unwrap_or_else(unjudged).map(|()| one)))
        .collect()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}

fn manifest_object(store: &Arc<dyn Store>) -> Result<Object> {
    Arc::clone(store).request(Id::MANIFEST, None).wait(Vec::new()).map_err(|error| match error {
        Error::NotFound(_) => Error::integrity("the repository has no manifest"),
        other => other,
    })
}

/// The format of the repository in `store`, by the first byte of its manifest. A second format
/// would be recognised here.
fn format(store: &dyn Store, manifest: &[u8], credentials: Credentials<'_>) -> Result<Box<dyn Format>> {
    let kind = manifest.first().ok_or_else(|| Error::integrity("the manifest is empty"))?;
    Ok(Box::new(Borg1::unlock(store, *kind, credentials)?))
}
