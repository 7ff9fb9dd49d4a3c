//! What is not in the directory, as far as it is counted in a dry run.

use std::collections::HashSet;
use std::fs::File;
use std::sync::Arc;

use borg_repository::Chunk;

use super::content::{Buffers, Content, Wanted, each_batch, which_are_right};
use crate::archives::contents::{Contents, Piece};
use crate::error::Result;

/// So many chunks are kept to be fetched for a measurement.
const PROBES: usize = 64;

/// What is not there.
#[derive(Default)]
pub struct Missing {
    /// Chunks that are fetched, each once.
    pub chunks: HashSet<[u8; 32]>,
    /// Some of them.
    pub probes: Vec<Chunk>,
    pub to_fetch: u64,
    pub local: u64,
    pub to_write: u64,
    pub made: u64,
    pub replaced: u64,
}

impl Missing {
    /// A file that is not there; `candidates` may have bytes of it.
    ///
    /// # Errors
    /// When the archive's list of chunks is not complete.
    pub fn add_file(&mut self, content: &Content, wanted: Wanted, candidates: &[Arc<File>]) -> Result<()> {
        match content {
            Content::Chunks(contents) => self.add_pieces(contents, wanted, candidates),
            Content::Stream(_) => {
                self.to_fetch += wanted.size;
                self.to_write += wanted.size;
                Ok(())
            }
        }
    }

    /// A file in whose place there is another one.
    ///
    /// # Errors
    /// As [`Missing::add_file`].
    pub fn add_replaced(&mut self, content: &Content, wanted: Wanted, old: &File) -> Result<()> {
        self.replaced += 1;
        match (content, old.try_clone()) {
            (Content::Chunks(contents), Ok(old)) => self.add_pieces(contents, wanted, &[Arc::new(old)]),
            _ => self.add_file(content, wanted, &[]),
        }
    }

    fn add_pieces(&mut self, contents: &Contents, wanted: Wanted, candidates: &[Arc<File>]) -> Result<()> {
        let mut buffers = Buffers::default();
        each_batch(contents, wanted, |mut batch| {
            batch.retain(|piece| piece.chunk.is_some());
            self.to_write += batch.iter().map(Piece::length).sum::<u64>();
            for file in candidates {
                let mut right = which_are_right(contents, file, &batch, &mut buffers).into_iter();
                batch.retain(|piece| {
                    let is_right = right.next().unwrap_or(false);
                    self.local += if is_right { piece.length() } else { 0 };
                    !is_right
                });
            }
            for chunk in batch.iter().filter_map(|piece| piece.chunk) {
                if self.chunks.insert(chunk.id.0) {
                    self.to_fetch += u64::from(chunk.stored);
                    if self.probes.len() < PROBES {
                        self.probes.push(chunk);
                    }
                }
            }
            Ok(true)
        })
    }

    pub fn append(&mut self, other: Missing) {
        self.chunks.extend(other.chunks);
        self.probes.extend(other.probes);
        self.probes.truncate(PROBES);
        self.to_fetch += other.to_fetch;
        self.local += other.local;
        self.to_write += other.to_write;
        self.made += other.made;
        self.replaced += other.replaced;
    }
}
