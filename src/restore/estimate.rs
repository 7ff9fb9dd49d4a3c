//! What a restore would cost, told before it is done. Nothing is written.

use std::ops::Range;
use std::time::{Duration, Instant};

use borg_repository::Chunk;
use parking_lot::Mutex;

use super::image_seeds::ImageSeeds;
use crate::archive::ranges::length;
use crate::archives::batches;
use crate::archives::chunks::{Chunks, Piece, Pieces};
use crate::archives::open_archive::{Bytes, Image};
use crate::archives::progress::{Counts, Meter, Monitor, Step, add, of};
use crate::archives::survey::{Survey, Verdict, spans};
use crate::archives::workers;
use crate::error::Result;
use crate::tools::target::open::TargetKind;
use crate::tools::target::place::Place;

/// Chunks that are fetched to learn how fast that goes, and for how long at most.
const PROBES: usize = 16;
const PROBE_TIME: Duration = Duration::from_secs(3);

/// Bytes unless said otherwise.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Estimate {
    pub size: u64,
    /// On the target already; `None`: only a stream of all bytes would tell.
    pub right: Option<u64>,
    /// In a seed, so that it need not be fetched.
    pub local: u64,
    /// Over the line, compressed; of a stream as many as the image has.
    pub to_fetch: u64,
    /// A number of chunks.
    pub chunks_to_fetch: u64,
    /// At most: of a chunk that differs only those blocks are written that do.
    pub to_write: u64,
    /// To be made zeros, or holes.
    pub to_zero: u64,
    /// What a target takes more of its disk that stores only what was written; at most.
    pub space: u64,
    /// Fetched in a second, compressed, as just measured.
    pub rate: Option<u64>,
    /// About how long it takes, in seconds, without reading back.
    pub seconds: Option<u64>,
}

/// Chunks that are to be fetched.
#[derive(Default)]
struct Missing {
    stored: u64,
    count: u64,
    probes: Vec<Chunk>,
}

/// Holds `place` against `image`, and fetches a few chunks to learn how fast that goes. `may_differ`
/// and `full` as in a [request](crate::restore::image::Request).
///
/// # Errors
/// When the target or the archive cannot be read.
pub fn estimate(
    image: &Image,
    place: Place,
    may_differ: Option<&[Range<u64>]>,
    full: bool,
    seeds: &ImageSeeds,
    monitor: Monitor<'_>,
) -> Result<Estimate> {
    let Bytes::Chunks(chunks) = &image.bytes else { return Ok(of_stream(image)) };
    let same = place.kind != TargetKind::New && place.size == image.size;
    let target = same.then(|| place.open_to_read()).transpose()?;
    let start = Instant::now();
    let (counts, missing) = (Counts::default(), Mutex::new(Missing::default()));
    let survey = Survey { target: target.as_ref(), may_differ, full, counts: &counts };
    let pieces = Pieces::of(chunks);
    let meter = Meter::new(Step::Compare, image.size, monitor);
    workers::run(|failure| {
        survey.run(&pieces, failure, &|piece, verdict| {
            meter.add(piece.range.end - piece.range.start);
            if verdict == Verdict::Differs {
                let bytes = length(&spans(may_differ, &piece.range));
                match seeds.bytes(chunks, &piece) {
                    Some(_) => {
                        add(&counts.written, bytes);
                        add(&counts.local, piece.length());
                    }
                    None => note(&piece, bytes, &counts, &missing),
                }
            }
            Ok(())
        })
    })?;
    let compared = start.elapsed();
    let missing = missing.into_inner();
    let rate = rate(chunks, &missing.probes)?;
    let fetching = rate.map(|rate| Duration::from_secs_f64(missing.stored as f64 / rate as f64));
    let seconds = (compared + fetching.unwrap_or_default()).as_secs_f64().ceil() as u64;
    Ok(Estimate {
        size: image.size,
        right: Some(image.size - of(&counts.written) - of(&counts.zeroed)),
        local: of(&counts.local),
        to_fetch: missing.stored,
        chunks_to_fetch: missing.count,
        to_write: of(&counts.written),
        to_zero: of(&counts.zeroed),
        space: of(&counts.written),
        rate,
        seconds: Some(seconds),
    })
}

/// A stream has to be read to know anything of it.
fn of_stream(image: &Image) -> Estimate {
    Estimate {
        size: image.size,
        right: None,
        local: 0,
        to_fetch: image.size,
        chunks_to_fetch: 0,
        to_write: image.size,
        to_zero: 0,
        space: image.size,
        rate: None,
        seconds: None,
    }
}

fn note(piece: &Piece, bytes: u64, counts: &Counts, missing: &Mutex<Missing>) {
    let Some(chunk) = piece.chunk else { return add(&counts.zeroed, bytes) };
    add(&counts.written, bytes);
    let mut missing = missing.lock();
    missing.stored += u64::from(chunk.stored);
    missing.count += 1;
    if missing.probes.len() < PROBES {
        missing.probes.push(chunk);
    }
}

/// Bytes in a second; `None` when there is nothing to fetch.
fn rate(chunks: &Chunks, probes: &[Chunk]) -> Result<Option<u64>> {
    let start = Instant::now();
    let mut fetched = 0;
    for batch in probes.chunks(batches::CHUNKS) {
        chunks.receive(batch.iter().map(|chunk| chunks.request(chunk)).collect())?;
        fetched += batch.iter().map(|chunk| u64::from(chunk.stored)).sum::<u64>();
        if start.elapsed() > PROBE_TIME {
            break;
        }
    }
    let rate = fetched as f64 / start.elapsed().as_secs_f64().max(1e-6);
    Ok((fetched > 0).then_some(rate.max(1.0) as u64))
}
