//! The map of a file of changes: which blocks it has.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

pub const BLOCK: u64 = 4096;
/// The offset of the map, after the header.
pub const MAP_AT: u64 = 64 << 10;
/// The map is written in pages of this size.
pub const PAGE: u64 = 4096;

/// The set of blocks that are in the store.
#[derive(Default)]
pub struct Map {
    pub bits: Vec<u8>,
    /// Pages that differ from those on disk.
    pub dirty: BTreeSet<u64>,
}

impl Map {
    pub fn new(size: u64) -> Map {
        Map { bits: vec![0; map_len(size) as usize], dirty: BTreeSet::new() }
    }

    pub fn has(&self, block: u64) -> bool {
        self.bits[(block / 8) as usize] >> (block % 8) & 1 == 1
    }

    pub fn add(&mut self, block: u64) {
        if !self.has(block) {
            self.bits[(block / 8) as usize] |= 1 << (block % 8);
            self.dirty.insert(block / 8 / PAGE);
        }
    }

    /// The pages that must be written, with their numbers. They count as written from now on.
    pub fn take_dirty(&mut self) -> Vec<(u64, Vec<u8>)> {
        let page = |n: u64| self.bits[(n * PAGE) as usize..((n + 1) * PAGE) as usize].to_vec();
        std::mem::take(&mut self.dirty).into_iter().map(|n| (n, page(n))).collect()
    }
}

/// Whole pages.
pub fn map_len(size: u64) -> u64 {
    size.div_ceil(BLOCK).div_ceil(8).next_multiple_of(PAGE)
}

/// Bytes past the end of the file are zeros, like those in a hole.
pub fn read_or_zeros(file: &File, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
    let mut done = 0;
    while done < bytes.len() {
        match file.read_at(&mut bytes[done..], offset + done as u64) {
            Ok(0) => {
                bytes[done..].fill(0);
                return Ok(());
            }
            Ok(n) => done += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}
