//! The cache that all sources share. It keeps what was read: in memory, up to a number of bytes,
//! and in an encrypted scratch file on disk.
//!
//! A frame has 64 KiB (less at the end of a file): enough for a small index (a 100 GB image has 1.6
//! million frames), and small enough for a random read.
//!
//! Bytes of a stream go to the scratch at once and not when they leave memory, so a frame is never in
//! neither; a read in such a moment would cost a whole stream. A chunk can be fetched again, so it is kept
//! whole in memory for a while, and goes to the scratch behind its readers ([`behind`]), or not at all if
//! it costs little to get it again ([`Keep`]).

mod behind;
mod memory;
mod scratch;
mod wholes;

use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use behind::Behind;
use memory::Memory;
use scratch::Scratch;
use wholes::Wholes;

use crate::archives::source::{FRAME, Keep, Key};
use crate::error::Result;

/// The limits of the cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of file contents in memory.
    pub memory: u64,
    /// Bytes on disk; 0: no scratch file.
    pub scratch: u64,
    /// The directory of the scratch file, which is unlinked at once.
    pub dir: PathBuf,
}

/// The frames in memory and on disk.
pub struct Cache {
    memory: Memory,
    wholes: Wholes,
    scratch: Option<Arc<Scratch>>,
    /// Made when the first chunk is to be written.
    behind: OnceLock<Option<Behind>>,
}

impl Cache {
    /// # Errors
    /// When the scratch file cannot be made.
    pub fn new(limits: &Limits) -> Result<Self> {
        let scratch = match limits.scratch {
            0 => None,
            bytes => Some(Arc::new(Scratch::new(&limits.dir, bytes)?)),
        };
        let (memory, wholes) = (Memory::new(limits.memory), Wholes::new(limits.memory));
        Ok(Cache { memory, wholes, scratch, behind: OnceLock::new() })
    }

    /// Keeps a whole chunk.
    pub fn put_whole(&self, whole: u128, bytes: &Arc<Vec<u8>>, keep: Keep) {
        self.wholes.put(whole, Arc::clone(bytes));
        let Some(scratch) = self.scratch.as_ref().filter(|_| keep == Keep::OnDisk) else { return };
        let Some(behind) = self.behind.get_or_init(|| Behind::new(scratch)) else { return };
        for (frame, start) in (0..).zip((0..bytes.len()).step_by(FRAME as usize)) {
            let key = Key { whole, frame };
            if !scratch.has(key) {
                behind.put(key, bytes, start..(start + FRAME as usize).min(bytes.len()));
            }
        }
    }

    fn behind(&self) -> Option<&Behind> {
        self.behind.get().and_then(Option::as_ref)
    }

    /// Keeps a frame if there is room. Never fails.
    pub fn put(&self, key: Key, bytes: &[u8]) {
        if self.has(key) {
            return;
        }
        if let Some(scratch) = &self.scratch {
            scratch.put(key, bytes);
        }
        self.memory.put(key, Arc::from(bytes));
    }

    /// Appends the bytes `range` of a frame to `out` and returns true, or leaves `out` unchanged. A
    /// range that goes past the end of the frame is a miss.
    pub fn read(&self, key: Key, range: Range<usize>, out: &mut Vec<u8>) -> bool {
        if let Some(chunk) = self.wholes.get(key.whole) {
            let start = key.frame as usize * FRAME as usize;
            let frame = chunk.get(start..(start + FRAME as usize).min(chunk.len()));
            return match frame.and_then(|frame| frame.get(range)) {
                Some(bytes) => {
                    out.extend_from_slice(bytes);
                    true
                }
                None => false,
            };
        }
        if let Some(frame) = self.memory.get(key) {
            return match frame.get(range) {
                Some(bytes) => {
                    out.extend_from_slice(bytes);
                    true
                }
                None => false,
            };
        }
        // A small read of a frame on disk costs only its own 4 KiB blocks, so it pushes no other
        // frame out of memory.
        self.behind().is_some_and(|behind| behind.read(key, &range, out))
            || self.scratch.as_ref().is_some_and(|scratch| scratch.read(key, range, out))
    }

    pub fn has(&self, key: Key) -> bool {
        self.wholes.has(key.whole)
            || self.memory.has(key)
            || self.behind().is_some_and(|behind| behind.has(key))
            || self.scratch.as_ref().is_some_and(|scratch| scratch.has(key))
    }

    pub fn forget(&self, key: Key) {
        self.memory.forget(key);
        if let Some(scratch) = &self.scratch {
            scratch.forget(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archives::source::FRAME;
    use proptest::prelude::*;

    fn limits(memory: u64, scratch: u64) -> Limits {
        Limits { memory, scratch, dir: std::env::temp_dir() }
    }

    fn frame_of(key: Key, len: usize) -> Vec<u8> {
        let seed = key.whole.wrapping_mul(31).wrapping_add(key.frame.into());
        (0..len).map(|i| (seed as usize).wrapping_add(i.wrapping_mul(7)) as u8).collect()
    }

    fn length(key: Key) -> usize {
        match key.frame % 4 {
            0 => 1,
            1 => 5000,
            2 => 4096,
            _ => FRAME as usize,
        }
    }

    #[test]
    fn what_left_the_memory_is_read_from_the_scratch() {
        let cache = Cache::new(&limits(2 * FRAME, 64 << 20)).unwrap();
        let keys: Vec<Key> = (0..40).map(|frame| Key { whole: 9, frame }).collect();
        for key in &keys {
            cache.put(*key, &frame_of(*key, length(*key)));
        }
        for key in &keys {
            let mut out = vec![42];
            assert!(cache.read(*key, 0..length(*key), &mut out), "{key:?}");
            assert!(out[1..] == frame_of(*key, length(*key)), "{key:?}");
        }
        let mut out = Vec::new();
        assert!(!cache.read(keys[0], 0..2, &mut out), "past the end of a short frame");
        assert!(out.is_empty());
    }

    proptest! {
        /// Whatever is put, forgotten and evicted, a read returns the bytes that were put, or
        /// nothing.
        #[test]
        fn a_read_is_right_or_a_miss(ops in proptest::collection::vec((0u8..3, 0u128..3, 0u32..12, 0usize..70_000, 0usize..70_000), 1..150)) {
            let cache = Cache::new(&limits(3 * FRAME, 6 * FRAME)).unwrap();
            for (op, whole, frame, a, b) in ops {
                let key = Key { whole, frame };
                match op {
                    0 => cache.put(key, &frame_of(key, length(key))),
                    1 => cache.forget(key),
                    _ => {
                        let mut out = Vec::new();
                        let range = a.min(b)..a.max(b);
                        if cache.read(key, range.clone(), &mut out) {
                            let whole = frame_of(key, length(key));
                            prop_assert_eq!(Some(&out[..]), whole.get(range));
                        }
                    }
                }
            }
        }
    }
}
