//! Frames on disk: a file without a name. Each block of 4 KiB is encrypted and authenticated
//! (AES-256-GCM) with a random key that only this process has, so nothing in the file can be read
//! after a crash or theft, and an altered block is never returned.
//!
//! The nonce consists of the number of the write, which is never repeated in a process, and the
//! number of the block in its frame. The authenticated data name content and frame, so no block can
//! take the place of another. A full disk shrinks the file; the mount goes on.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use lru::LruCache;
use nix::fcntl::{FallocateFlags, fallocate};
use parking_lot::{Mutex, MutexGuard};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};
use tracing::warn;
use zeroize::Zeroizing;

use crate::archives::source::{FRAME, Key};
use crate::error::{Error, Result};
use crate::secret::Secret;

/// Bytes that are encrypted together: the cost of a small random read.
const BLOCK: usize = 4096;
const TAG: usize = 16;
const SEALED: usize = BLOCK + TAG;
/// The size of a slot in the file: sixteen sealed blocks, rounded up to whole pages.
const STRIDE: u64 = 17 * 4096;
const PAGE: u64 = 4096;

pub struct Scratch {
    file: File,
    key: Secret<LessSafeKey>,
    writes: AtomicU64,
    index: Mutex<Index>,
}

struct Index {
    frames: LruCache<Key, StoredFrame>,
    /// Slots without a frame.
    free: Vec<u32>,
    /// The pages on disk of each slot that was ever used.
    pages: Vec<u8>,
    used: u64,
    limit: u64,
}

#[derive(Clone, Copy)]
struct StoredFrame {
    slot: u32,
    len: u32,
    write: u64,
}

impl Scratch {
    /// Makes a file in `dir` that takes at most `limit` bytes of disk.
    ///
    /// # Errors
    /// When the file cannot be made.
    pub fn new(dir: &Path, limit: u64) -> Result<Self> {
        let to_error = || Error::failed(format!("cannot make the cache file in {}", dir.display()));
        let file = File::options()
            .read(true)
            .write(true)
            .mode(0o600)
            .custom_flags(libc::O_TMPFILE)
            .open(dir)
            .or_else(|_| tempfile::tempfile_in(dir))
            .map_err(|e| {
                to_error().because(e).hint("choose another place with --cache-dir, or --cache-size 0")
            })?;
        let mut secret = Zeroizing::new([0; 32]);
        SystemRandom::new()
            .fill(&mut *secret)
            .and_then(|()| UnboundKey::new(&AES_256_GCM, &*secret))
            .map(|key| Scratch {
                file,
                key: Secret::new(LessSafeKey::new(key)),
                writes: AtomicU64::new(0),
                index: Mutex::new(Index::new(limit)),
            })
            .map_err(|_| to_error().because("the kernel gave no random key"))
    }

    /// Keeps a frame, and evicts the least recently used ones if there is no room.
    pub fn put(&self, key: Key, bytes: &[u8]) {
        debug_assert!(bytes.len() as u64 <= FRAME);
        let Some(slot) = self.take_slot(sealed_pages(bytes.len())) else { return };
        let write = self.writes.fetch_add(1, Ordering::Relaxed);
        let Some(sealed) = self.seal(key, write, bytes) else { return };
        if let Err(e) = self.file.write_all_at(&sealed, u64::from(slot) * STRIDE) {
            warn!("the cache file cannot grow ({e}): it is kept smaller from here on");
            self.shrink(slot);
            return;
        }
        let mut index = self.lock();
        let entry = StoredFrame { slot, len: bytes.len() as u32, write };
        if let Some(old) = index.frames.put(key, entry) {
            index.free.push(old.slot);
        }
    }

    /// Appends `range` of the frame to `out` and returns true, or leaves `out` unchanged.
    pub fn read(&self, key: Key, range: Range<usize>, out: &mut Vec<u8>) -> bool {
        // Between look-up and read, the frame may be evicted and its slot written again. Then the
        // tag does not match, and a second look-up shows whether this happened.
        for _ in 0..2 {
            let Some(entry) = self.lock().frames.get(&key).copied() else { return false };
            if range.start > range.end || range.end > entry.len as usize {
                return false;
            }
            let start = out.len();
            if self.open(key, entry, range.clone(), out).is_some() {
                return true;
            }
            out.truncate(start);
            let mut index = self.lock();
            if index.frames.peek(&key).is_some_and(|now| now.write == entry.write) {
                warn!("a block of the cache file was altered or cannot be read: it is dropped");
                index.forget(key);
                return false;
            }
        }
        false
    }

    pub fn has(&self, key: Key) -> bool {
        self.lock().frames.contains(&key)
    }

    pub fn forget(&self, key: Key) {
        self.lock().forget(key);
    }

