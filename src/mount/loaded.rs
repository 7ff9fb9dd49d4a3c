//! The loaded archives, as far as their trees fit into memory. A dropped tree is loaded again when
//! the kernel asks for it, with the same inodes, because an archive never changes.

use std::collections::HashMap;
use std::sync::Arc;

use lru::LruCache;

use crate::archive::tree::Tree;
use crate::archives::reader::Reader;
use parking_lot::{Mutex, MutexGuard};

/// The limit for all trees, in bytes. It is exceeded only by a single tree, or while files are open.
pub const MOST_BYTES: u64 = 256 << 20;

/// An archive with its tree in memory.
pub struct LoadedArchive {
    pub tree: Arc<Tree>,
    pub reader: Reader,
}

/// The loaded archives by number, the most recently used first.
pub struct LoadedArchives {
    most: u64,
    state: Mutex<LoadedTrees>,
}

struct LoadedTrees {
    archives: LruCache<usize, Arc<LoadedArchive>>,
    /// The bytes of all `archives`.
    bytes: u64,
    /// The number of open files and directories in each archive.
    handles: HashMap<usize, u64>,
}

impl LoadedArchives {
    /// Keeps trees of up to `most` bytes.
    pub fn new(most: u64) -> Self {
        let state = LoadedTrees { archives: LruCache::unbounded(), bytes: 0, handles: HashMap::new() };
        LoadedArchives { most, state: Mutex::new(state) }
    }

    /// The archive, which counts as used now.
    pub fn get(&self, number: usize) -> Option<Arc<LoadedArchive>> {
        self.lock().archives.get(&number).cloned()
    }

    pub fn has(&self, number: usize) -> bool {
        self.lock().archives.contains(&number)
    }

    pub fn all(&self) -> Vec<Arc<LoadedArchive>> {
        self.lock().archives.iter().map(|(_, archive)| Arc::clone(archive)).collect()
    }

    /// Adds `archive`. Drops the least recently used ones that no longer fit.
    pub fn put(&self, number: usize, archive: Arc<LoadedArchive>) {
        let mut state = self.lock();
        state.bytes += bytes_of(&archive);
        if let Some(before) = state.archives.put(number, archive) {
            state.bytes -= bytes_of(&before);
        }
        state.trim(self.most);
    }

    /// Keeps the archive loaded, because something in it was opened.
    pub fn hold(&self, number: usize) {
        *self.lock().handles.entry(number).or_default() += 1;
    }

    /// Releases the archive, because something in it was closed.
    pub fn release(&self, number: usize) {
        let mut state = self.lock();
        if let Some(handles) = state.handles.get_mut(&number) {
            *handles -= 1;
            if *handles == 0 {
                state.handles.remove(&number);
            }
        }
        state.trim(self.most);
    }

    /// Drops all archives that are neither `wanted` nor open.
    pub fn retain(&self, wanted: impl Fn(usize) -> bool) {
        let mut state = self.lock();
        let numbers = state.archives.iter().map(|(number, _)| *number);
        let unwanted: Vec<usize> =
            numbers.filter(|n| !wanted(*n) && !state.handles.contains_key(n)).collect();
        unwanted.iter().for_each(|number| state.remove(*number));
    }

    fn lock(&self) -> MutexGuard<'_, LoadedTrees> {
        self.state.lock()
    }
}

impl LoadedTrees {
    fn trim(&mut self, most: u64) {
        while self.bytes > most {
            let newest = self.archives.iter().next().map(|(number, _)| *number);
            let is_unused = |number: &usize| Some(*number) != newest && !self.handles.contains_key(number);
            let oldest = self.archives.iter().rev().map(|(number, _)| *number).find(is_unused);
            let Some(number) = oldest else { break };
            self.remove(number);
        }
    }

    fn remove(&mut self, number: usize) {
        if let Some(archive) = self.archives.pop(&number) {
            self.bytes -= bytes_of(&archive);
        }
    }
}

fn bytes_of(archive: &LoadedArchive) -> u64 {
    archive.tree.memory()
}
