//! Compares a target with an image in an archive.

use std::ops::Range;

use parking_lot::Mutex;

use crate::archive::ranges;
use crate::archives::chunks::Pieces;
use crate::archives::open_archive::{Bytes, Image};
use crate::archives::progress::{Counts, Meter, Monitor, Step};
use crate::archives::survey::{Survey, Verdict};
use crate::archives::workers;
use crate::error::Result;
use crate::process::interrupt;
use crate::tools::target::buffer::Buffer;
use crate::tools::target::open::Target;
use crate::tools::target::runs;

/// The result, in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comparison {
    pub size: u64,
    pub target_size: u64,
    /// The differences, sorted and without overlaps: in whole chunks, or for a stream in blocks of
    /// 4 KiB. Bytes that only one of the two has count as different.
    pub differing: Vec<Range<u64>>,
}

impl Comparison {
    pub fn is_equal(&self) -> bool {
        self.differing.is_empty()
    }

    /// In the ranges that differ.
    pub fn bytes(&self) -> u64 {
        ranges::length(&self.differing)
    }
}

/// Compares `target` with `image`: by the ids of its chunks, so that none is fetched; or by its
/// bytes if only borg can read it.
///
/// # Errors
/// When one of them cannot be read.
pub fn compare(image: &Image, target: &Target, monitor: Monitor<'_>) -> Result<Comparison> {
    target.forget();
    let meter = Meter::new(Step::Compare, image.size, monitor);
    let differing = Mutex::new(Vec::new());
    let note = |range: Range<u64>| differing.lock().push(range);
    match &image.bytes {
        Bytes::Chunks(chunks) => {
            let counts = Counts::default();
            let survey = Survey { target: Some(target), may_differ: None, full: false, counts: &counts };
            let pieces = Pieces::of(chunks);
            workers::run(|failure| {
                survey.run(&pieces, failure, &|piece, verdict| {
                    meter.add(piece.range.end - piece.range.start);
                    if verdict == Verdict::Differs {
                        note(piece.range);
                    }
                    Ok(())
                })
            })?;
        }
        Bytes::Stream(stream) => {
            let mut buffer = Buffer::default();
            stream.each(|at, bytes| {
                interrupt::check()?;
                let there = target.size().saturating_sub(at).min(bytes.len() as u64);
                let old = target.read(&mut buffer, &(at..at + there))?;
                for run in runs::runs(old, &bytes[..old.len()], at) {
                    note(at + run.range.start as u64..at + run.range.end as u64);
                }
                note(at + there..at + bytes.len() as u64);
                meter.add(bytes.len() as u64);
                Ok(())
            })?;
        }
    }
    note(image.size..target.size().max(image.size));
    let differing = differing.into_inner();
    let differing = ranges::merge(differing);
    Ok(Comparison { size: image.size, target_size: target.size(), differing })
}
