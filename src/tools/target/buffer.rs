//! Memory that a disk can read into past the page cache: it begins where a page does.

use std::ops::{Deref, Range};

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Bytes of a page, and of a block of any disk, or a multiple of it.
pub const PAGE: u64 = 4096;

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(4096))]
struct Page([u8; PAGE as usize]);

/// What was read last; used again for the next read.
#[derive(Default)]
pub struct Buffer {
    memory: Vec<Page>,
    view: Range<usize>,
}

impl Buffer {
    /// Whole pages for the bytes `range` of a disk, which stand in them as in its own pages; what is
    /// seen of the buffer from here on is those bytes. Also the offset of the first page.
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
