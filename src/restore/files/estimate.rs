//! What a restore would take.

use std::collections::HashSet;
use std::fs::File;
use std::sync::Arc;
use std::time::Instant;

use borg_repository::Chunk;
use rustix::fs::fstatvfs;

use super::content::{Buffers, Content, Wanted, each_batch, which_are_right};
use super::plan::Plan;
use super::survey::{Survey, Verdict};
use crate::archives::batches;
use crate::archives::contents::{Contents, Piece};
use crate::error::Result;

/// Chunks that are fetched to measure how fast they come, and for how many seconds at most.
const PROBES: usize = 64;
const PROBE_SECONDS: f64 = 2.0;

/// Bytes, unless it says entries or chunks.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Estimate {
    pub entries: u64,
    pub size: u64,
    /// Entries that would be made, replaced, left as they are but for attributes, and deleted.
    pub to_make: u64,
    pub to_replace: u64,
    pub right: u64,
    pub to_delete: u64,
    pub chunks_to_fetch: u64,
    /// As they are stored.
    pub to_fetch: u64,
    /// Lie on this machine.
    pub local: u64,
    pub to_write: u64,
    /// Free in the directory's file system.
    pub free: u64,
    /// In a second; `None` where nothing is fetched.
    pub rate: Option<u64>,
    pub seconds: Option<u64>,
}

/// What is not there.
#[derive(Default)]
pub struct Missing {
    /// Chunks that are fetched, each once.
    chunks: HashSet<[u8; 32]>,
    probes: Vec<Chunk>,
    to_fetch: u64,
    local: u64,
    to_write: u64,
    pub(super) made: u64,
    pub(super) replaced: u64,
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

impl Estimate {
    /// Of what `survey` found in a dry run.
    ///
    /// # Errors
    /// When the repository cannot be read.
    pub fn of(plan: &Plan<'_>, survey: &Survey) -> Result<Self> {
        let missing = &survey.missing;
        let rate = match &plan.content {
            Content::Chunks(contents) => rate(contents, &missing.probes)?,
            Content::Stream(_) => None,
        };
        let right = survey.count(&[Verdict::Right, Verdict::Attributes, Verdict::Linked, Verdict::Shared]);
        Ok(Estimate {
            entries: plan.size.entries,
            size: plan.size.bytes,
            to_make: missing.made,
            to_replace: missing.replaced,
            right,
            to_delete: survey.deletions.len() as u64,
            chunks_to_fetch: missing.chunks.len() as u64,
            to_fetch: missing.to_fetch,
            local: missing.local,
            to_write: missing.to_write,
            free: fstatvfs(&plan.root).map_or(0, |stat| stat.f_bavail.saturating_mul(stat.f_frsize)),
            rate,
            seconds: rate.map(|rate| missing.to_fetch.div_ceil(rate)),
        })
    }
}

/// Bytes in a second, as they are stored; `None` where there is nothing to fetch.
fn rate(contents: &Contents, probes: &[Chunk]) -> Result<Option<u64>> {
    let start = Instant::now();
    let mut fetched = 0;
    for batch in probes.chunks(batches::CHUNKS) {
        contents.receive(batch.iter().map(|chunk| contents.request(chunk)).collect())?;
        fetched += batch.iter().map(|chunk| u64::from(chunk.stored)).sum::<u64>();
        if start.elapsed().as_secs_f64() > PROBE_SECONDS {
            break;
        }
    }
    let rate = fetched as f64 / start.elapsed().as_secs_f64().max(1e-6);
    Ok((fetched > 0).then_some(rate.max(1.0) as u64))
}
