//! The second step of a run: the datasets at one moment, and what is shown and remembered of them.

use std::collections::BTreeMap;
use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use xxhash_rust::xxh64::xxh64;

use super::bookmarks;
use super::dataset_list;
use super::events::Event;
use super::plan::Plan;
use super::planned::Planned;
use super::snapshot_set::SnapshotSet;
use super::times::{self, Times};
use super::volumes::{StagedContent, StagedFile, VolumeTree};
use crate::archive::volumes;
use crate::error::Result;
use crate::tools::zfs::{self, Dataset, DatasetKind, Mark, names};

/// The snapshot set of a run. Dropping it removes the snapshots.
pub struct Frozen<'a> {
    planned: &'a Planned<'a>,
    /// Until it is staged. It keeps devices of the set open, so it is dropped first.
    tree: Option<VolumeTree>,
    set: SnapshotSet,
    times: Times,
    bookmarks: Vec<Mark>,
    /// Bytes of volumes that were read, ...
    read: Arc<AtomicU64>,
    /// ... and the size of all volumes.
    size: u64,
}

impl<'a> Frozen<'a> {
    /// Takes the snapshots of all datasets for the archive `name`, and prepares the files for the
    /// volumes; `None` without datasets.
    ///
    /// # Errors
    /// When ZFS refuses; then everything is removed again.
    pub fn take(planned: &'a Planned<'a>, name: &str) -> Result<Option<Frozen<'a>>> {
        let plan = &planned.plan;
        if plan.datasets().next().is_none() {
            return Ok(None);
        }
        let begun = Instant::now();
        let mut set = SnapshotSet::take(plan, &names::run_id())?;
        let devices = set.open_volumes(plan)?;
        let size = devices.iter().map(|(_, size)| size).sum();
        let (bookmarks, times) = (zfs::bookmarks()?, Times::load(&planned.tag()));
        let mut frozen = Frozen { planned, set, times, bookmarks, tree: None, read: Arc::default(), size };
        let tree = frozen.show(devices, name)?;
        (frozen.read, frozen.tree) = (tree.counter(), Some(tree));
        planned.job.tell(Event::Snapshots { pools: pools(plan), took: begun.elapsed() });
        Ok(Some(frozen))
    }

    /// The volumes and the dataset list, as borg sees them.
    fn show(&mut self, devices: Vec<(File, u64)>, name: &str) -> Result<VolumeTree> {
        let plan = &self.planned.plan;
        let mut files = Vec::new();
        let inodes = Inodes::of(plan);
        for (volume, (device, size)) in plan.volumes().zip(devices) {
            let mark = self.set.mark(&volume.name)?;
            let time = match inodes.is_twin(volume) {
                true => times::fresh(mark),
                false => self.times.time(volume.guid, mark, &self.bookmarks),
            };
            let content = StagedContent::Device(device, size);
            files.push(StagedFile { path: volume.name.clone(), inode: inodes.inode(volume), time, content });
        }
        // borg leaves the newest file of a run out of its files cache: this should be the one.
        let newest = files.iter().map(|file| file.time).max().unwrap_or_default();
        let content = StagedContent::Bytes(dataset_list::dataset_list(plan, &self.set, name)?);
        let time = now().max(newest + 1);
        files.push(StagedFile { path: volumes::DATASET_LIST.to_owned(), inode: u64::MAX, time, content });
        Ok(VolumeTree::new(files))
    }

    pub fn snapshots(&self) -> &SnapshotSet {
        &self.set
    }

    /// The tree for `dev/zvol`; empty the second time.
    pub fn tree(&mut self) -> VolumeTree {
        self.tree.take().unwrap_or_else(|| VolumeTree::new(Vec::new()))
    }

    /// Removes snapshots and clones, which nothing may use any more. Each dataset keeps a bookmark
    /// for `archive`, so that the next run knows what changed since.
    ///
    /// # Errors
    /// The first that could not be removed or bookmarked; the others were.
    pub fn thaw(self, archive: &str) -> Result<()> {
        let Planned { job, plan, .. } = self.planned;
        if self.size > 0 {
            job.tell(Event::Volumes { size: self.size, read: self.read.load(Ordering::Relaxed) });
        }
        let marked = match job.config.keep_bookmarks {
            true => bookmarks::make(&self.set, plan, &self.planned.tag(), archive, &self.bookmarks)
                .map(|()| self.times.save()),
            false => Ok(()),
        };
        self.set.close().and(marked)
    }
}

/// The files for volumes in a dry run.
pub fn rehearsed(plan: &Plan) -> VolumeTree {
    let inodes = Inodes::of(plan);
    let files = plan.volumes().map(|volume| {
        let size = match volume.kind {
            DatasetKind::Volume { size, .. } => size,
            DatasetKind::Filesystem { .. } => 0,
        };
        let content = StagedContent::Unread(size);
        StagedFile { path: volume.name.clone(), inode: inodes.inode(volume), time: now(), content }
    });
    VolumeTree::new(files.collect())
}

/// The number of datasets in each pool.
fn pools(plan: &Plan) -> Vec<(String, usize)> {
    let mut pools: Vec<(String, usize)> = Vec::new();
    for dataset in plan.datasets() {
        match pools.iter_mut().find(|(pool, _)| pool == dataset.pool()) {
            Some((_, count)) => *count += 1,
            None => pools.push((dataset.pool().to_owned(), 1)),
        }
    }
    pools
}

/// The inodes of volumes: their guids, which survive renaming. After `zpool split`, or if disks
/// were copied, two volumes may have the same guid. Then both get other inodes, so that neither is
/// mistaken for the archived one.
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

/// In nanoseconds since 1970.
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
