//! A read: from the cache what is there, from the source what is not.

use std::ops::Range;
use std::sync::Arc;

use super::cache::{Cache, frames};
use super::source::{ContentSource, FRAME, Kept, ReadError};
use crate::archive::tree::ContentId;

/// The part of the cache that belongs to one archive.
#[derive(Clone)]
pub struct Shelf {
    cache: Arc<Cache>,
    /// Number of the archive in the mount.
    archive: u32,
}

impl Shelf {
    pub fn new(cache: Arc<Cache>, archive: u32) -> Self {
        Shelf { cache, archive }
    }

    fn number(&self, content: ContentId) -> u64 {
        u64::from(self.archive) << 32 | u64::from(content)
    }

    /// Appends the bytes `span` to `out` from its start as far as they are there without a gap;
    /// returns where that ends.
    fn take(&self, content: ContentId, span: Range<u64>, out: &mut Vec<u8>) -> u64 {
        let mut at = span.start;
        for (key, range) in frames(self.number(content), span) {
            let length = range.len() as u64;
            if !self.cache.read(key, range, out) {
                break;
            }
            at += length;
        }
        at
    }

    /// The end of the gap that begins at `at`: the next frame that is there, or `end`.
    fn gap_end(&self, content: ContentId, at: u64, end: u64) -> u64 {
        let next = (at / FRAME + 1) * FRAME;
        if next >= end {
            return end;
        }
        let there = frames(self.number(content), next..end).find(|(key, _)| self.cache.has(*key));
        there.map_or(end, |(key, _)| u64::from(key.frame) * FRAME)
    }
}

impl Kept for Shelf {
    fn put(&self, content: ContentId, offset: u64, bytes: &[u8]) {
        for (key, range) in frames(self.number(content), offset..offset + bytes.len() as u64) {
            let start = u64::from(key.frame) * FRAME + range.start as u64 - offset;
            self.cache.put(key, &bytes[start as usize..start as usize + range.len()]);
        }
    }

    fn get(&self, content: ContentId, span: Range<u64>) -> Option<Vec<u8>> {
        let mut out = Vec::with_capacity((span.end - span.start) as usize);
        (self.take(content, span.clone(), &mut out) == span.end).then_some(out)
    }

    fn has_all(&self, content: ContentId, size: u64) -> bool {
        frames(self.number(content), 0..size).all(|(key, _)| self.cache.has(key))
    }

    fn forget(&self, content: ContentId, size: u64) {
        frames(self.number(content), 0..size).for_each(|(key, _)| self.cache.forget(key));
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

    /// The bytes `span` if all of them are in the cache; never blocks on the source.
    pub fn cached(&self, content: ContentId, span: Range<u64>) -> Option<Vec<u8>> {
        self.shelf.get(content, span)
    }

    /// The bytes `span` of a content of `size` bytes: all of them, or an error.
    ///
    /// # Errors
    /// What the source says.
    pub fn read(&self, content: ContentId, size: u64, span: Range<u64>) -> Result<Vec<u8>, ReadError> {
        let mut out = Vec::with_capacity((span.end - span.start) as usize);
        let mut at = span.start;
        loop {
            at = self.shelf.take(content, at..span.end, &mut out);
            if at >= span.end {
                return Ok(out);
            }
            // Whole frames: what they cost is paid once.
            let from = at / FRAME * FRAME;
            let to = self.shelf.gap_end(content, at, span.end);
            let to = to.next_multiple_of(FRAME).min(size);
            let bytes = self.source.fetch(content, from..to)?;
            if bytes.len() as u64 != to - from {
                return Err(ReadError::Incomplete(format!("{} of {} bytes came", bytes.len(), to - from)));
            }
            self.shelf.put(content, from, &bytes);
            let wanted = (at - from) as usize..(span.end.min(to) - from) as usize;
            out.extend_from_slice(&bytes[wanted]);
            at = span.end.min(to);
            if at >= span.end {
                return Ok(out);
            }
        }
    }
}
