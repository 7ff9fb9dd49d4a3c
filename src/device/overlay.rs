//! Changes over an image that is never written: a sparse file, and a map of its blocks.
//!
//! ```text
//! 0        header: one line of JSON that says whose changes these are
//! 64 KiB   map: a bit for each block of 4 KiB; set: the block is in this file
//! then     blocks, each at its own place, from a MiB on that the map ends before
//! ```
//!
//! A bit is never cleared: a discarded block is in the file as a hole. So the map needs no journal:
//! blocks become durable before the map names them, and every bit is right in any mixture of old
//! and new map pages on disk.
//!
//! Discarded changes have no map on disk, and their blocks are encrypted (XTS, as for disks) with a
//! key that only this process has. There, a block of zeros means zeros: no ciphertext is all zeros.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;

use aes::Aes256;
use aes::cipher::KeyInit;
use parking_lot::{Mutex, RwLock, RwLockReadGuard};
use ring::rand::{SecureRandom, SystemRandom};
use xts_mode::{Xts128, get_tweak_default};
use zeroize::Zeroizing;

use super::blocks::{BLOCK, MAP_AT, Map, PAGE, map_len, read_or_zeros};
use super::origin::Origin;
use crate::error::{Error, Result};
use crate::secret::Secret;

const ALIGN: u64 = 1 << 20;

/// A writable view of an image.
pub struct Overlay {
    base: File,
    size: u64,
    store: File,
    blocks_at: u64,
    map: RwLock<Map>,
    /// Allows one flush at a time. True after a failed one, because then nobody knows what reached
    /// the disk.
    flush: Mutex<bool>,
    /// The cipher of discarded changes.
    cipher: Option<Secret<Xts128<Aes256>>>,
}

impl Overlay {
    /// Makes an overlay over `base`, of `size` bytes. Dropping it discards the changes. `store` is
    /// an empty file that nobody else has.
    ///
    /// # Errors
    /// When the system has no random key.
    pub fn thrown_away(base: File, size: u64, store: File) -> Result<Overlay> {
        let mut key = Zeroizing::new([0; 64]);
        SystemRandom::new()
            .fill(&mut *key)
            .map_err(|_| Error::failed("the system gives no random numbers for a key"))?;
        let cipher =
            |half: &[u8]| Aes256::new_from_slice(half).map_err(|e| Error::failed("no key").because(e));
        let cipher = Secret::new(Xts128::new(cipher(&key[..32])?, cipher(&key[32..])?));
        let map = RwLock::new(Map::new(size));
        Ok(Overlay { base, size, store, blocks_at: 0, map, flush: Mutex::new(false), cipher: Some(cipher) })
    }

    /// The same with changes that are kept in `store`: an empty file, or one with earlier changes
    /// to the same image.
    ///
    /// # Errors
    /// [`crate::error::Kind::Usage`] when the file holds something else, or changes to another
    /// image.
    pub fn kept(base: File, size: u64, store: File, origin: &Origin) -> Result<Overlay> {
        let to_error = |e: io::Error| Error::failed("cannot use the file of the changes").because(e);
        let mut map = Map::new(size);
        if store.metadata().map_err(to_error)?.len() == 0 {
            origin.write(&store).and_then(|()| store.sync_all()).map_err(to_error)?;
        } else {
            origin.check(&store)?;
            read_or_zeros(&store, MAP_AT, &mut map.bits).map_err(to_error)?;
        }
        let blocks_at = (MAP_AT + map_len(size)).next_multiple_of(ALIGN);
        let map = RwLock::new(map);
        Ok(Overlay { base, size, store, blocks_at, map, flush: Mutex::new(false), cipher: None })
    }

    pub fn size(&self) -> u64 {
        self.size
    }

