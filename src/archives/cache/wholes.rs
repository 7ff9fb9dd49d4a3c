//! Chunks in memory, bounded in bytes; the least recently used go first.

use std::sync::Arc;

use lru::LruCache;
use parking_lot::Mutex;

/// Chunks by what they are known by.
pub struct Wholes {
    most: u64,
    state: Mutex<State>,
}

struct State {
    chunks: LruCache<u128, Arc<Vec<u8>>>,
    bytes: u64,
}

impl Wholes {
    /// Keeps up to `most` bytes.
    pub fn new(most: u64) -> Self {
        Wholes { most, state: Mutex::new(State { chunks: LruCache::unbounded(), bytes: 0 }) }
    }

    /// Keeps a chunk. The one that came last stays, also if it has more bytes than all may have.
    pub fn put(&self, whole: u128, bytes: Arc<Vec<u8>>) {
        let mut state = self.state.lock();
        state.bytes += cost(&bytes);
        if let Some(old) = state.chunks.put(whole, bytes) {
            state.bytes -= cost(&old);
        }
        while state.bytes > self.most && state.chunks.len() > 1 {
            let Some((_, old)) = state.chunks.pop_lru() else { break };
            state.bytes -= cost(&old);
        }
    }

    pub fn get(&self, whole: u128) -> Option<Arc<Vec<u8>>> {
        self.state.lock().chunks.get(&whole).cloned()
    }

    pub fn has(&self, whole: u128) -> bool {
        self.state.lock().chunks.contains(&whole)
    }
}

/// What a chunk takes, with what it has in reserve.
fn cost(bytes: &Arc<Vec<u8>>) -> u64 {
    bytes.capacity() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_recently_used_goes_when_the_bytes_are_full() {
        let wholes = Wholes::new(300);
        let chunk = |length| Arc::new(vec![0; length]);
        (0..3).for_each(|n| wholes.put(n, chunk(100)));
        assert!(wholes.get(0).is_some());
        wholes.put(3, chunk(100));
        assert_eq!([0, 1, 2, 3].map(|n| wholes.has(n)), [true, false, true, true]);
        wholes.put(4, chunk(1000));
        assert_eq!([0, 3, 4].map(|n| wholes.has(n)), [false, false, true]);
        assert_eq!(wholes.state.lock().bytes, 1000);
    }
}
