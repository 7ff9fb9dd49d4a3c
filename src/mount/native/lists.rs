//! Which chunks make which file, compactly: four bytes for each place of a chunk, and for large
//! files eight more to find a byte at once.

use std::collections::HashMap;

use crate::mount::source::{FRAME, Key, Piece};
use crate::repository::id::Id;
use crate::repository::items::Chunk;

/// Contents of more chunks than this have a table of where each chunk ends; in others the sizes are
/// added up.
const TABLED: usize = 16;
/// Numbers of chunks in the cache are told from numbers of files by this.
const CHUNKS: u64 = 1 << 63;

/// The chunks of a repository that its archives brought so far, each once, by number.
#[derive(Default)]
pub struct Numbers {
    by_id: HashMap<Id, u32>,
    chunks: Vec<Numbered>,
}

/// A chunk, and whether it is nothing but zeros.
#[derive(Clone, Copy)]
pub struct Numbered {
    pub chunk: Chunk,
    pub zeros: bool,
}

impl Numbers {
    /// The number of `chunk`; `None` when there are too many, or one of this id has another size.
    pub fn number(&mut self, chunk: &Chunk, zeros: impl FnOnce() -> bool) -> Option<u32> {
        if let Some(number) = self.by_id.get(&chunk.id) {
            let known = self.chunks[*number as usize].chunk;
            return (known.size == chunk.size).then_some(*number);
        }
        let number = u32::try_from(self.chunks.len()).ok()?;
        self.by_id.insert(chunk.id, number);
        self.chunks.push(Numbered { chunk: *chunk, zeros: zeros() });
        Some(number)
    }

    pub fn get(&self, number: u32) -> Numbered {
        self.chunks[number as usize]
    }
}

/// The chunk lists of one archive, by the number of the item.
#[derive(Default)]
pub struct Lists {
    lists: HashMap<u64, List>,
    /// Number, size and zeros of each chunk of each list, one after the other.
    places: Vec<Place>,
}

#[derive(Clone, Copy)]
struct Place {
    number: u32,
    /// The highest bit: nothing but zeros.
    size: u32,
}

const ZEROS: u32 = 1 << 31;

struct List {
    first: u32,
    count: u32,
    /// Where each chunk ends in the content, of long lists.
    ends: Box<[u64]>,
}

/// The stretch of a content that one chunk has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    pub number: u32,
    pub zeros: bool,
    pub start: u64,
    pub end: u64,
}

impl Span {
    /// The frame in which the byte `at` is kept.
    pub fn piece(&self, at: u64) -> Option<Piece> {
        if self.zeros {
            return Some(Piece { key: None, span: self.start..self.end });
        }
        let frame = (at - self.start) / FRAME;
        let start = self.start + frame * FRAME;
        let key = Key { whole: CHUNKS | u64::from(self.number), frame: u32::try_from(frame).ok()? };
        Some(Piece { key: Some(key), span: start..(start + FRAME).min(self.end) })
    }
}

impl Lists {
    /// Adds the list of an item; `None` when it cannot be had.
    pub fn add(
        &mut self,
        item: u64,
        chunks: &[Chunk],
        mut number: impl FnMut(&Chunk) -> Option<(u32, bool)>,
    ) -> Option<()> {
        let first = u32::try_from(self.places.len()).ok()?;
        let mut ends = Vec::new();
        let mut end = 0u64;
        for chunk in chunks {
            let (number, zeros) = number(chunk)?;
            if chunk.size >= ZEROS {
                return None;
            }
            end += u64::from(chunk.size);
            if chunks.len() > TABLED {
                ends.push(end);
            }
            self.places.push(Place { number, size: chunk.size | if zeros { ZEROS } else { 0 } });
        }
        let count = u32::try_from(chunks.len()).ok()?;
        self.lists.insert(item, List { first, count, ends: ends.into() });
        Some(())
    }

    /// Bytes of the item's content that are in chunks of nothing but zeros.
    pub fn zeros(&self, item: u64) -> u64 {
        let Some(list) = self.lists.get(&item) else { return 0 };
        let places = &self.places[list.first as usize..][..list.count as usize];
        places.iter().filter(|p| p.size & ZEROS != 0).map(|p| u64::from(p.size & !ZEROS)).sum()
    }

    /// The chunk that has the byte `at` of the item's content.
    pub fn span(&self, item: u64, at: u64) -> Option<Span> {
        let list = self.lists.get(&item)?;
        let places = &self.places[list.first as usize..][..list.count as usize];
        if !list.ends.is_empty() {
            let n = list.ends.partition_point(|end| *end <= at);
            let start = n.checked_sub(1).map_or(0, |before| list.ends[before]);
            return places.get(n).map(|place| place.span(start));
        }
        let mut start = 0;
        for place in places {
            let span = place.span(start);
            if at < span.end {
                return Some(span);
            }
            start = span.end;
        }
        None
    }
}

impl Place {
    fn span(&self, start: u64) -> Span {
        let zeros = self.size & ZEROS != 0;
        Span { number: self.number, zeros, start, end: start + u64::from(self.size & !ZEROS) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(n: u8, size: u32) -> Chunk {
        Chunk { id: Id([n; 32]), size, stored: 0 }
    }

    #[test]
    fn each_byte_is_in_its_chunk_in_short_and_in_long_lists() {
        for count in [3usize, 40] {
            let (mut numbers, mut lists) = (Numbers::default(), Lists::default());
            let chunks: Vec<Chunk> = (0..count).map(|n| chunk(n as u8 % 5, 10 + n as u32 % 5)).collect();
            let mut number = |c: &Chunk| numbers.number(c, || c.size == 12).map(|n| (n, c.size == 12));
            lists.add(7, &chunks, &mut number).unwrap();
            let mut start = 0;
            for chunk in &chunks {
                let end = start + u64::from(chunk.size);
                for at in start..end {
                    let span = lists.span(7, at).unwrap();
                    assert_eq!((span.start, span.end, span.zeros), (start, end, chunk.size == 12));
                }
                start = end;
            }
            assert_eq!(lists.span(7, start), None);
            let zeros = chunks.iter().filter(|c| c.size == 12).count() as u64 * 12;
            assert_eq!((lists.zeros(7), lists.zeros(8)), (zeros, 0));
            assert_eq!(lists.span(8, 0), None);
        }
    }

    #[test]
    fn a_chunk_has_one_number_and_one_size() {
        let mut numbers = Numbers::default();
        assert_eq!(numbers.number(&chunk(1, 5), || false), Some(0));
        assert_eq!(numbers.number(&chunk(2, 5), || true), Some(1));
        assert_eq!(numbers.number(&chunk(1, 5), || panic!("asked again")), Some(0));
        assert_eq!(numbers.number(&chunk(1, 6), || false), None);
        assert!(numbers.get(1).zeros);
    }

    #[test]
    fn frames_begin_at_the_chunk_and_zeros_are_one_piece() {
        let span = Span { number: 3, zeros: false, start: 100, end: 100 + FRAME + 7 };
        let piece = span.piece(100 + FRAME).unwrap();
        assert_eq!(piece.span, 100 + FRAME..100 + FRAME + 7);
        assert_eq!(piece.key, Some(Key { whole: CHUNKS | 3, frame: 1 }));
        let zeros = Span { zeros: true, ..span };
        assert_eq!(zeros.piece(150).unwrap(), Piece { key: None, span: 100..100 + FRAME + 7 });
    }
}
