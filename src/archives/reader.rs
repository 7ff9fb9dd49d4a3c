//! Reads files: takes what the cache has, and gets the rest from the source.

use std::ops::Range;
use std::sync::Arc;

use super::cache::Cache;
use super::source::{CacheSink, ContentSource, FRAME, Keep, Key, Layout, Piece, ReadError};
use crate::archive::tree::{ContentId, Tree};
use crate::error::Result;

/// The part of the cache that belongs to one archive.
#[derive(Clone)]
pub struct Shelf {
    cache: Arc<Cache>,
    layout: Arc<dyn Layout>,
}

impl Shelf {
    pub fn new(cache: Arc<Cache>, layout: Arc<dyn Layout>) -> Self {
        Shelf { cache, layout }
    }

    /// The pieces that overlap `span`, as far as they are known: whoever needs one that is not sees the
    /// error.
    fn pieces(&self, content: ContentId, span: Range<u64>) -> impl Iterator<Item = Piece> {
        let mut at = span.start;
        std::iter::from_fn(move || {
            let piece = self.layout.piece(content, at).ok()?.filter(|_| at < span.end)?;
            at = piece.span.end;
            Some(piece)
        })
    }

    /// Appends the bytes at `span` to `out`, up to the first gap. Returns where that gap begins.
    fn take(&self, content: ContentId, span: Range<u64>, out: &mut Vec<u8>) -> u64 {
        let mut at = span.start;
        for piece in self.pieces(content, span.clone()) {
            let end = piece.span.end.min(span.end);
            let range = (at - piece.span.start) as usize..(end - piece.span.start) as usize;
            match piece.key {
                None => out.resize(out.len() + range.len(), 0),
                Some(key) if self.cache.read(key, range, out) => {}
                Some(_) => return at,
            }
            at = end;
        }
        at
    }

    fn is_there(&self, piece: &Piece) -> bool {
        piece.key.is_none_or(|key| self.cache.has(key))
    }

    /// The whole pieces from `at` on that are missing, up to the next one that is not, or the one
    /// with the last byte before `end`.
    fn gap(&self, content: ContentId, at: u64, end: u64) -> Result<Range<u64>, ReadError> {
        let first = self.layout.piece(content, at).map_err(|e| ReadError::Failed(e.chain()))?;
        let first = first.ok_or_else(|| ReadError::Incomplete(format!("there is no byte {at}")))?.span;
        let pieces = self.pieces(content, first.end..end);
        let last = pieces.take_while(|piece| !self.is_there(piece)).last();
        Ok(first.start..last.map_or(first.end, |piece| piece.span.end))
    }
}

impl CacheSink for Shelf {
    fn put(&self, content: ContentId, offset: u64, bytes: &[u8]) {
        let end = offset + bytes.len() as u64;
        for piece in self.pieces(content, offset..end) {
            if let Some(key) = piece.key
                && piece.span.start >= offset
                && piece.span.end <= end
            {
                let range = (piece.span.start - offset) as usize..(piece.span.end - offset) as usize;
                self.cache.put(key, &bytes[range]);
            }
        }
    }

    fn put_whole(&self, whole: u128, bytes: &Arc<Vec<u8>>, keep: Keep) {
        self.cache.put_whole(whole, bytes, keep);
    }

    fn has_whole(&self, whole: u128) -> bool {
        self.cache.has(Key { whole, frame: 0 })
    }

    fn get(&self, content: ContentId, span: Range<u64>) -> Option<Vec<u8>> {
        let mut out = Vec::with_capacity((span.end - span.start) as usize);
        (self.take(content, span.clone(), &mut out) == span.end).then_some(out)
    }

    fn has_all(&self, content: ContentId, size: u64) -> bool {
        self.pieces(content, 0..size).all(|piece| self.is_there(&piece))
    }

    fn forget(&self, content: ContentId, size: u64) {
        self.pieces(content, 0..size).filter_map(|piece| piece.key).for_each(|key| self.cache.forget(key));
    }
}

/// Cuts each content into frames of its own, for sources that cannot look inside a content.
pub struct Frames {
    tree: Arc<Tree>,
    /// The number of the archive in the mount.
    archive: u32,
}

impl Frames {
    pub fn new(tree: Arc<Tree>, archive: u32) -> Self {
        Frames { tree, archive }
    }
}

impl Layout for Frames {
    fn piece(&self, content: ContentId, at: u64) -> Result<Option<Piece>> {
        let Some(size) = self.tree.content(content)?.map(|content| content.size).filter(|size| at < *size)
        else {
            return Ok(None);
        };
        let frame = at / FRAME;
        // The limit is 256 TiB; opening a longer file is an error.
        let Ok(number) = u32::try_from(frame) else { return Ok(None) };
        let key = Key { whole: u128::from(self.archive) << 32 | u128::from(content), frame: number };
        Ok(Some(Piece { key: Some(key), span: frame * FRAME..((frame + 1) * FRAME).min(size) }))
    }

