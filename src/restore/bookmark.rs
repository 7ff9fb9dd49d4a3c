//! Which bytes of a volume changed since it was archived, as ZFS itself knows it: between the bookmark
//! that the archive left and a snapshot that is taken now. Of volume and archive only a [sample](spot_check) is
//! read for it.

use std::fs::File;
use std::ops::Range;

use super::spot_check;
use crate::archive::datasets::Described;
use crate::archive::ranges::{common, merge};
use crate::archives::open_archive::{Bytes, Image, OpenArchive};
use crate::error::{Error, Kind, Result};
use crate::tools::target::buffer::Buffer;
use crate::tools::target::open::Target;
use crate::tools::zfs::{self, Changes, Dataset, DatasetKind, History, Mark, names};

/// A hole of so many bytes, borg's longest chunk, was most likely there before.
const LONG: u64 = 8 << 20;

/// What ZFS can tell of a target.
#[derive(Debug)]
pub enum Since {
    /// Outside of `ranges`, which are sorted and do not touch, the target is what was archived.
    /// `read` bytes of it were read to see that, `sampled` to see whether ZFS is right. Where the archive
    /// comes as a stream `witnesses` are still to be held against it.
    MayDiffer { ranges: Vec<Range<u64>>, read: u64, sampled: u64, witnesses: Vec<Range<u64>> },
    /// For this reason nothing is known.
    NotProven(Error),
    /// The target is no volume of ZFS.
    NoVolume,
}

/// What of `target`, open for our own use, may differ from `image` of `archived`. What others wrote
/// before is told; nobody may write from now on.
///
/// # Errors
/// Only when a signal asks us to end.
pub fn changed_since(archived: &OpenArchive, image: &Image, target: &Target) -> Result<Since> {
    let Some(volume) = zfs::volume_of(target.file()) else { return Ok(Since::NoVolume) };
    let described = || {
        let datasets = archived.datasets()?;
        let found = datasets.as_ref().and_then(|datasets| datasets.volume(&image.path));
        found
            .cloned()
            .ok_or_else(|| Error::failed(format!("{} does not tell which volume it was", image.name())))
    };
    let proven = described().and_then(|described| prove(target.file(), &volume, &described));
    let ranges = proven.and_then(|changes| may_differ(changes, image, target));
    match ranges.and_then(|(ranges, read)| sampled(image, target, ranges, read)) {
        Ok(since) => Ok(since),
        Err(e) if e.kind() == Kind::Interrupted => Err(e),
        Err(e) => Ok(Since::NotProven(e)),
    }
}

/// What was written, and of what was freed the rest: it is zeros, so it does not differ where the image
/// has zeros, too. Of a volume that was never full nearly all is such.
fn may_differ(changes: Changes, image: &Image, target: &Target) -> Result<(Vec<Range<u64>>, u64)> {
    let Changes { written, freed } = changes;
    let Bytes::Chunks(chunks) = &image.bytes else { return Ok((merge([written, freed].concat()), 0)) };
    let (mut differs, mut read, mut buffer) = (Vec::new(), 0, Buffer::default());
    for range in &freed {
        for piece in chunks.meeting(range) {
            let piece = piece?;
            let Some(chunk) = piece.chunk else { continue };
            let both = range.start.max(piece.range.start)..range.end.min(piece.range.end);
            // ZFS also tells of holes that were always there, and the chunks in which they begin and end
            // would have to be fetched to see the zeros.
            let is_long = range.end - range.start >= LONG;
            let is_in_doubt = is_long && both != piece.range && common(&written, &piece.range).is_empty();
            if is_in_doubt {
                let bytes = target.read(&mut buffer, &piece.range)?;
                read += bytes.len() as u64;
                if chunks.matches(&[(chunk, bytes)]) == [true] {
                    continue;
                }
            }
            differs.push(both);
        }
    }
    Ok((merge([written, differs].concat()), read))
}

/// Looks at a part of what is said to be unchanged.
fn sampled(image: &Image, target: &Target, ranges: Vec<Range<u64>>, read: u64) -> Result<Since> {
    let Bytes::Chunks(chunks) = &image.bytes else {
        let witnesses = spot_check::places(target.size(), &ranges)?;
        return Ok(Since::MayDiffer { ranges, read, sampled: 0, witnesses });
    };
    let looked = spot_check::look(chunks, target, &ranges)?;
    match looked.wrong {
        None => Ok(Since::MayDiffer { ranges, read, sampled: looked.read, witnesses: Vec::new() }),
        Some(wrong) => Err(Error::failed(format!(
            "by ZFS bytes {} to {} are unchanged, and they differ",
            wrong.start, wrong.end
        ))),
    }
}