    fn lock(&self) -> MutexGuard<'_, Index> {
        self.index.lock()
    }

    /// A slot that may take `pages` pages.
    fn take_slot(&self, pages: u64) -> Option<u32> {
        let mut index = self.lock();
        let slot = index.free.pop().or_else(|| index.new_slot()).or_else(|| index.evict())?;
        while index.growth(slot, pages) + index.used > index.limit {
            let Some(other) = index.evict().or_else(|| index.free_with_pages()) else {
                index.free.push(slot);
                return None;
            };
            self.punch(&mut index, other);
        }
        let growth = index.growth(slot, pages);
        index.used += growth;
        index.pages[slot as usize] = index.pages[slot as usize].max(pages as u8);
        Some(slot)
    }

    /// Frees the disk space of an empty slot.
    fn punch(&self, index: &mut Index, slot: u32) {
        let flags = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
        let offset = (u64::from(slot) * STRIDE) as libc::off_t;
        // If the file system cannot punch holes, the space still counts, and is used again.
        if fallocate(&self.file, flags, offset, STRIDE as libc::off_t).is_ok() {
            let pages = std::mem::take(&mut index.pages[slot as usize]);
            index.used -= u64::from(pages) * PAGE;
        }
        index.free.push(slot);
    }

    /// After a failed write: frees `slot` and an eighth of the file, and lowers the limit for good.
    fn shrink(&self, slot: u32) {
        let mut index = self.lock();
        self.punch(&mut index, slot);
        index.limit = index.limit.min(index.used / 8 * 7);
        while index.used > index.limit {
            let Some(other) = index.evict() else { break };
            self.punch(&mut index, other);
        }
    }

    fn seal(&self, key: Key, write: u64, bytes: &[u8]) -> Option<Vec<u8>> {
        let mut sealed = Vec::with_capacity(bytes.len().div_ceil(BLOCK) * SEALED);
        for (number, block) in bytes.chunks(BLOCK).enumerate() {
            let start = sealed.len();
            sealed.extend_from_slice(block);
            let tag = self
                .key
                .seal_in_place_separate_tag(nonce(write, number), Aad::from(names(key)), &mut sealed[start..])
                .ok()?;
            sealed.extend_from_slice(tag.as_ref());
        }
        Some(sealed)
    }

    fn open(&self, key: Key, entry: StoredFrame, range: Range<usize>, out: &mut Vec<u8>) -> Option<()> {
        if range.is_empty() {
            return Some(());
        }
        let (first, last) = (range.start / BLOCK, (range.end - 1) / BLOCK);
        let sealed_len = entry.len as usize + (entry.len as usize).div_ceil(BLOCK) * TAG;
        let from = first * SEALED;
        let mut sealed = vec![0; sealed_len.min((last + 1) * SEALED) - from];
        self.file.read_exact_at(&mut sealed, u64::from(entry.slot) * STRIDE + from as u64).ok()?;
        for (number, block) in (first..=last).zip(sealed.chunks_mut(SEALED)) {
            let aad = Aad::from(names(key));
            let plain = self.key.open_in_place(nonce(entry.write, number), aad, block).ok()?;
            let start = range.start.saturating_sub(number * BLOCK);
            let end = (range.end - number * BLOCK).min(plain.len());
            out.extend_from_slice(plain.get(start..end)?);
        }
        Some(())
    }
}

impl Index {
    fn new(limit: u64) -> Self {
        Index { frames: LruCache::unbounded(), free: Vec::new(), pages: Vec::new(), used: 0, limit }
    }

    fn new_slot(&mut self) -> Option<u32> {
        let slot = u32::try_from(self.pages.len()).ok()?;
        if self.used + PAGE > self.limit {
            return None;
        }
        self.pages.push(0);
        Some(slot)
    }

    /// Drops the least recently used frame and returns its slot.
    fn evict(&mut self) -> Option<u32> {
        self.frames.pop_lru().map(|(_, entry)| entry.slot)
    }

    /// Takes a free slot that still has disk space to free.
    fn free_with_pages(&mut self) -> Option<u32> {
        let at = self.free.iter().position(|slot| self.pages[*slot as usize] > 0)?;
        Some(self.free.swap_remove(at))
    }

    fn forget(&mut self, key: Key) {
        if let Some(entry) = self.frames.pop(&key) {
            self.free.push(entry.slot);
        }
    }

    /// The additional bytes of disk that `slot` takes with `pages` pages.
    fn growth(&self, slot: u32, pages: u64) -> u64 {
        pages.saturating_sub(u64::from(self.pages[slot as usize])) * PAGE
    }
}

