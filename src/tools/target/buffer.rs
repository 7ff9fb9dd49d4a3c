//! Memory for reads past the page cache: it begins at a page boundary.

use std::ops::{Deref, Range};

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The size of a page in bytes; the block size of any disk divides it.
pub const PAGE: u64 = 4096;

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(4096))]
struct Page([u8; PAGE as usize]);

/// The buffer of the last read, for the next one.
#[derive(Default)]
pub struct Buffer {
    memory: Vec<Page>,
    view: Range<usize>,
}

impl Buffer {
    /// Whole pages for the bytes `range` of a disk, with the same alignment as on the disk. The
    /// buffer then shows only these bytes. Also returns the offset of the first page.
    pub fn pages_for(&mut self, range: &Range<u64>) -> (&mut [u8], u64) {
        let first = range.start / PAGE * PAGE;
        let pages = (range.end - first).div_ceil(PAGE) as usize;
        if self.memory.len() < pages {
            self.memory.resize(pages, Page([0; PAGE as usize]));
        }
        self.view = (range.start - first) as usize..(range.end - first) as usize;
        (self.memory[..pages].as_mut_bytes(), first)
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.memory.as_slice().as_bytes()[self.view.clone()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_stand_in_the_buffer_as_in_the_pages_of_a_disk() {
        let mut buffer = Buffer::default();
        for (range, first, length) in [(0..1, 0, 4096), (5000..8192, 4096, 4096), (4095..8193, 0, 12288)] {
            let (pages, at) = buffer.pages_for(&range);
            assert_eq!((at, pages.len(), pages.as_ptr() as usize % 4096), (first, length, 0));
            for (n, byte) in pages.iter_mut().enumerate() {
                *byte = ((at + n as u64) / 7) as u8;
            }
            let expected: Vec<u8> = range.map(|at| (at / 7) as u8).collect();
            assert_eq!(*buffer, expected);
        }
        buffer.pages_for(&(7..7));
        assert!(buffer.is_empty());
    }
}
