//! When each volume last changed, for borg's files cache: the time of the first archive with its
//! present content. Only ZFS can tell whether this content is unchanged: nothing was written, and
//! no other blocks were put there ([`History`]). If anything is unknown, the time is now, and borg
//! reads the volume again.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::directories;
use crate::error::Result;
use crate::tools::zfs::names::SNAPSHOT_PREFIX;
use crate::tools::zfs::{self, History, Mark};

/// What the last archive of a repository knew, by the guid of the volume.
pub struct Times {
    file: Option<PathBuf>,
    seen: BTreeMap<u64, Seen>,
    /// The logs of the pools, as far as they were read.
    histories: BTreeMap<String, Result<History>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Seen {
    /// The guid of its snapshot, which the bookmark of the snapshot also has.
    mark: u64,
    /// In nanoseconds since 1970.
    time: u64,
}

impl Times {
    /// `repository` is a [`super::bookmarks::repository_tag`].
    pub fn load(repository: &str) -> Times {
        let dir = directories::cache_dir().ok();
        Times::load_from(dir.map(|dir| dir.join(format!("volumes-{repository}.json"))))
    }

    fn load_from(file: Option<PathBuf>) -> Times {
        let read = |file: &PathBuf| serde_json::from_slice(&std::fs::read(file).ok()?).ok();
        let seen = file.as_ref().and_then(read).unwrap_or_default();
        Times { file, seen, histories: BTreeMap::new() }
    }

    /// The time of the volume `guid` in its new `snapshot`. `bookmarks` are all that exist.
    pub fn time(&mut self, guid: u64, snapshot: &Mark, bookmarks: &[Mark]) -> u64 {
        let mut histories = std::mem::take(&mut self.histories);
        let time = self.time_where(guid, snapshot, bookmarks, |bookmark, snapshot| {
            is_unchanged(&mut histories, bookmark, snapshot)
        });
        self.histories = histories;
        time
    }

    fn time_where(
        &mut self,
        guid: u64,
        snapshot: &Mark,
        bookmarks: &[Mark],
        is_unchanged: impl FnOnce(&Mark, &Mark) -> bool,
    ) -> u64 {
        let unchanged = self.seen.get(&guid).copied().filter(|seen| {
            let volume = snapshot.name.split('@').next().unwrap_or_default();
            let is_it = |b: &&Mark| b.guid == seen.mark && b.name.split('#').next() == Some(volume);
            bookmarks.iter().find(is_it).is_some_and(|bookmark| is_unchanged(bookmark, snapshot))
        });
        let time = unchanged.map_or_else(|| fresh(snapshot), |seen| seen.time);
        self.seen.insert(guid, Seen { mark: snapshot.guid, time });
        time
    }

    /// Saves the times, once the archive and its bookmarks exist.
    pub fn save(&self) {
        let _ = self.try_save();
    }

    fn try_save(&self) -> Option<()> {
        let file = self.file.as_deref()?;
        let dir = file.parent()?;
        directories::make_private(dir).ok()?;
        let mut new = tempfile::NamedTempFile::new_in(dir).ok()?;
        new.write_all(&serde_json::to_vec_pretty(&self.seen).ok()?).ok()?;
        new.persist(file).ok()?;
        Some(())
    }
}

/// Whether a volume in `snapshot` is unchanged since `bookmark` was made.
fn is_unchanged(histories: &mut BTreeMap<String, Result<History>>, bookmark: &Mark, snapshot: &Mark) -> bool {
    let Some((volume, mark)) = bookmark.name.split_once('#') else { return false };
    if zfs::written_since(mark, &snapshot.name) != Some(0) {
        return false;
    }
    let pool = zfs::pool(volume);
    let history = histories.entry(pool.to_owned()).or_insert_with(|| History::read(pool, SNAPSHOT_PREFIX));
    let proven = match history {
        Ok(history) => history.only_written(volume, bookmark.createtxg, snapshot).map_err(|e| e.chain()),
        Err(e) => Err(e.chain()),
    };
    if let Err(why) = &proven {
        tracing::info!("all of {volume} is read, since ZFS does not prove that it is unchanged: {why}");
    }
    proven.is_ok()
}

/// The time of a volume that must be read. Two snapshots of the same second differ in their
/// transaction group.
pub fn fresh(snapshot: &Mark) -> u64 {
    const SECOND: u64 = 1_000_000_000;
    snapshot.creation.saturating_mul(SECOND) + snapshot.createtxg % SECOND
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(name: &str, guid: u64, createtxg: u64) -> Mark {
        Mark { name: name.into(), guid, createtxg, creation: 1_764_000_000, volsize: None }
    }

    #[test]
    fn a_volume_keeps_its_time_only_while_zfs_says_that_nothing_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let load = || Times::load_from(Some(dir.path().join("cache/volumes.json")));
        let mut times = load();
        let unknown = |_: &Mark, _: &Mark| -> bool { panic!("there is no bookmark to ask about") };
        let first = times.time_where(7, &mark("tank/v@a", 1, 10), &[], unknown);
        assert_eq!(first, 1_764_000_000_000_000_010);
        times.save();

        let bookmarks = [mark("tank/other#a", 1, 10), mark("tank/v#a", 1, 10)];
        let again = mark("tank/v@b", 2, 20);
        let nothing = |mark: &Mark, snapshot: &Mark| mark.name == "tank/v#a" && snapshot.name == "tank/v@b";
        assert_eq!(load().time_where(7, &again, &bookmarks, nothing), first);
        let time = load().time_where(7, &again, &bookmarks, |_, _| false);
        assert_eq!(time, 1_764_000_000_000_000_020);
        assert_ne!(load().time_where(7, &again, &bookmarks[..1], unknown), first, "another's bookmark");
        assert_ne!(load().time_where(8, &again, &bookmarks, unknown), first, "another volume of the name");
    }
}
