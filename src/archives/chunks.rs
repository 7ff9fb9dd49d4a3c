//! An image as a list of chunks.

use std::ops::Range;
use std::sync::Arc;

use borg_repository::{Chunk, Request};
use parking_lot::Mutex;

use super::contents::Contents;
use super::{batches, damage};
use crate::error::Result;

pub use super::contents::Piece;

/// The chunks of an image.
pub struct Chunks {
    contents: Arc<Contents>,
    /// The number of the item that lists the chunks.
    item: u32,
    size: u64,
}

impl Chunks {
    pub fn new(contents: Arc<Contents>, item: u32, size: u64) -> Self {
        Chunks { contents, item, size }
    }

    fn at(&self, offset: u64) -> Result<Option<Piece>> {
        self.contents.at(self.item, offset)
    }

    /// The pieces that overlap `range`; after an error there are no more.
    pub fn meeting(&self, range: &Range<u64>) -> impl Iterator<Item = Result<Piece>> {
        let (mut at, end) = (range.start, range.end.min(self.size));
        std::iter::from_fn(move || {
            let piece = if at < end { self.at(at).transpose() } else { None }?;
            at = piece.as_ref().map_or(end, |piece| piece.range.end);
            Some(piece)
        })
    }

    /// As [`Contents::matches`].
    pub fn matches(&self, pieces: &[(Chunk, &[u8])]) -> Vec<bool> {
        self.contents.matches(pieces)
    }

    /// As [`Contents::request`].
    pub fn request(&self, chunk: &Chunk) -> Request {
        self.contents.request(chunk)
    }

    /// As [`Contents::receive`].
    ///
    /// # Errors
    /// Those of [`Contents::receive`].
    pub fn receive(&self, requests: Vec<Request>) -> Result<Vec<Vec<u8>>> {
        self.contents.receive(requests)
    }

    /// The files of the archive.
    pub fn contents(&self) -> &Contents {
        &self.contents
    }

    /// Gives the bytes to `each`, one chunk after the other.
    ///
    /// # Errors
    /// As [`Chunks::receive`].
    pub fn each(&self, mut each: impl FnMut(Vec<u8>)) -> Result<()> {
        for piece in self.contents.pieces(self.item, self.size) {
            let piece = piece?;
            match piece.chunk {
                Some(chunk) => self.receive(vec![self.request(&chunk)])?.into_iter().for_each(&mut each),
                None => each(vec![0; piece.length() as usize]),
            }
        }
        Ok(())
    }

    /// The ranges that `borg check --repair` filled with zeros, because their chunks were lost.
    ///
    /// # Errors
    /// When the archive's metadata cannot be read.
    pub fn repaired(&self) -> Result<Vec<Range<u64>>> {
        let mut ranges = Vec::new();
        self.contents.repaired(|item, lists| {
            if item == self.item {
                ranges = damage::repaired(lists);
            }
        })?;
        Ok(ranges)
    }
}

/// Hands out the pieces of an image in order, to any number of threads.
pub struct Pieces<'a> {
    chunks: &'a Chunks,
    next: Mutex<u64>,
}

impl<'a> Pieces<'a> {
    pub fn of(chunks: &'a Chunks) -> Self {
        Pieces { chunks, next: Mutex::new(0) }
    }

    pub fn chunks(&self) -> &'a Chunks {
        self.chunks
    }

    /// The next consecutive pieces, at most a batch; none at the end.
    ///
    /// # Errors
    /// When the list of chunks is shorter than the image.
    pub fn take(&self) -> Result<Vec<Piece>> {
        let mut next = self.next.lock();
        let mut pieces = Vec::new();
        let end = self.chunks.size.min(*next + batches::BYTES);
        while pieces.len() < batches::CHUNKS && *next < end {
            let piece = self.chunks.at(*next)?.filter(|piece| piece.range.start == *next);
            let piece = piece.ok_or_else(|| self.chunks.contents.is_short(*next))?;
            *next = piece.range.end;
            pieces.push(piece);
        }
        Ok(pieces)
    }
}
