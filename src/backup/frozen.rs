//! The datasets of a run at one moment, and all that is shown and remembered of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use super::bookmarks;
use super::manifest;
use super::moment::Moment;
use super::plan::Plan;
use super::state;
use super::times::Times;
use super::volumes::{Content, Shown, Tree};
use crate::archive::datasets;
use crate::error::Result;
use crate::tools::zfs::{self, DatasetKind, Mark};

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
        for (volume, (device, size)) in plan.volumes().zip(devices) {
            let time = times.time(volume.guid, moment.mark(&volume.name)?, &bookmarks);
            let content = Content::Device(device, size);
            files.push(Shown { path: volume.name.clone(), inode: volume.guid, time, content });
        }
        // borg leaves the newest file of a run out of its files cache: let it be this one.
        let newest = files.iter().map(|file| file.time).max().unwrap_or_default();
        let content = Content::Bytes(manifest::manifest(plan, &moment, name)?);
        let time = now().max(newest + 1);
        files.push(Shown { path: datasets::FILE.to_owned(), inode: u64::MAX, time, content });
        let tree = Tree::new(files);
        Ok(Frozen { moment, times, bookmarks, read: tree.counter(), tree: Some(tree), size })
    }

    /// What a dry run shows of the volumes.
    pub fn rehearsed(plan: &Plan) -> Tree {
        let shown = plan.volumes().map(|volume| {
            let size = match volume.kind {
                DatasetKind::Volume { size, .. } => size,
                DatasetKind::Filesystem { .. } => 0,
            };
            let content = Content::Unread(size);
            Shown { path: volume.name.clone(), inode: volume.guid, time: now(), content }
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

/// Nanoseconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
}
