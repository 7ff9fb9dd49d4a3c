//! Putting an image back onto a target: only what differs is fetched and written.

use std::ops::Range;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::image_seeds::ImageSeeds;
use super::writer::Writer;
use crate::archive::ranges;
use crate::archives::chunks::{Chunks, Piece, Pieces};
use crate::archives::damage::{self, Damaged};
use crate::archives::fetch::{Asker, Flights, Landed, Taker};
use crate::archives::open_archive::{Bytes, Image};
use crate::archives::progress::{Counts, Meter, Monitor, Step, add, of};
use crate::archives::streamed::Streamed;
use crate::archives::survey::{Survey, Verdict};
use crate::archives::workers::{self, Failure};
use crate::error::{Error, Result};
use crate::process::interrupt;
use crate::tools::target::open::Target;

/// Chunks that are on their way at once, besides those that are worked on.
const ON_THE_WAY: usize = 16;

/// How an image is put back.
#[derive(Debug, Default)]
pub struct Request {
    /// Which bytes of the target may differ from the image, [merged](ranges::merge). All
    /// others are proven to be right: they are neither read nor written. `None`: nothing is known,
    /// so everything is read and hashed.
    pub may_differ: Option<Vec<Range<u64>>>,
    /// Stretches outside of it, merged as it is, that are looked at when they come in a stream.
    pub witnesses: Vec<Range<u64>>,
    /// Write also what is right already.
    pub full: bool,
    /// Read back what was written.
    pub verify: bool,
    /// Write zeros in the place of what is lost.
    pub salvage: bool,
    /// Files and devices that may have the same bytes at the same places.
    pub seeds: ImageSeeds,
}

/// What came of it, in bytes unless said otherwise.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Report {
    pub size: u64,
    /// Were right already.
    pub right: u64,
    /// Read from the target to be held against the archive.
    pub read: u64,
    pub written: u64,
    /// Read of what was proven to be right, to see whether it is.
    pub sampled: u64,
    /// It was not: so all was read.
    pub misled: bool,
    /// Made zeros without bytes being sent.
    pub zeroed: u64,
    /// A number of chunks.
    pub fetched_chunks: u64,
    /// Over the line, compressed; of a stream as many as the image has.
    pub fetched: u64,
    /// Not fetched, since a seed had them.
    pub local: u64,
    /// Read back from the disk and found right.
    pub verified: u64,
    #[serde(rename = "seconds", serialize_with = "seconds")]
    pub took: Duration,
    /// What is lost, where it was salvaged: zeros are there.
    #[serde(skip)]
    pub damaged: Option<Box<Damaged>>,
}

fn seconds<S: serde::Serializer>(took: &Duration, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    serializer.serialize_f64(took.as_secs_f64())
}

/// Why a restore did not come to its end.
#[derive(Debug)]
pub struct Unfinished {
    pub error: Error,
    /// What of the image cannot be had, all of it.
    pub damaged: Option<Box<Damaged>>,
}

impl From<Error> for Unfinished {
    fn from(error: Error) -> Self {
        Unfinished { error, damaged: None }
    }
}

/// Ranges that are lost, and why the first of them is.
#[derive(Default)]
struct Lost {
    ranges: Mutex<(Vec<Range<u64>>, Option<Error>)>,
    /// All others are written nevertheless.
    salvage: bool,
}

impl Lost {
    fn note(&self, ranges: &[Range<u64>], why: Error) {
        let mut lost = self.ranges.lock();
        lost.0.extend_from_slice(ranges);
        lost.1.get_or_insert(why);
    }

    /// Whether nothing may be written any more.
    fn forbids_writing(&self) -> bool {
        !self.salvage && !self.ranges.lock().0.is_empty()
    }

    /// What is lost of `image`, with the error that says so.
    fn into_result(self, image: &Image) -> Result<(), Unfinished> {
        let (ranges, why) = self.ranges.into_inner();
        let Some(error) = why else { return Ok(()) };
        let file = Damaged { path: image.path.clone(), ranges: ranges::merge(ranges), why: error.chain() };
        let error = damage::named(error, std::slice::from_ref(&file));
        Err(Unfinished { error, damaged: Some(Box::new(file)) })
    }
}

