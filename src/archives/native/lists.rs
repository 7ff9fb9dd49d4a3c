//! Which chunks make up which file: flat arrays of numbers, which take little memory and can be
//! written to disk and loaded again without parsing.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};

use borg_repository::{Chunk, Id};
use parking_lot::Mutex;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::archive::tree::zeroed;
use crate::archives::source::{FRAME, Key, Piece};

/// Marks the cache's numbers of chunks, to distinguish them from those of files.
const CHUNKS: u64 = 1 << 63;
/// The number of a chunk that consists of zeros.
const ZEROS: u32 = u32::MAX;

/// The cache's numbers for the chunks of a repository, given on demand. All archives with a chunk
/// share its number.
#[derive(Default)]
pub struct Numbers(Mutex<HashMap<(Id, u32), u32>>);

impl Numbers {
    /// `None` if there are too many.
    fn of(&self, chunk: &Chunk) -> Option<u32> {
        let mut numbers = self.0.lock();
        let next = u32::try_from(numbers.len()).ok()?;
        Some(*numbers.entry((chunk.id, chunk.size)).or_insert(next))
    }
}

/// The chunk lists of one archive, by the number of the item.
#[derive(Default)]
pub struct Lists {
    /// Where the list of each item begins in the arrays of places; it ends where the next begins.
    starts: Vec<u32>,
    /// Where each place ends in its content, in bytes.
    ends: Vec<u64>,
    /// The index in `chunks` of each place, or [`ZEROS`].
    chunks_at: Vec<u32>,
    chunks: Vec<Stored>,
    /// For the items that have zeros; sorted.
    holes: Vec<Holes>,
    /// The cache's numbers of `chunks`, plus 1; 0 if there is none yet.
    numbers: Vec<AtomicU32>,
}

/// The number of arrays that are written to disk.
pub const SECTIONS: usize = 5;

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Stored {
    id: [u8; 32],
    /// The bytes of the object, if known.
    stored: u32,
}

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Holes {
    bytes: u64,
    item: u32,
    unused: u32,
}

/// The part of a content that one chunk holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// The index of the chunk in the archive; `None` for zeros.
    pub chunk: Option<u32>,
    pub start: u64,
    pub end: u64,
}

impl Lists {
    /// Adds the list of an item, whose number must be higher than those before; `None` if there are
    /// too many chunks.
    pub fn add(&mut self, item: u32, chunks: &[Chunk], is_zero: impl Fn(&Chunk) -> bool) -> Option<()> {
        self.reach(item)?;
        let (mut end, mut holes) = (0u64, 0u64);
        for chunk in chunks {
            end = end.checked_add(chunk.size.into())?;
            self.ends.push(end);
            if is_zero(chunk) {
                holes += u64::from(chunk.size);
                self.chunks_at.push(ZEROS);
            } else {
                self.chunks_at.push(u32::try_from(self.chunks.len()).ok().filter(|n| *n != ZEROS)?);
                self.chunks.push(Stored { id: chunk.id.0, stored: chunk.stored });
            }
        }
        if holes > 0 {
            self.holes.push(Holes { bytes: holes, item, unused: 0 });
        }
        self.reach(item.checked_add(1)?)
    }

    /// Must be called after the last item.
    pub fn finish(&mut self) {
        self.starts.shrink_to_fit();
        self.ends.shrink_to_fit();
        self.chunks_at.shrink_to_fit();
        self.chunks.shrink_to_fit();
        self.numbers = self.chunks.iter().map(|_| AtomicU32::new(0)).collect();
    }

    /// Starts the lists of all items up to this one here.
    fn reach(&mut self, item: u32) -> Option<()> {
        let here = u32::try_from(self.ends.len()).ok()?;
        if self.starts.len() <= item as usize {
            self.starts.resize(item as usize + 1, here);
        }
        Some(())
    }

    /// The bytes of the item's content that are in chunks of zeros.
    pub fn holes(&self, item: u32) -> u64 {
        self.holes.binary_search_by_key(&item, |h| h.item).map_or(0, |at| self.holes[at].bytes)
    }

    /// The chunk with the byte `at` of the item's content.
    pub fn span(&self, item: u32, at: u64) -> Option<Span> {
        let first = *self.starts.get(item as usize)? as usize;
        let last = *self.starts.get(item as usize + 1)? as usize;
        let ends = self.ends.get(first..last)?;
        let n = ends.partition_point(|end| *end <= at);
        let end = *ends.get(n)?;
        let start = n.checked_sub(1).map_or(0, |before| ends[before]);
        let chunk = Some(*self.chunks_at.get(first + n)?).filter(|chunk| *chunk != ZEROS);
        Some(Span { chunk, start, end })
    }

    /// Up to `count` chunks of the item's content, starting with the one that has the byte `at`.
    pub fn ahead(&self, item: u32, at: u64, count: usize) -> Vec<Span> {
        let next = |at: &u64| self.span(item, *at);
        let first = Some(at).filter(|_| count > 0).as_ref().and_then(next);
        std::iter::successors(first, |span| next(&span.end)).take(count).collect()
    }

    /// The chunk at `span`, unless it is zeros.
    pub fn chunk(&self, span: &Span) -> Option<Chunk> {
        let found = self.chunks.get(span.chunk? as usize)?;
        let size = u32::try_from(span.end - span.start).ok()?;
        Some(Chunk { id: Id(found.id), size, stored: found.stored })
    }

