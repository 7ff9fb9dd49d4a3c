//! When each volume last changed, as far as borg's files cache is concerned: the moment of the
//! first archive that has its present content. Only ZFS says whether that content still stands;
//! where anything is unknown the moment is now, and borg reads the volume again.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::folders;
use crate::tools::zfs::{self, Mark};

/// What the last archive of one repository knew, by the guid of the volume.
pub struct Times {
    file: Option<PathBuf>,
    seen: BTreeMap<u64, Seen>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Seen {
    /// The guid of its snapshot, and of the bookmark that was made of it.
    mark: u64,
    /// Nanoseconds since 1970.
    time: u64,
}

impl Times {
    /// `repository`: [`super::bookmarks::repository_tag`].
    pub fn load(repository: &str) -> Times {
        let dir = folders::cache_dir().ok();
        Times::load_from(dir.map(|dir| dir.join(format!("volumes-{repository}.json"))))
    }

    fn load_from(file: Option<PathBuf>) -> Times {
        let read = |file: &PathBuf| serde_json::from_slice(&std::fs::read(file).ok()?).ok();
        let seen = file.as_ref().and_then(read).unwrap_or_default();
        Times { file, seen }
    }

    /// The time of the volume `guid` in its new `snapshot`; `bookmarks` are all that there are.
    pub fn time(&mut self, guid: u64, snapshot: &Mark, bookmarks: &[Mark]) -> u64 {
        self.time_where(guid, snapshot, bookmarks, zfs::written_since)
    }

    fn time_where(
        &mut self,
        guid: u64,
        snapshot: &Mark,
        bookmarks: &[Mark],
        written_since: impl FnOnce(&str, &str) -> Option<u64>,
    ) -> u64 {
        let unchanged = self.seen.get(&guid).copied().filter(|seen| {
            let volume = snapshot.name.split('@').next().unwrap_or_default();
            let bookmark = bookmarks.iter().filter(|b| b.guid == seen.mark);
            let bookmark = bookmark.filter_map(|b| b.name.split_once('#')).find(|(name, _)| *name == volume);
            bookmark.is_some_and(|(_, mark)| written_since(mark, &snapshot.name) == Some(0))
        });
        let time = unchanged.map_or_else(|| fresh(snapshot), |seen| seen.time);
        self.seen.insert(guid, Seen { mark: snapshot.guid, time });
        time
    }

    /// Keeps what was asked for, once the archive and its bookmarks stand.
    pub fn save(&self) {
        let _ = self.try_save();
    }

    fn try_save(&self) -> Option<()> {
        let file = self.file.as_deref()?;
        let dir = file.parent()?;
        folders::make_private(dir).ok()?;
        let mut new = tempfile::NamedTempFile::new_in(dir).ok()?;
        new.write_all(&serde_json::to_vec_pretty(&self.seen).ok()?).ok()?;
        new.persist(file).ok()?;
        Some(())
    }
}

/// Two snapshots of one second differ in their transaction group.
fn fresh(snapshot: &Mark) -> u64 {
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
        let unknown = |_: &str, _: &str| -> Option<u64> { panic!("there is no bookmark to ask about") };
        let first = times.time_where(7, &mark("tank/v@a", 1, 10), &[], unknown);
        assert_eq!(first, 1_764_000_000_000_000_010);
        times.save();

        let bookmarks = [mark("tank/other#a", 1, 10), mark("tank/v#a", 1, 10)];
        let again = mark("tank/v@b", 2, 20);
        let nothing = |mark: &str, snapshot: &str| (mark == "a" && snapshot == "tank/v@b").then_some(0);
        assert_eq!(load().time_where(7, &again, &bookmarks, nothing), first);
        for cannot_tell_or_some in [None, Some(512)] {
            let time = load().time_where(7, &again, &bookmarks, |_, _| cannot_tell_or_some);
            assert_eq!(time, 1_764_000_000_000_000_020);
        }
        assert_ne!(load().time_where(7, &again, &bookmarks[..1], unknown), first, "another's bookmark");
        assert_ne!(load().time_where(8, &again, &bookmarks, unknown), first, "another volume of the name");
    }
}
