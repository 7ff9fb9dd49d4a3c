//! Which bytes of a volume changed since it was archived, as ZFS itself knows it: between the bookmark
//! that the archive left and a snapshot that is taken now. Neither volume nor archive is read for it.

use std::fs::File;

use crate::archive::datasets::Described;
use crate::backup;
use crate::error::{Error, Kind, Result};
use crate::tools::zfs::{self, Changes, Dataset, DatasetKind, Mark};

/// What ZFS can tell of a target.
#[derive(Debug)]
pub enum Since {
    /// Outside of these the target is what was archived.
    Proven(Changes),
    /// For this reason nothing is known.
    NotProven(Error),
}

/// What changed in `target` since `archived` was. `target` is the device, open for our own use: what
/// others wrote before is told, and nobody may write from now on.
///
/// # Errors
/// Only when a signal asks us to end.
pub fn changed_since(target: &File, archived: &Described) -> Result<Since> {
    match prove(target, archived) {
        Ok(changes) => Ok(Since::Proven(changes)),
        Err(e) if e.kind() == Kind::Interrupted => Err(e),
        Err(e) => Ok(Since::NotProven(e)),
    }
}

fn prove(target: &File, archived: &Described) -> Result<Changes> {
    let name = zfs::volume_of(target).ok_or_else(|| Error::failed("the target is no volume of ZFS"))?;
    let size = same(&zfs::dataset(&name)?, archived)?;
    let marks = zfs::marks_of(&name)?;
    let then = marks.iter().find(|mark| is_of(mark, archived)).ok_or_else(|| {
        Error::failed(format!("{name} has no bookmark any more of the moment that was archived"))
    })?;
    if !zfs::lists_every_hole() {
        return Err(Error::failed("ZFS is set to leave holes out (send_holes_without_birth_time)"));
    }
    // What others wrote may still be on its way to ZFS.
    target.sync_all().map_err(|e| Error::failed(format!("cannot flush {name}")).because(e))?;
    let now = Now::take(&name)?;
    let changes = zfs::changes(then, &now.mark()?, size);
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
        let run = backup::run_id();
        let now = Now(format!("{volume}@{}{run}", backup::RESTORE_PREFIX));
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

    #[test]
    fn what_is_no_volume_is_not_proven() {
        let since = changed_since(&tempfile::tempfile().unwrap(), &archived()).unwrap();
        let Since::NotProven(why) = since else { panic!("{since:?}") };
        assert_eq!(why.to_string(), "the target is no volume of ZFS");
    }
}