    fn holes(&self, _content: ContentId) -> Result<u64> {
        Ok(0)
    }
}

/// Reads the files of one archive.
pub struct Reader {
    shelf: Shelf,
    source: Arc<dyn ContentSource>,
}

impl Reader {
    pub fn new(shelf: Shelf, source: Arc<dyn ContentSource>) -> Self {
        Reader { shelf, source }
    }

    /// The bytes at `span` if all are in the cache. Never waits for the source.
    pub fn cached(&self, content: ContentId, span: Range<u64>) -> Option<Vec<u8>> {
        let bytes = self.shelf.get(content, span.clone());
        if bytes.is_some() {
            self.source.passed(content, &span);
        }
        bytes
    }

    /// All bytes at `span`, or an error. `span` must end within the content.
    ///
    /// # Errors
    /// Those of the source.
    pub fn read(&self, content: ContentId, span: Range<u64>) -> Result<Vec<u8>, ReadError> {
        let mut out = Vec::with_capacity((span.end - span.start) as usize);
        let mut at = span.start;
        loop {
            at = self.shelf.take(content, at..span.end, &mut out);
            if at >= span.end {
                return Ok(out);
            }
            // Whole pieces are fetched, so that their cost is paid only once.
            let gap = self.shelf.gap(content, at, span.end)?;
            let bytes = self.source.fetch(content, gap.clone())?;
            let expected = gap.end - gap.start;
            if bytes.len() as u64 != expected {
                return Err(ReadError::Incomplete(format!("{} of {expected} bytes came", bytes.len())));
            }
            if !self.source.keeps_what_it_fetches() {
                self.shelf.put(content, gap.start, &bytes);
            }
            let end = gap.end.min(span.end);
            out.extend_from_slice(&bytes[(at - gap.start) as usize..(end - gap.start) as usize]);
            at = end;
        }
    }

    /// The next byte from `at` on that is data, or with `hole`, that is known to be in a hole;
    /// `None` if there is none before `end`.
    ///
    /// # Errors
    /// When the archive cannot be read.
    pub fn seek(&self, content: ContentId, at: u64, end: u64, hole: bool) -> Result<Option<u64>> {
        let layout = &self.shelf.layout;
        if layout.holes(content)? == 0 {
            return Ok(Some(at).filter(|at| !hole && *at < end));
        }
        let mut next = at;
        while next < end
            && let Some(piece) = layout.piece(content, next)?
        {
            if piece.key.is_none() == hole {
                return Ok(Some(piece.span.start.max(at)));
            }
            next = piece.span.end;
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::tree::{TreeBuilder, View};
    use crate::archives::cache::Limits;
    use borg_repository::{Item, ItemPath};
    use parking_lot::Mutex;

    /// Returns zeros, and records the bytes that the cache should have returned.
    #[derive(Default)]
    struct Noted(Mutex<Vec<Range<u64>>>);

    impl ContentSource for Noted {
        fn fetch(&self, _: ContentId, span: Range<u64>) -> Result<Vec<u8>, ReadError> {
            Ok(vec![0; (span.end - span.start) as usize])
        }

        fn passed(&self, _: ContentId, span: &Range<u64>) {
            self.0.lock().push(span.clone());
        }
    }

    #[test]
    fn a_source_is_told_of_the_reads_that_the_cache_answers() {
        let mut builder = TreeBuilder::new(View::default(), 0);
        let file = Item::new(ItemPath::new(b"f").unwrap(), libc::S_IFREG | 0o644);
        builder.add(&Item { size: 2 * FRAME, ..file });
        let limits = Limits { memory: 1 << 20, scratch: 0, dir: Default::default() };
        let cache = Arc::new(Cache::new(&limits).unwrap());
        let layout = Arc::new(Frames::new(Arc::new(builder.finish().unwrap()), 0));
        let source = Arc::new(Noted::default());
        let reader = Reader::new(Shelf::new(cache, layout), Arc::clone(&source) as _);
        assert_eq!(reader.cached(0, 10..20), None);
        assert_eq!(reader.read(0, 10..20).unwrap(), [0; 10]);
        assert!(source.0.lock().is_empty(), "these it has seen itself");
        assert!(reader.cached(0, 20..30).is_some() && reader.cached(0, FRAME..FRAME + 1).is_none());
        assert_eq!(*source.0.lock(), vec![20u64..30]);
    }
}
