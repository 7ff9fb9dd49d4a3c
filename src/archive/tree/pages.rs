//! Pages of catalogs in memory: those that were used last, up to a number of bytes. All catalogs of
//! a process share them.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use lru::LruCache;
use parking_lot::Mutex;

use crate::error::{Error, Result};

/// Where the bytes of a part are: in memory, or in a file.
pub trait Blobs: Send + Sync {
    /// The bytes of blob `number`.
    ///
    /// # Errors
    /// When they cannot be read, or are not those that were written.
    fn read(&self, number: u32) -> Result<Vec<u8>>;

    /// The memory that they take.
    fn memory(&self) -> usize;
}

/// Writes the blobs of a part.
pub trait BlobWriter: Send {
    /// The number of the next blob.
    fn next(&self) -> u32;

    /// # Errors
    /// When the bytes cannot be written.
    fn write(&mut self, bytes: &[u8]) -> Result<()>;

    /// What was written so far, for reading. More may be written later.
    ///
    /// # Errors
    /// When it cannot be read.
    fn blobs(&mut self) -> Result<Arc<dyn Blobs>>;

    /// Must be called after the last blob.
    ///
    /// # Errors
    /// When the end cannot be written.
    fn finish(self: Box<Self>) -> Result<()>;
}

/// What a blob holds.
pub trait Page: Send + Sync + Sized + 'static {
    /// `None` if the bytes are no such page.
    fn parse(bytes: &[u8]) -> Option<Self>;

    /// The memory that it takes.
    fn bytes(&self) -> usize;
}

type Key = (u64, u32);

/// The pages that are kept.
pub struct Pages {
    most: usize,
    state: Mutex<State>,
    /// The number of the next set of blobs.
    next: AtomicU64,
}

struct State {
    pages: LruCache<Key, (Arc<dyn Any + Send + Sync>, usize)>,
    bytes: usize,
}

impl Pages {
    /// Keeps up to `most` bytes.
    pub fn new(most: usize) -> Self {
        let state = State { pages: LruCache::unbounded(), bytes: 0 };
        Pages { most, state: Mutex::new(state), next: AtomicU64::new(0) }
    }

    /// A number for a set of blobs.
    fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// Page `blob` of the set with this number.
    ///
    /// # Errors
    /// When it cannot be read.
    fn get<T: Page>(&self, set: u64, blobs: &dyn Blobs, blob: u32) -> Result<Arc<T>> {
        let known = self.state.lock().pages.get(&(set, blob)).map(|(page, _)| Arc::clone(page));
        if let Some(page) = known {
            return page.downcast().map_err(|_| unusable());
        }
        let page = Arc::new(T::parse(&blobs.read(blob)?).ok_or_else(unusable)?);
        self.put((set, blob), Arc::clone(&page) as _, page.bytes() + size_of::<T>());
        Ok(page)
    }

    fn put(&self, key: Key, page: Arc<dyn Any + Send + Sync>, bytes: usize) {
        let mut state = self.state.lock();
        state.bytes += bytes;
        if let Some((_, before)) = state.pages.put(key, (page, bytes)) {
            state.bytes -= before;
        }
        while state.bytes > self.most {
            let Some((_, (_, bytes))) = state.pages.pop_lru() else { break };
            state.bytes -= bytes;
        }
    }
}

/// A set of blobs, read page by page.
pub struct PageSet {
    number: u64,
    blobs: Arc<dyn Blobs>,
    pages: Arc<Pages>,
}

impl PageSet {
    /// `blobs`, whose pages are kept in `pages`.
    pub fn new(blobs: Arc<dyn Blobs>, pages: Arc<Pages>) -> Self {
        PageSet { number: pages.number(), blobs, pages }
    }

    /// # Errors
    /// When the page cannot be read.
    pub fn page<T: Page>(&self, blob: u32) -> Result<Arc<T>> {
        self.pages.get(self.number, &*self.blobs, blob)
    }

    /// The bytes of a blob, for a copy.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn blob(&self, number: u32) -> Result<Vec<u8>> {
        self.blobs.read(number)
    }

    /// The memory that it takes besides pages.
    pub fn memory(&self) -> usize {
        self.blobs.memory()
    }
}

/// The error for a catalog that does not hold what it should.
pub fn unusable() -> Error {
    Error::failed("the list of files that this machine keeps is damaged")
}

/// Blobs in memory.
#[derive(Default)]
pub struct Memory(Vec<Arc<[u8]>>);

impl Blobs for Memory {
    fn read(&self, number: u32) -> Result<Vec<u8>> {
        self.0.get(number as usize).map(|blob| blob.to_vec()).ok_or_else(unusable)
    }

    fn memory(&self) -> usize {
        self.0.iter().map(|blob| blob.len()).sum()
    }
}

impl BlobWriter for Memory {
    fn next(&self) -> u32 {
        self.0.len() as u32
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.0.push(bytes.into());
        Ok(())
    }

    fn blobs(&mut self) -> Result<Arc<dyn Blobs>> {
        Ok(Arc::new(Memory(self.0.clone())))
    }

    fn finish(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Text(Vec<u8>);

    impl Page for Text {
        fn parse(bytes: &[u8]) -> Option<Self> {
            (bytes != b"bad").then(|| Text(bytes.to_vec()))
        }

        fn bytes(&self) -> usize {
            self.0.len()
        }
    }

    #[test]
    fn the_pages_that_were_used_last_are_kept_and_those_of_another_set_are_others() {
        let pages = Pages::new(2 * (100 + size_of::<Text>()));
        let mut one = Memory::default();
        (0..3).for_each(|n| one.write(&[n; 100]).unwrap());
        let mut other = Memory::default();
        other.write(b"bad").unwrap();
        let get = |n| pages.get::<Text>(0, &one, n).unwrap();
        for n in [0, 1, 0, 2] {
            assert_eq!(get(n).0, [n as u8; 100]);
        }
        let known = |n| pages.state.lock().pages.contains(&(0, n));
        assert_eq!([known(0), known(1), known(2)], [true, false, true]);
        assert!(pages.get::<Text>(1, &other, 0).is_err() && pages.get::<Text>(0, &one, 3).is_err());
    }
}
