//! Which chunk has which bytes of a file.

use borg_repository::{Chunk, Id};

use crate::archive::tree::{ContentId, Tree};
use crate::archives::source::{FRAME, Key, Piece};
use crate::error::Result;

/// The part of a content that one chunk holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// `None` for zeros.
    pub chunk: Option<Chunk>,
    pub start: u64,
    pub end: u64,
}

/// The chunk with the byte `at` of a content.
///
/// # Errors
/// When the list of chunks cannot be read.
pub fn span(tree: &Tree, content: ContentId, at: u64) -> Result<Option<Span>> {
    Ok(tree.chunk(content, at)?.and_then(|(start, found)| {
        let size = u32::try_from(found.end.checked_sub(start)?).ok()?;
        let chunk = (found.zeros == 0).then_some(Chunk { id: Id(found.id), size, stored: found.stored });
        Some(Span { chunk, start, end: found.end })
    }))
}

/// Up to `count` chunks of a content, starting with the one that has the byte `at`.
pub fn ahead(tree: &Tree, content: ContentId, at: u64, count: usize) -> Vec<Span> {
    // Whoever needs a chunk sees the error.
    let next = |at: &u64| span(tree, content, *at).ok().flatten();
    let first = Some(at).filter(|_| count > 0).as_ref().and_then(next);
    std::iter::successors(first, |span| next(&span.end)).take(count).collect()
}

/// What the cache knows a chunk by: all files and archives that have the chunk share it.
pub fn whole(chunk: &Chunk) -> u128 {
    let (id, _) = chunk.id.0.as_chunks::<16>();
    u128::from_le_bytes(id[0]) ^ u128::from(chunk.size)
}

/// The frame with the byte `at` of a content.
///
/// # Errors
/// When the list of chunks cannot be read.
pub fn piece(tree: &Tree, content: ContentId, at: u64) -> Result<Option<Piece>> {
    Ok(span(tree, content, at)?.and_then(|span| piece_of(&span, at)))
}

fn piece_of(span: &Span, at: u64) -> Option<Piece> {
    let Some(chunk) = &span.chunk else { return Some(Piece { key: None, span: span.start..span.end }) };
    let frame = (at - span.start) / FRAME;
    let start = span.start + frame * FRAME;
    let key = Key { whole: whole(chunk), frame: u32::try_from(frame).ok()? };
    Some(Piece { key: Some(key), span: start..(start + FRAME).min(span.end) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_begin_at_the_chunk_and_zeros_are_one_piece() {
        let chunk = Chunk { id: Id([2; 32]), size: FRAME as u32 + 7, stored: 7 };
        let span = Span { chunk: Some(chunk), start: 100, end: 100 + FRAME + 7 };
        let piece = piece_of(&span, 100 + FRAME).unwrap();
        assert_eq!(piece.span, 100 + FRAME..100 + FRAME + 7);
        assert_eq!(piece.key, Some(Key { whole: whole(&chunk), frame: 1 }));
        let zeros = Span { chunk: None, ..span };
        assert_eq!(piece_of(&zeros, 105), Some(Piece { key: None, span: 100..100 + FRAME + 7 }));
    }

    #[test]
    fn a_chunk_of_another_size_or_id_is_another() {
        let chunk = |id, size| whole(&Chunk { id: Id([id; 32]), size, stored: 0 });
        assert_eq!(chunk(1, 5), chunk(1, 5));
        assert!(chunk(1, 5) != chunk(1, 6) && chunk(1, 5) != chunk(2, 5));
    }
}
