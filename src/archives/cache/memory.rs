//! Frames in memory, bounded in bytes; the least recently used go first.

use std::sync::Arc;

use lru::LruCache;
use parking_lot::{Mutex, MutexGuard};

use crate::archives::source::Key;

/// What a frame costs besides its bytes: key, links and allocation, approximately.
const OVERHEAD: u64 = 128;

pub struct Memory {
    frames: Mutex<Frames>,
    limit: u64,
}

struct Frames {
    lru: LruCache<Key, Arc<[u8]>>,
    bytes: u64,
}

impl Memory {
    pub fn new(limit: u64) -> Self {
        Memory { frames: Mutex::new(Frames { lru: LruCache::unbounded(), bytes: 0 }), limit }
    }

    pub fn put(&self, key: Key, bytes: Arc<[u8]>) {
        let mut frames = self.lock();
        frames.bytes += cost(&bytes);
        if let Some(old) = frames.lru.put(key, bytes) {
            frames.bytes -= cost(&old);
        }
        while frames.bytes > self.limit {
            let Some((_, old)) = frames.lru.pop_lru() else { break };
            frames.bytes -= cost(&old);
        }
    }

    pub fn get(&self, key: Key) -> Option<Arc<[u8]>> {
        self.lock().lru.get(&key).cloned()
    }

    pub fn has(&self, key: Key) -> bool {
        self.lock().lru.contains(&key)
    }

    pub fn forget(&self, key: Key) {
        let mut frames = self.lock();
        if let Some(old) = frames.lru.pop(&key) {
            frames.bytes -= cost(&old);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Frames> {
        // Our code cannot panic while it holds the lock.
        self.frames.lock()
    }
}

fn cost(bytes: &Arc<[u8]>) -> u64 {
    bytes.len() as u64 + OVERHEAD
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_recently_used_goes_when_the_bytes_are_full() {
        let memory = Memory::new(3 * (100 + OVERHEAD));
        let key = |frame| Key { whole: 1, frame };
        for frame in 0..3 {
            memory.put(key(frame), Arc::from([frame as u8; 100]));
        }
        assert!(memory.get(key(0)).is_some());
        memory.put(key(3), Arc::from([3; 100]));
        assert!(memory.has(key(0)) && !memory.has(key(1)) && memory.has(key(2)) && memory.has(key(3)));
        memory.put(key(4), Arc::from([4; 300]));
        assert_eq!((memory.has(key(4)), memory.lock().bytes), (true, 400 + 2 * OVERHEAD));
    }
}
