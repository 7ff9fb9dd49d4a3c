//! What a restore would take.

use std::time::Instant;

use borg_repository::Chunk;
use rustix::fs::fstatvfs;

use super::content::Content;
use super::plan::Plan;
use super::survey::Survey;
use super::verdict::Verdict;
use crate::archives::batches;
use crate::archives::contents::Contents;
use crate::error::Result;

/// Chunks are fetched for so many seconds at most, to measure how fast they come.
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