    /// The cache's number of the chunk at `span`, unless it is zeros.
    pub fn number(&self, span: &Span, numbers: &Numbers) -> Option<u32> {
        let known = self.numbers.get(span.chunk? as usize)?;
        if let Some(number) = known.load(Ordering::Relaxed).checked_sub(1) {
            return Some(number);
        }
        let number = numbers.of(&self.chunk(span)?)?;
        known.store(number.checked_add(1)?, Ordering::Relaxed);
        Some(number)
    }

    /// The frame with the byte `at` of the item's content.
    pub fn piece(&self, item: u32, at: u64, numbers: &Numbers) -> Option<Piece> {
        let span = self.span(item, at)?;
        if span.chunk.is_none() {
            return Some(Piece { key: None, span: span.start..span.end });
        }
        let frame = (at - span.start) / FRAME;
        let start = span.start + frame * FRAME;
        let whole = CHUNKS | u64::from(self.number(&span, numbers)?);
        let key = Key { whole, frame: u32::try_from(frame).ok()? };
        Some(Piece { key: Some(key), span: start..(start + FRAME).min(span.end) })
    }

    /// The lists as bytes, in the byte order of this machine.
    pub fn sections(&self) -> [&[u8]; SECTIONS] {
        [
            self.starts.as_bytes(),
            self.ends.as_bytes(),
            self.chunks_at.as_bytes(),
            self.chunks.as_bytes(),
            self.holes.as_bytes(),
        ]
    }

    /// Lists whose [sections](Lists::sections) have these lengths; the caller fills them and calls
    /// [`finish`](Lists::finish). `None` if the lengths are impossible.
    pub fn with_lengths([starts, ends, chunks_at, chunks, holes]: [usize; SECTIONS]) -> Option<Self> {
        Some(Lists {
            starts: zeroed(starts)?,
            ends: zeroed(ends)?,
            chunks_at: zeroed(chunks_at)?,
            chunks: zeroed(chunks)?,
            holes: zeroed(holes)?,
            numbers: Vec::new(),
        })
    }

    pub fn sections_mut(&mut self) -> [&mut [u8]; SECTIONS] {
        [
            self.starts.as_mut_bytes(),
            self.ends.as_mut_bytes(),
            self.chunks_at.as_mut_bytes(),
            self.chunks.as_mut_bytes(),
            self.holes.as_mut_bytes(),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(n: u8, size: u32) -> Chunk {
        Chunk { id: Id([n; 32]), size, stored: 7 }
    }

    #[test]
    fn each_byte_is_in_its_chunk() {
        for count in [1usize, 3, 40] {
            let mut lists = Lists::default();
            let chunks: Vec<Chunk> = (0..count).map(|n| chunk(n as u8 % 5, 10 + n as u32 % 5)).collect();
            lists.add(3, &[chunk(9, 5)], |_| false).unwrap();
            lists.add(7, &chunks, |c| c.size == 12).unwrap();
            lists.finish();
            let mut start = 0;
            for chunk in &chunks {
                let end = start + u64::from(chunk.size);
                for at in start..end {
                    let span = lists.span(7, at).unwrap();
                    assert_eq!((span.start, span.end), (start, end));
                    assert_eq!(lists.chunk(&span), (chunk.size != 12).then_some(*chunk));
                }
                start = end;
            }
            assert_eq!(lists.span(7, start), None);
            let zeros = chunks.iter().filter(|c| c.size == 12).count() as u64 * 12;
            assert_eq!((lists.holes(7), lists.holes(3)), (zeros, 0));
            for none in [0, 2, 4, 6, 8, u32::MAX] {
                assert_eq!(lists.span(none, 0), None);
            }
        }
    }

    #[test]
    fn a_chunk_has_one_number_whichever_archive_has_it() {
        let (numbers, mut a, mut b) = (Numbers::default(), Lists::default(), Lists::default());
        a.add(0, &[chunk(1, 5), chunk(2, 5)], |_| false).unwrap();
        b.add(0, &[chunk(2, 5), chunk(1, 5), chunk(1, 6)], |_| false).unwrap();
        a.finish();
        b.finish();
        let number_of = |lists: &Lists, at| lists.number(&lists.span(0, at).unwrap(), &numbers).unwrap();
        assert_eq!([number_of(&a, 0), number_of(&a, 5), number_of(&a, 0)], [0, 1, 0]);
        assert_eq!([number_of(&b, 0), number_of(&b, 5)], [1, 0]);
        assert_eq!(number_of(&b, 10), 2, "another size is another chunk");
    }

    #[test]
    fn frames_begin_at_the_chunk_and_zeros_are_one_piece() {
        let (numbers, mut lists) = (Numbers::default(), Lists::default());
        let long = FRAME as u32 + 7;
        lists.add(0, &[chunk(1, 100), chunk(2, long), chunk(3, 9)], |c| c.size == 9).unwrap();
        lists.finish();
        let piece = lists.piece(0, 100 + FRAME, &numbers).unwrap();
        assert_eq!(piece.span, 100 + FRAME..100 + FRAME + 7);
        assert_eq!(piece.key, Some(Key { whole: CHUNKS, frame: 1 }));
        let end = 100 + u64::from(long);
        let zeros = Piece { key: None, span: end..end + 9 };
        assert_eq!(lists.piece(0, end + 5, &numbers), Some(zeros));
    }
}
