//! The datasets of a run at one moment, and all that is shown and remembered of them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use xxhash_rust::xxh64::xxh64;

use super::bookmarks;
use super::manifest;
use super::moment::Moment;
use super::plan::Plan;
use super::state;
use super::times::{self, Times};
use super::volumes::{Content, Shown, Tree};
use crate::archive::volumes;
use crate::error::Result;
use crate::tools::zfs::{self, Dataset, DatasetKind, Mark};

pub struct Frozen {
    moment: Moment,
    times: Times,
    bookmarks: Vec<Mark>,
    /// Until it is staged.
    tree: Option<Tree>,
    /// Bytes of volumes that were read, ...
    read: Arc<AtomicU64>,
    /// ... and that there are.
    size: u64,
}

impl Frozen {
    /// Takes the snapshots of all datasets of `plan` for the archive `name`, and prepares what is
    /// shown of the volumes. `tag` names the repository.
    ///
    /// # Errors
    /// When ZFS refuses; what was made is removed.
    pub fn new(plan: &Plan, tag: &str, name: &str) -> Result<Frozen> {
        let mut moment = Moment::take(plan, &state::run_id())?;
        let devices = moment.open_volumes(plan)?;
        let size = devices.iter().map(|(_, size)| size).sum();
        let (bookmarks, mut times) = (zfs::bookmarks()?, Times::load(tag));
        let mut files = Vec::new();
        let inodes = Inodes::of(plan);
        for (volume, (device, size)) in plan.volumes().zip(devices) {
            let mark = moment.mark(&volume.name)?;
            let time = match inodes.is_twin(volume) {
                true => times::fresh(mark),
                false => times.time(volume.guid, mark, &bookmarks),
            };
            let content = Content::Device(device, size);
            files.push(Shown { path: volume.name.clone(), inode: inodes.inode(volume), time, content });
        }
        // borg leaves the newest file of a run out of its files cache: let it be this one.
        let newest = files.iter().map(|file| file.time).max().unwrap_or_default();
        let content = Content::Bytes(manifest::manifest(plan, &moment, name)?);
        let time = now().max(newest + 1);
        files.push(Shown { path: volumes::MANIFEST.to_owned(), inode: u64::MAX, time, content });
        let tree = Tree::new(files);
        Ok(Frozen { moment, times, bookmarks, read: tree.counter(), tree: Some(tree), size })
    }

    /// What a dry run shows of the volumes.
    pub fn rehearsed(plan: &Plan) -> Tree {
        let inodes = Inodes::of(plan);
        let shown = plan.volumes().map(|volume| {
            let size = match volume.kind {
                DatasetKind::Volume { size, .. } => size,
                DatasetKind::Filesystem { .. } => 0,
            };
            let content = Content::Unread(size);
            Shown { path: volume.name.clone(), inode: inodes.inode(volume), time: now(), content }
        });
        Tree::new(shown.collect())
    }

    pub fn moment(&self) -> &Moment {
        &self.moment
    }

    /// What is to be mounted at `dev/zvol`; empty the second time.
    pub fn tree(&mut self) -> Tree {
        self.tree.take().unwrap_or_else(|| Tree::new(Vec::new()))
    }

    /// How many datasets there are in each pool.
    pub fn pools(&self, plan: &Plan) -> Vec<(String, usize)> {
        let mut pools: Vec<(String, usize)> = Vec::new();
        for dataset in plan.datasets() {
            match pools.iter_mut().find(|(pool, _)| pool == dataset.pool()) {
                Some((_, count)) => *count += 1,
                None => pools.push((dataset.pool().to_owned(), 1)),
            }
        }
        pools
    }

    /// How large all volumes are together, and how much of them was read, in bytes; `None` without
    /// volumes.
    pub fn volumes_read(&self) -> Option<(u64, u64)> {
        (self.size > 0).then(|| (self.size, self.read.load(Ordering::Relaxed)))
    }

    /// Marks what is in `archive`, so that the next run knows what changed since.
    ///
    /// # Errors
    /// As [`bookmarks::make`].
    pub fn bookmark(&self, plan: &Plan, tag: &str, archive: &str) -> Result<()> {
        bookmarks::make(&self.moment, plan, tag, archive, &self.bookmarks)?;
        self.times.save();
        Ok(())
    }

    /// Removes snapshots and clones; nothing of them may be open.
    ///
    /// # Errors
    /// The first that could not be removed; the others are.
    pub fn close(self) -> Result<()> {
        self.moment.close()
    }
}

/// The inodes of volumes: their guids, which a rename does not change. Two volumes have the same one after
/// `zpool split`, or where disks were copied; then neither is taken for what was archived of the other.
struct Inodes(BTreeMap<u64, usize>);

impl Inodes {
    fn of(plan: &Plan) -> Inodes {
        Inodes::of_guids(plan.volumes().map(|volume| volume.guid))
    }

    fn of_guids(guids: impl Iterator<Item = u64>) -> Inodes {
        let mut count = BTreeMap::new();
        guids.for_each(|guid| *count.entry(guid).or_default() += 1);
        Inodes(count)
    }

    fn is_twin(&self, volume: &Dataset) -> bool {
        self.0.get(&volume.guid).is_some_and(|count| *count > 1)
    }

    fn inode(&self, volume: &Dataset) -> u64 {
        if self.is_twin(volume) { xxh64(volume.name.as_bytes(), volume.guid) } else { volume.guid }
    }
}

/// Nanoseconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn volume(name: &str, guid: u64) -> Dataset {
        Dataset {
            name: name.into(),
            guid,
            createtxg: 1,
            compression: "off".into(),
            readable: true,
            kind: DatasetKind::Volume { size: 1, block_size: 512 },
        }
    }

    #[test]
    fn two_volumes_with_one_guid_are_two_files() {
        let (one, other, alone) = (volume("tank/v", 7), volume("split/v", 7), volume("tank/w", 8));
        let inodes = Inodes::of_guids([7, 7, 8].into_iter());
        assert!(inodes.is_twin(&one) && inodes.is_twin(&other) && !inodes.is_twin(&alone));
        let all = [&one, &other, &alone].map(|volume| inodes.inode(volume));
        assert!(all[0] != all[1] && all[0] != 7 && all[1] != 7, "{all:?}");
        assert_eq!(all[2], 8);
    }
}