/// Makes `target` hold the bytes of `image`, which must be as long. From the first chunk on that is lost nothing
/// is written any more, but all are looked at, so that it can be told which are.
///
/// # Errors
/// When the archive cannot be read or the target not be written; tells in what state the target is.
pub fn restore(
    image: &Image,
    target: &Target,
    request: &Request,
    monitor: Monitor<'_>,
) -> Result<Report, Unfinished> {
    let start = Instant::now();
    let counts = Counts::default();
    let mut writer = Writer::new(target, request.may_differ.as_deref(), request.full, &counts);
    let lost = Lost { salvage: request.salvage, ..Lost::default() };
    let write = |writer: &Writer<'_>, witnesses| {
        write(image, writer, witnesses, monitor, &lost, &request.seeds)
            .map_err(|error| unfinished(error, target, &counts))
    };
    let misled = write(&writer, &request.witnesses)? == Course::Misled;
    if misled {
        writer = Writer::new(target, None, request.full, &counts);
        write(&writer, &[])?;
    }
    let damaged = match lost.into_result(image) {
        Err(Unfinished { damaged, .. }) if request.salvage => damaged,
        Err(Unfinished { error, damaged }) => {
            return Err(Unfinished { error: unfinished(error, target, &counts), damaged });
        }
        Ok(()) => None,
    };
    target.sync().map_err(|error| unfinished(error, target, &counts))?;
    let verified =
        if request.verify { writer.read_back(monitor).map_err(|e| unread(e, target))? } else { 0 };
    Ok(Report {
        size: image.size,
        right: image.size - of(&counts.written) - of(&counts.zeroed),
        read: of(&counts.read),
        written: of(&counts.written),
        sampled: of(&counts.sampled),
        misled,
        zeroed: of(&counts.zeroed),
        fetched_chunks: of(&counts.fetched_chunks),
        fetched: of(&counts.fetched),
        local: of(&counts.local),
        verified,
        took: start.elapsed(),
        damaged,
    })
}

/// How the writing of an image went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Course {
    Done,
    /// A witness was not what it was proven to be: nothing is known of what was not read.
    Misled,
}

/// Until all of it is on the disk.
fn write(
    image: &Image,
    writer: &Writer<'_>,
    witnesses: &[Range<u64>],
    monitor: Monitor<'_>,
    lost: &Lost,
    seeds: &ImageSeeds,
) -> Result<Course> {
    let Writer { target, may_differ, full, counts, .. } = *writer;
    if target.size() != image.size {
        let label = target.label();
        let wrong = format!("{label} has {} bytes, and not {}", target.size(), image.size);
        return Err(Error::usage(wrong));
    }
    let meter = Meter::new(Step::Restore, image.size, monitor);
    match &image.bytes {
        Bytes::Chunks(chunks) => {
            let survey = Survey { target: Some(target), may_differ, full, counts };
            by_chunks(chunks, &survey, writer, &meter, lost, seeds)?;
        }
        Bytes::Stream(_) if lost.salvage => {
            return Err(Error::usage("`--salvage` cannot go past what is damaged in a stream of borg")
                .hint("leave `--source stream` out"));
        }
        Bytes::Stream(stream) => {
            if by_stream(stream, writer, witnesses, &meter)? == Course::Misled {
                return Ok(Course::Misled);
            }
        }
    }
    Ok(Course::Done)
}

/// Some threads hold the target against the chunks' ids and ask for those that differ; others
/// take what comes and write it.
fn by_chunks(
    chunks: &Chunks,
    survey: &Survey<'_>,
    writer: &Writer<'_>,
    meter: &Meter<'_>,
    lost: &Lost,
    seeds: &ImageSeeds,
) -> Result<()> {
    let pieces = Pieces::of(chunks);
    let flights = Flights::default();
    let (asker, taker) = flights.ends(chunks.contents(), ON_THE_WAY);
    let failure = Failure::default();
    std::thread::scope(|scope| {
        let (failure, pieces) = (&failure, &pieces);
        for _ in 0..workers::count() {
            // Moved along, so that those who write end with the last of those who look.
            let (asker, taker) = (asker.clone(), taker.clone());
            let look = move || {
                survey.run(pieces, failure, &|piece, verdict| {
                    if verdict == Verdict::Differs && take_from_seed(chunks, writer, meter, seeds, &piece)? {
                        return Ok(());
                    }
                    settle(writer, meter, &asker, lost, piece, verdict)
                })
            };
            scope.spawn(move || failure.note(look()));
            scope.spawn(move || failure.note(fetch(&taker, writer, meter, failure, lost)));
        }
        drop((asker, taker));
    });
    failure.into_result()
}