fn prove(target: &File, name: &str, archived: &Described) -> Result<Changes> {
    let size = same(&zfs::dataset(name)?, archived)?;
    let marks = zfs::marks_of(name)?;
    let then = marks.iter().find(|mark| is_of(mark, archived)).ok_or_else(|| {
        Error::failed(format!("{name} has no bookmark any more of the moment that was archived"))
    })?;
    if !zfs::lists_every_hole() {
        return Err(Error::failed("ZFS is set to leave holes out (send_holes_without_birth_time)"));
    }
    // What others wrote may still be on its way to ZFS.
    target.sync_all().map_err(|e| Error::failed(format!("cannot flush {name}")).because(e))?;
    let now = Now::take(name)?;
    let changes = now.mark().and_then(|mark| {
        let history = History::read(zfs::pool(name), names::SNAPSHOT_PREFIX)?;
        let was = archived.snapshot.name.split('@').next().unwrap_or_default();
        history.only_written(was, then.createtxg, &mark)?;
        zfs::changes(then, &mark, size)
    });
    if let Err(e) = now.close() {
        tracing::warn!("{}", e.chain());
    }
    changes
}

/// The size in bytes of `volume`, if it is the very volume that was archived, and not another one of
/// its name.
fn same(volume: &Dataset, archived: &Described) -> Result<u64> {
    let name = &volume.name;
    if (volume.guid, volume.createtxg) != (archived.guid, archived.createtxg) {
        return Err(Error::failed(format!("{name} is not the volume that was archived")));
    }
    match volume.kind {
        DatasetKind::Volume { size, .. } if Some(size) == archived.volsize => Ok(size),
        _ => Err(Error::failed(format!("{name} has another size than it had"))),
    }
}

fn is_of(mark: &Mark, archived: &Described) -> bool {
    (mark.guid, mark.createtxg) == (archived.snapshot.guid, archived.snapshot.createtxg)
}

/// A snapshot that says what a volume is like now. Dropped, it is destroyed; where that does not
/// happen, `cleanup` does it.
struct Now(String);

impl Now {
    fn take(volume: &str) -> Result<Now> {
        let run = names::run_id();
        let now = Now(format!("{volume}@{}{run}", names::RESTORE_PREFIX));
        zfs::snapshot(std::slice::from_ref(&now.0), &run)?;
        Ok(now)
    }

    fn mark(&self) -> Result<Mark> {
        let found = zfs::snapshots(std::slice::from_ref(&self.0))?.pop();
        found.ok_or_else(|| Error::failed(format!("there is no snapshot {}", self.0)))
    }

    fn close(self) -> Result<()> {
        let name = self.0.clone();
        std::mem::forget(self);
        zfs::destroy(&name)
    }
}

impl Drop for Now {
    fn drop(&mut self) {
        let _ = zfs::destroy(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::datasets::Snapshot;

    fn archived() -> Described {
        Described {
            name: "tank/v".into(),
            kind: "volume".into(),
            guid: 5,
            createtxg: 7,
            compression: "lz4".into(),
            path: "dev/zvol/tank/v".into(),
            volsize: Some(4096),
            volblocksize: Some(512),
            snapshot: Snapshot { name: "tank/v@x".into(), guid: 6, createtxg: 9, creation: 10 },
        }
    }

    fn volume(guid: u64, createtxg: u64, size: u64) -> Dataset {
        Dataset {
            name: "tank/renamed".into(),
            guid,
            createtxg,
            compression: "off".into(),
            readable: true,
            kind: DatasetKind::Volume { size, block_size: 512 },
        }
    }

    #[test]
    fn only_the_very_volume_that_was_archived_is_trusted() {
        assert_eq!(same(&volume(5, 7, 4096), &archived()).unwrap(), 4096);
        for (guid, createtxg, size) in [(4, 7, 4096), (5, 8, 4096), (5, 7, 8192)] {
            assert!(same(&volume(guid, createtxg, size), &archived()).is_err(), "{guid} {createtxg} {size}");
        }
    }

    #[test]
    fn only_the_moment_that_was_archived_is_compared_with() {
        let mark =
            |guid, createtxg| Mark { name: "tank/v#x".into(), guid, createtxg, creation: 10, volsize: None };
        assert!(is_of(&mark(6, 9), &archived()));
        assert!(!is_of(&mark(6, 8), &archived()) && !is_of(&mark(5, 9), &archived()));
    }
}