    /// The `len` bytes at `offset`, or fewer at the end.
    ///
    /// # Errors
    /// When the image or the changes cannot be read.
    pub fn read(&self, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        let end = self.size.min(offset.saturating_add(len as u64));
        let mut bytes = vec![0; end.saturating_sub(offset) as usize];
        let mut of_base = Vec::new();
        {
            let map = self.map();
            let mut at = offset;
            while at < end {
                let ours = map.has(at / BLOCK);
                let mut to = (at / BLOCK + 1) * BLOCK;
                while to < end && map.has(to / BLOCK) == ours {
                    to += BLOCK;
                }
                let to = to.min(end);
                if ours {
                    self.read_store(at, &mut bytes[(at - offset) as usize..(to - offset) as usize])?;
                } else {
                    of_base.push((at, to));
                }
                at = to;
            }
        }
        // Reading the image may take long, and the image never changes, so writers need not wait.
        for (at, to) in of_base {
            self.base.read_exact_at(&mut bytes[(at - offset) as usize..(to - offset) as usize], at)?;
        }
        Ok(bytes)
    }

    /// # Errors
    /// When the changes do not fit, as on a full disk. Blocks without earlier changes then stay as
    /// they were.
    pub fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let end = offset.checked_add(bytes.len() as u64).filter(|end| *end <= self.size);
        let end = end.ok_or_else(|| io::Error::from_raw_os_error(libc::ENOSPC))?;
        if bytes.is_empty() {
            return Ok(());
        }
        let (first, last) = (offset / BLOCK, (end - 1) / BLOCK);
        // The first and the last block may need bytes of the image, which are read without the
        // lock.
        let torn = |block: u64| block * BLOCK < offset || self.end_of(block) > end;
        let mut whole = vec![0; ((last + 1 - first) * BLOCK) as usize];
        let in_whole = |block: u64| ((block - first) * BLOCK) as usize;
        let edges = if first == last { vec![first] } else { vec![first, last] };
        let edges: Vec<u64> = edges.into_iter().filter(|block| torn(*block)).collect();
        for block in edges.iter().filter(|block| !self.map().has(**block)) {
            let (at, to) = (block * BLOCK, self.end_of(*block));
            let from = in_whole(*block);
            self.base.read_exact_at(&mut whole[from..from + (to - at) as usize], at)?;
        }
        let mut map = self.map.write();
        for block in edges.into_iter().filter(|block| map.has(*block)) {
            let from = in_whole(block);
            self.read_store(block * BLOCK, &mut whole[from..from + BLOCK as usize])?;
        }
        let from = (offset - first * BLOCK) as usize;
        whole[from..from + bytes.len()].copy_from_slice(bytes);
        if let Some(cipher) = &self.cipher {
            cipher.encrypt_area(&mut whole, BLOCK as usize, u128::from(first), get_tweak_default);
        }
        self.store.write_all_at(&whole, self.blocks_at + first * BLOCK)?;
        (first..=last).for_each(|block| map.add(block));
        Ok(())
    }

    /// Zeroes the range, and frees its space.
    ///
    /// # Errors
    /// As [`Overlay::write`].
    pub fn discard(&self, offset: u64, len: u64) -> io::Result<()> {
        let end = self.size.min(offset.saturating_add(len));
        let first = offset.div_ceil(BLOCK);
        // The last block of the image may be short, but counts as whole.
        let past = if end == self.size { end.div_ceil(BLOCK) } else { end / BLOCK };
        if first >= past {
            return self.write(offset, &vec![0; end.saturating_sub(offset) as usize]);
        }
        self.write(offset, &vec![0; (first * BLOCK - offset) as usize])?;
        self.write((past * BLOCK).min(end), &vec![0; end.saturating_sub(past * BLOCK) as usize])?;
        let mut map = self.map.write();
        self.punch(self.blocks_at + first * BLOCK, (past - first) * BLOCK)?;
        (first..past).for_each(|block| map.add(block));
        Ok(())
    }

    /// Makes all writes so far durable, if changes are kept.
    ///
    /// # Errors
    /// When the disk fails or is full. After the disk failed once, every call is an error.
    pub fn sync(&self) -> io::Result<()> {
        if self.cipher.is_some() {
            return Ok(());
        }
        let mut failed = self.flush.lock();
        if *failed {
            return Err(io::Error::from_raw_os_error(libc::EIO));
        }
        let pages: Vec<(u64, Vec<u8>)> = {
            let mut map = self.map.write();
            map.take_dirty()
        };
        let durable = |file: &File, failed: &mut bool| file.sync_data().inspect_err(|_| *failed = true);
        durable(&self.store, &mut failed)?;
        let written = pages.iter().try_for_each(|(n, page)| self.store.write_all_at(page, MAP_AT + n * PAGE));
        if let Err(e) = written {
            let mut map = self.map.write();
            map.dirty.extend(pages.iter().map(|(n, _)| *n));
            return Err(e);
        }
        if pages.is_empty() { Ok(()) } else { durable(&self.store, &mut failed) }
    }

    fn map(&self) -> RwLockReadGuard<'_, Map> {
        self.map.read()
    }

    fn end_of(&self, block: u64) -> u64 {
        ((block + 1) * BLOCK).min(self.size)
    }

    /// Blocks that are in the store. The caller holds the map.
    fn read_store(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        let Some(cipher) = &self.cipher else {
            return read_or_zeros(&self.store, self.blocks_at + offset, bytes);
        };
        let first = offset / BLOCK;
        let skip = (offset - first * BLOCK) as usize;
        let mut whole = vec![0; (skip + bytes.len()).next_multiple_of(BLOCK as usize)];
        read_or_zeros(&self.store, first * BLOCK, &mut whole)?;
        for (block, sealed) in (first..).zip(whole.chunks_exact_mut(BLOCK as usize)) {
            if sealed.iter().any(|b| *b != 0) {
                cipher.decrypt_sector(sealed, get_tweak_default(u128::from(block)));
            }
        }
        bytes.copy_from_slice(&whole[skip..skip + bytes.len()]);
        Ok(())
    }

    fn punch(&self, offset: u64, len: u64) -> io::Result<()> {
        let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
        // SAFETY: a plain system call with the descriptor of an open file.
        match unsafe { libc::fallocate(self.store.as_raw_fd(), mode, offset as i64, len as i64) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SIZE: u64 = 10 * BLOCK + 700;

    fn base() -> (Vec<u8>, File) {
        let bytes: Vec<u8> = (0..SIZE).map(|n| (n / 7 % 251) as u8 | 1).collect();
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&bytes, 0).unwrap();
        (bytes, file)
    }

    #[derive(Debug, Clone)]
    enum Step {
        Write(u64, usize, u8),
        Discard(u64, u64),
        Read(u64, usize),
        Sync,
        /// Simulates a SIGKILL: each unsynced block may be lost.
        Reopen,
    }

    fn step() -> impl Strategy<Value = Step> {
        let offset = 0..SIZE;
        prop_oneof![
            4 => (offset.clone(), 1..3 * BLOCK as usize, 1..255u8).prop_map(|(o, l, b)| Step::Write(o, l, b)),
            2 => (offset.clone(), 1..5 * BLOCK).prop_map(|(o, l)| Step::Discard(o, l)),
            3 => (offset, 1..4 * BLOCK as usize).prop_map(|(o, l)| Step::Read(o, l)),
            1 => Just(Step::Sync),
            1 => Just(Step::Reopen),
        ]
    }

    fn run(steps: Vec<Step>, keep: bool) {
        let (bytes, file) = base();
        let store = tempfile::tempfile().unwrap();
        let origin = Origin::new("ab", b"dev/zvol/v", SIZE);
        let open = || {
            let (base, store) = (file.try_clone().unwrap(), store.try_clone().unwrap());
            match keep {
                true => Overlay::kept(base, SIZE, store, &origin).unwrap(),
                false => Overlay::thrown_away(base, SIZE, store).unwrap(),
            }
        };
        let mut overlay = open();
        let mut model = bytes;
        for step in steps {
            match step {
                Step::Write(offset, len, byte) => {
                    let end = SIZE.min(offset + len as u64);
                    overlay.write(offset, &vec![byte; (end - offset) as usize]).unwrap();
                    model[offset as usize..end as usize].fill(byte);
                }
                Step::Discard(offset, len) => {
                    overlay.discard(offset, len).unwrap();
                    model[offset as usize..SIZE.min(offset + len) as usize].fill(0);
                }
                Step::Read(offset, len) => {
                    let end = SIZE.min(offset + len as u64) as usize;
                    assert_eq!(overlay.read(offset, len).unwrap(), model[offset as usize..end]);
                }
                Step::Sync => overlay.sync().unwrap(),
                Step::Reopen if keep => {
                    overlay.sync().unwrap();
                    overlay = open();
                }
                Step::Reopen => {}
            }
        }
        assert_eq!(overlay.read(0, SIZE as usize + 9).unwrap(), model);
    }

    proptest! {
        #[test]
        fn kept_changes_are_what_a_plain_array_would_hold(steps in prop::collection::vec(step(), 1..40)) {
            run(steps, true);
        }

        #[test]
        fn changes_that_are_thrown_away_are_so_too(steps in prop::collection::vec(step(), 1..40)) {
            run(steps, false);
        }
    }

    #[test]
    fn what_was_synced_survives_and_what_was_not_is_the_image_or_the_change() {
        let (bytes, file) = base();
        let store = tempfile::tempfile().unwrap();
        let origin = Origin::new("ab", b"v", SIZE);
        let open =
            || Overlay::kept(file.try_clone().unwrap(), SIZE, store.try_clone().unwrap(), &origin).unwrap();
        let overlay = open();
        overlay.write(100, &[7; 5000]).unwrap();
        overlay.sync().unwrap();
        overlay.write(6 * BLOCK, &[9; 4096]).unwrap();
        // Neither synced nor ended: the process is gone.
        std::mem::forget(overlay);
        let again = open();
        let mut expected = bytes;
        expected[100..5100].fill(7);
        assert_eq!(again.read(0, SIZE as usize).unwrap(), expected);
        // A discard zeroes a block, even if an old block that the map never named is there.
        again.discard(6 * BLOCK, BLOCK).unwrap();
        assert_eq!(again.read(6 * BLOCK, 4096).unwrap(), [0; 4096]);
    }

    #[test]
    fn what_is_thrown_away_is_unreadable_on_disk() {
        let (_, file) = base();
        let store = tempfile::tempfile().unwrap();
        let overlay = Overlay::thrown_away(file, SIZE, store.try_clone().unwrap()).unwrap();
        overlay.write(0, &[b'S'; 8192]).unwrap();
        let mut raw = vec![0; 8192];
        read_or_zeros(&store, 0, &mut raw).unwrap();
        assert!(!raw.windows(4).any(|w| w == b"SSSS") && raw[..16] != raw[4096..4112]);
    }

    #[test]
    fn changes_to_another_image_are_refused() {
        let (_, file) = base();
        let open = |store: &File, origin: &Origin| {
            Overlay::kept(file.try_clone().unwrap(), SIZE, store.try_clone().unwrap(), origin)
        };
        let store = tempfile::tempfile().unwrap();
        open(&store, &Origin::new("ab", b"v", SIZE)).unwrap();
        for other in
            [Origin::new("cd", b"v", SIZE), Origin::new("ab", b"w", SIZE), Origin::new("ab", b"v", 9)]
        {
            let Err(e) = open(&store, &other) else { panic!("{other:?} was taken") };
            assert!(e.hints()[0].contains("they are of v"), "{e:?}");
        }
        let foreign = tempfile::tempfile().unwrap();
        foreign.write_all_at(b"a letter", 0).unwrap();
        assert!(open(&foreign, &Origin::new("ab", b"v", SIZE)).is_err());
    }

    #[test]
    fn nothing_is_written_past_the_end() {
        let (_, file) = base();
        let overlay = Overlay::thrown_away(file, SIZE, tempfile::tempfile().unwrap()).unwrap();
        assert_eq!(overlay.write(SIZE - 1, &[1; 2]).unwrap_err().raw_os_error(), Some(libc::ENOSPC));
        overlay.write(SIZE - 1, &[1]).unwrap();
        assert_eq!(overlay.read(SIZE - 2, 9).unwrap().len(), 2);
    }
}