/// Whether a seed has the piece; then it is written.
fn take_from_seed(
    chunks: &Chunks,
    writer: &Writer<'_>,
    meter: &Meter<'_>,
    seeds: &ImageSeeds,
    piece: &Piece,
) -> Result<bool> {
    let Some(bytes) = seeds.bytes(chunks, piece) else { return Ok(false) };
    writer.put(&bytes, piece.range.start)?;
    add(&writer.counts.local, piece.length());
    meter.add(piece.length());
    Ok(true)
}

/// Does what is to be done about a piece, or asks for its bytes.
fn settle(
    writer: &Writer<'_>,
    meter: &Meter<'_>,
    asker: &Asker<'_, Range<u64>>,
    lost: &Lost,
    piece: Piece,
    verdict: Verdict,
) -> Result<()> {
    if let (Verdict::Differs, Some(chunk)) = (verdict, &piece.chunk) {
        asker.want(chunk, piece.range.clone());
        return Ok(());
    }
    let length = piece.range.end - piece.range.start;
    if verdict == Verdict::Differs && !lost.forbids_writing() {
        writer.put(&vec![0; length as usize], piece.range.start)?;
    }
    meter.add(length);
    Ok(())
}

fn fetch(
    taker: &Taker<'_, Range<u64>>,
    writer: &Writer<'_>,
    meter: &Meter<'_>,
    failure: &Failure,
    lost: &Lost,
) -> Result<()> {
    loop {
        let landed = taker.take()?;
        if landed.is_empty() || failure.ended()? {
            return Ok(());
        }
        // Of a batch with one that is lost none is written.
        let mut right = Vec::with_capacity(landed.len());
        for Landed { chunk, bytes, notes } in landed {
            match bytes {
                Ok(bytes) => right.push((chunk, bytes, notes)),
                Err(why) => lose(writer, meter, lost, notes, why)?,
            }
        }
        for (chunk, bytes, ranges) in right {
            if lost.forbids_writing() {
                continue;
            }
            add(&writer.counts.fetched_chunks, 1);
            add(&writer.counts.fetched, chunk.stored.into());
            for range in ranges {
                writer.put(&bytes, range.start)?;
                meter.add(range.end - range.start);
            }
        }
    }
}

/// A chunk of these ranges is lost.
fn lose(
    writer: &Writer<'_>,
    meter: &Meter<'_>,
    lost: &Lost,
    ranges: Vec<Range<u64>>,
    why: Error,
) -> Result<()> {
    lost.note(&ranges, why);
    if lost.salvage {
        for range in ranges {
            writer.put(&vec![0; (range.end - range.start) as usize], range.start)?;
            meter.add(range.end - range.start);
        }
    }
    Ok(())
}

fn by_stream(
    stream: &Streamed,
    writer: &Writer<'_>,
    witnesses: &[Range<u64>],
    meter: &Meter<'_>,
) -> Result<Course> {
    let mut course = Course::Done;
    let streamed = stream.each(|at, bytes| {
        interrupt::check()?;
        let length = bytes.len() as u64;
        add(&writer.counts.fetched, length);
        if !writer.is_there(&bytes, at, witnesses)? {
            course = Course::Misled;
            return Err(Error::failed("a witness was misled"));
        }
        writer.put(&bytes, at)?;
        meter.add(length);
        Ok(())
    });
    if course == Course::Done { streamed.map(|()| course) } else { Ok(course) }
}

/// Tells what the target holds now, and what to do.
fn unfinished(error: Error, target: &Target, counts: &Counts) -> Error {
    let label = target.label();
    if of(&counts.written) + of(&counts.zeroed) == 0 {
        return error.hint(format!("nothing was written to {label} yet"));
    }
    error
        .hint(format!("{label} holds a mixture of old and new bytes: do not use it as it is"))
        .hint("the same command, called again, goes on: what is right is not written again")
}

fn unread(error: Error, target: &Target) -> Error {
    let label = target.label();
    error
        .hint(format!("all was written to {label}, but not all of it was read back and found right"))
        .hint("`borg-offsite-backup verify --against` tells what of it is right")
}