/// The pages that a frame of `len` bytes takes on disk: at most 17.
fn sealed_pages(len: usize) -> u64 {
    ((len + len.div_ceil(BLOCK) * TAG) as u64).div_ceil(PAGE)
}

fn nonce(write: u64, block: usize) -> Nonce {
    let mut bytes = [0; 12];
    bytes[..8].copy_from_slice(&write.to_le_bytes());
    bytes[8..].copy_from_slice(&(block as u32).to_le_bytes());
    Nonce::assume_unique_for_key(bytes)
}

fn names(key: Key) -> [u8; 20] {
    let mut bytes = [0; 20];
    bytes[..16].copy_from_slice(&key.whole.to_le_bytes());
    bytes[16..].copy_from_slice(&key.frame.to_le_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    fn key(frame: u32) -> Key {
        Key { whole: 5, frame }
    }

    fn bytes(frame: u32) -> Vec<u8> {
        (0..FRAME as u32).map(|i| (i.wrapping_mul(frame + 3) >> 3) as u8).collect()
    }

    fn whole(scratch: &Scratch, frame: u32) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        scratch.read(key(frame), 0..FRAME as usize, &mut out).then_some(out)
    }

    #[test]
    fn the_disk_space_stays_within_the_limit() {
        let limit = 10 * STRIDE;
        let scratch = Scratch::new(&std::env::temp_dir(), limit).unwrap();
        for frame in 0..200 {
            scratch.put(key(frame), &bytes(frame)[..if frame % 3 == 0 { 100 } else { FRAME as usize }]);
        }
        let disk = scratch.file.metadata().unwrap().blocks() * 512;
        assert!(disk <= limit, "{disk} bytes on disk");
        assert!(whole(&scratch, 199).is_some() && whole(&scratch, 1).is_none());
        assert!(scratch.lock().frames.len() >= 10);
    }

    #[test]
    fn a_limit_below_one_frame_keeps_nothing_and_fails_nobody() {
        let scratch = Scratch::new(&std::env::temp_dir(), 3 * PAGE).unwrap();
        scratch.put(key(0), b"small");
        scratch.put(key(1), &bytes(1));
        assert!(whole(&scratch, 1).is_none());
    }

    #[test]
    fn an_altered_block_is_dropped_and_the_others_are_served() {
        let scratch = Scratch::new(&std::env::temp_dir(), 100 * STRIDE).unwrap();
        for frame in 0..3 {
            scratch.put(key(frame), &bytes(frame));
        }
        let slot = scratch.lock().frames.peek(&key(1)).unwrap().slot;
        scratch.file.write_all_at(b"!", u64::from(slot) * STRIDE + 3 * SEALED as u64 + 77).unwrap();
        let mut out = Vec::new();
        assert!(scratch.read(key(1), 0..BLOCK, &mut out), "another block of the frame is right");
        assert!(!scratch.read(key(1), 3 * BLOCK..4 * BLOCK, &mut out) && !scratch.has(key(1)));
        assert_eq!(out.len(), BLOCK);
        assert_eq!(whole(&scratch, 2), Some(bytes(2)));
    }

    #[test]
    fn no_block_can_stand_in_for_another() {
        let scratch = Scratch::new(&std::env::temp_dir(), 100 * STRIDE).unwrap();
        scratch.put(key(0), &bytes(0));
        scratch.put(key(1), &bytes(1));
        let mut sealed = vec![0; STRIDE as usize - 304];
        scratch.file.read_exact_at(&mut sealed, 0).unwrap();
        scratch.file.write_all_at(&sealed, STRIDE).unwrap();
        assert_eq!(whole(&scratch, 1), None);
    }

    #[test]
    fn nothing_readable_is_on_the_disk() {
        let scratch = Scratch::new(&std::env::temp_dir(), 100 * STRIDE).unwrap();
        let text = b"the quick brown fox ".repeat(200);
        scratch.put(key(0), &text);
        let mut sealed = vec![0; text.len()];
        scratch.file.read_exact_at(&mut sealed, 0).unwrap();
        assert!(!sealed.windows(9).any(|w| w == b"the quick"));
    }

    #[test]
    fn a_small_read_is_cut_at_any_byte() {
        let scratch = Scratch::new(&std::env::temp_dir(), 100 * STRIDE).unwrap();
        let data = &bytes(4)[..3 * BLOCK + 100];
        scratch.put(key(4), data);
        for range in [0..1, 4095..4097, 1..data.len(), 3 * BLOCK..data.len(), 5..5, 8191..8192] {
            let mut out = Vec::new();
            assert!(scratch.read(key(4), range.clone(), &mut out));
            assert_eq!(out, data[range]);
        }
        assert!(!scratch.read(key(4), 0..data.len() + 1, &mut Vec::new()));
    }
}
