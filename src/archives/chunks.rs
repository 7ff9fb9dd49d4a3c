//! The chunks that make an image.

use std::ops::Range;
use std::sync::Arc;

use parking_lot::Mutex;

use borg_repository::{Chunk, ChunkLists, Error as Unreadable, Id, Item, Request};

use super::native::NativeCatalog;
use super::{batches, damage};
use crate::archive::name::Archive;
use crate::error::{Error, Kind, Result};
use crate::process::interrupt;
use crate::process::memory::Budget;

/// An image as its chunks.
pub struct Chunks {
    catalog: Arc<NativeCatalog>,
    archive: Archive,
    /// Number of the item that has the bytes.
    item: u32,
    size: u64,
}

/// A stretch of an image that one chunk has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// Where it stands in the image, in bytes.
    pub range: Range<u64>,
    /// `None`: nothing but zeros.
    pub chunk: Option<Chunk>,
}

impl Chunks {
    pub fn new(catalog: Arc<NativeCatalog>, archive: &Archive, item: u32, size: u64) -> Self {
        Chunks { catalog, archive: archive.clone(), item, size }
    }

    fn at(&self, offset: u64) -> Option<Piece> {
        let (range, chunk) = self.catalog.chunk_at(&self.archive, self.item, offset)?;
        Some(Piece { range, chunk })
    }

    /// The pieces that `range` meets.
    pub fn meeting(&self, range: &Range<u64>) -> impl Iterator<Item = Piece> {
        let (mut at, end) = (range.start, range.end.min(self.size));
        std::iter::from_fn(move || {
            let piece = if at < end { self.at(at) } else { None }?;
            at = piece.range.end;
            Some(piece)
        })
    }

    /// Tells of each piece (with bytes as long as it is) whether the chunk holds these bytes.
    pub fn are(&self, pieces: &[(Chunk, &[u8])]) -> Vec<bool> {
        let listed: Vec<_> = pieces.iter().map(|(chunk, bytes)| (chunk.id, *bytes)).collect();
        self.catalog.repository().are(&listed)
    }

    /// Asks for a chunk; it is on its way from now on.
    pub fn request(&self, chunk: &Chunk) -> Request {
        self.catalog.repository().request_chunk(chunk)
    }

    /// The bytes of what was asked for, authenticated, in the same order.
    ///
    /// # Errors
    /// When one of them cannot be had; [`Kind::Disconnected`] when the line is gone.
    pub fn receive(&self, requests: Vec<Request>) -> Result<Vec<Vec<u8>>> {
        let received = self.catalog.repository().receive_all(requests);
        received.into_iter().map(|bytes| bytes.map_err(|e| self.message(e))).collect()
    }

    /// Gives the bytes to `each`, chunk by chunk, one after the other.
    ///
    /// # Errors
    /// As [`Chunks::receive`].
    pub fn each(&self, mut each: impl FnMut(Vec<u8>)) -> Result<()> {
        let pieces = Pieces::of(self);
        loop {
            let batch = pieces.take()?;
            if batch.is_empty() {
                return Ok(());
            }
            for Piece { range, chunk } in batch {
                match chunk {
                    Some(chunk) => self.receive(vec![self.request(&chunk)])?.into_iter().for_each(&mut each),
                    None => each(vec![0; (range.end - range.start) as usize]),
                }
            }
        }
    }

    /// As [`Chunks::receive`]; of what is damaged why, so that the others can be had.
    ///
    /// # Errors
    /// When the line is gone, or something of this machine fails.
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

    /// Where zeros stand since `borg check --repair` missed chunks.
    ///
    /// # Errors
    /// When the archive's metadata cannot be read.
    pub fn repaired(&self) -> Result<Vec<Range<u64>>> {
        let to_error = || Error::failed(format!("cannot read the archive {}", self.archive.name));
        let id = Id::from_hex(&self.archive.id).ok_or_else(|| to_error().because("its id is none"))?;
        let repository = self.catalog.repository();
        let meta = repository.archive(&id).map_err(|e| to_error().because(e))?;
        let mut ranges = Vec::new();
        let take = |item: Item, lists: &ChunkLists| {
            if item.number == u64::from(self.item) {
                ranges = damage::repaired(lists);
            }
        };
        let memory = Budget::of_free_memory();
        repository.items(&meta, || memory.check(), take).map_err(|e| to_error().because(e))?;
        Ok(ranges)
    }

    fn message(&self, e: Unreadable) -> Error {
        if let Err(interrupted) = interrupt::check() {
            return interrupted;
        }
        let kind = if matches!(e, Unreadable::Gone(_)) { Kind::Disconnected } else { Kind::Failed };
        let hint = match e {
            Unreadable::Io { .. } if !e.is_damage() => "that is this machine's, and no damage of the backup",
            Unreadable::NotFound(_) => "the archive was deleted meanwhile, or the repository is damaged",
            Unreadable::Gone(_) => "the line to the server is gone",
            _ => "`borg-offsite-backup check --verify-data` tells more",
        };
        Error::new(kind, format!("cannot read a chunk of the archive {}", self.archive.name))
            .because(e)
            .hint(hint)
    }
}

/// Gives the pieces of an image out, in their order, to any number of threads.
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

    /// The next pieces that stand together, a batch at most; none at the end.
    ///
    /// # Errors
    /// When the archive's list of chunks ends before the image.
    pub fn take(&self) -> Result<Vec<Piece>> {
        let mut next = self.next.lock();
        let mut pieces = Vec::new();
        let end = self.chunks.size.min(*next + batches::BYTES);
        while pieces.len() < batches::CHUNKS && *next < end {
            let piece = self.chunks.at(*next).filter(|piece| piece.range.start == *next);
            let piece = piece.ok_or_else(|| {
                Error::failed(format!("the archive {} has no byte {next} of it", self.chunks.archive.name))
            })?;
            *next = piece.range.end;
            pieces.push(piece);
        }
        Ok(pieces)
    }
}
