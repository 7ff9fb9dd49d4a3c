//! The contents of an archive's files, chunk by chunk.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use borg_repository::{Chunk, ChunkLists, Error as Unreadable, Request};

use super::native::{NativeCatalog, span};
use crate::archive::name::Archive;
use crate::archive::tree::Tree;
use crate::error::{Error, Kind, Result};
use crate::process::interrupt;

/// The part of a file that one chunk holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// The position in the file, in bytes.
    pub range: Range<u64>,
    /// `None` if there are only zeros.
    pub chunk: Option<Chunk>,
}

impl Piece {
    /// In bytes.
    pub fn length(&self) -> u64 {
        self.range.end - self.range.start
    }
}

/// The files of an archive, by the numbers of their items.
pub struct Contents {
    catalog: Arc<NativeCatalog>,
    tree: Arc<Tree>,
    archive: Archive,
    /// The original chunks of files that `borg check --repair` changed.
    healthy: HashMap<u32, Vec<Piece>>,
}

impl Contents {
    /// Those of `archive`, whose tree is `tree`.
    pub fn new(catalog: Arc<NativeCatalog>, archive: &Archive, tree: &Arc<Tree>) -> Self {
        let (archive, tree) = (archive.clone(), Arc::clone(tree));
        Contents { catalog, tree, archive, healthy: HashMap::new() }
    }

    /// The same, but a file that `borg check --repair` changed has its original chunks: those that
    /// came back can be read, and the others are missing instead of being zeros.
    ///
    /// # Errors
    /// When the archive's metadata cannot be read.
    pub fn salvaging(mut self) -> Result<Self> {
        let mut healthy = HashMap::new();
        self.repaired(|item, lists| drop(healthy.insert(item, self.pieces_of(&lists.healthy))))?;
        self.healthy = healthy;
        Ok(self)
    }

    fn pieces_of(&self, chunks: &[Chunk]) -> Vec<Piece> {
        let mut at = 0;
        let piece = |chunk: &Chunk| {
            let range = at..at + u64::from(chunk.size);
            at = range.end;
            Piece { range, chunk: (!self.catalog.repository().is_zero(chunk)).then_some(*chunk) }
        };
        chunks.iter().map(piece).collect()
    }

    pub fn archive(&self) -> &Archive {
        &self.archive
    }

    /// The piece of `item` with the byte `offset`.
    ///
    /// # Errors
    /// When the archive's metadata cannot be read.
    pub fn at(&self, item: u32, offset: u64) -> Result<Option<Piece>> {
        if let Some(pieces) = self.healthy.get(&item) {
            let n = pieces.partition_point(|piece| piece.range.end <= offset);
            return Ok(pieces.get(n).cloned());
        }
        let span = span(&self.tree, item, offset)?;
        Ok(span.map(|span| Piece { range: span.start..span.end, chunk: span.chunk }))
    }

    /// The pieces of `item`, which has `size` bytes, in order.
    pub fn pieces(&self, item: u32, size: u64) -> impl Iterator<Item = Result<Piece>> {
        let mut at = 0;
        std::iter::from_fn(move || {
            if at >= size {
                return None;
            }
            let piece = self.at(item, at).and_then(|piece| {
                let piece = piece.filter(|piece| piece.range.start == at);
                piece.ok_or_else(|| self.is_short(at))
            });
            at = piece.as_ref().map_or(size, |piece| piece.range.end);
            Some(piece)
        })
    }

    /// The error for a list of chunks that ends before the byte `at` of a file.
    pub fn is_short(&self, at: u64) -> Error {
        Error::failed(format!("the archive {} has no byte {at} of a file", self.archive.name))
    }

    /// Whether each piece is equal to its chunk. The bytes of a piece must be as many as the chunk
    /// has.
    pub fn matches(&self, pieces: &[(Chunk, &[u8])]) -> Vec<bool> {
        let listed: Vec<_> = pieces.iter().map(|(chunk, bytes)| (chunk.id, *bytes)).collect();
        self.catalog.repository().matches(&listed)
    }

    /// Asks for a chunk without waiting for it.
    pub fn request(&self, chunk: &Chunk) -> Request {
        self.catalog.repository().request_chunk(chunk)
    }

    /// Waits for the chunks and returns their authenticated bytes in the same order.
    ///
    /// # Errors
    /// When a chunk cannot be read; [`Kind::Disconnected`] when the connection dropped.
    pub fn receive(&self, requests: Vec<Request>) -> Result<Vec<Vec<u8>>> {
        let received = self.catalog.repository().receive_all(requests);
        received.into_iter().map(|bytes| bytes.map_err(|e| self.message(e))).collect()
    }

    /// As [`Contents::receive`], but each damaged chunk has an error of its own, and the others are
    /// returned.
    ///
    /// # Errors
    /// When the connection dropped, or this machine fails.
    pub fn receive_what_is_right(&self, requests: Vec<Request>) -> Result<Vec<Result<Vec<u8>, Error>>> {
        let received = self.catalog.repository().receive_all(requests);
        received
            .into_iter()
            .map(|bytes| match bytes {
                Err(e) if e.is_damage() => Ok(Err(self.message(e))),
                bytes => bytes.map(Ok).map_err(|e| self.message(e)),
            })
            .collect()
    }

    /// Passes the chunk lists of each item that `borg check --repair` changed to `each`.
    ///
    /// # Errors
    /// When the archive's metadata cannot be read.
    pub fn repaired(&self, mut each: impl FnMut(u32, &ChunkLists)) -> Result<()> {
        let metadata = self.catalog.metadata(&self.archive)?;
        self.catalog.each_item(&metadata, &mut |item, lists| {
            if let (true, Ok(number)) = (item.damaged, u32::try_from(item.number)) {
                each(number, lists);
            }
        })
    }

    fn message(&self, e: Unreadable) -> Error {
        if let Err(interrupted) = interrupt::check() {
            return interrupted;
        }
        let kind = if matches!(e, Unreadable::Gone(_)) { Kind::Disconnected } else { Kind::Failed };
        let hint = match e {
            Unreadable::Io { .. } if !e.is_damage() => "that is this machine's, and no damage of the backup",
            Unreadable::NotFound(_) => "the archive was deleted meanwhile, or the repository is damaged",
            Unreadable::Gone(_) => "the connection to the server is gone",
            _ => "`borg-offsite-backup check --verify-data` tells more",
        };
        Error::new(kind, format!("cannot read a chunk of the archive {}", self.archive.name))
            .because(e)
            .hint(hint)
    }
}
