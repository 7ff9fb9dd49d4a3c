//! The snapshots of all datasets of a run. A volume also gets a clone of its snapshot, because ZFS
//! shows only clones as devices; a file system's snapshot can be mounted directly.

use std::fs::File;
use std::io::{Seek, SeekFrom};

use super::plan::Plan;
use crate::error::{Error, Result};
use crate::process::interrupt;
use crate::tools::zfs::names::{CONTAINER, SNAPSHOT_PREFIX};
use crate::tools::zfs::{self, Dataset, Mark};

/// What a run made in ZFS. Dropping it removes everything.
pub struct SnapshotSet {
    run_id: String,
    /// Names, in the order of creation.
    made: Vec<String>,
    snapshots: Vec<Mark>,
}

impl SnapshotSet {
    /// Takes the snapshots of all datasets of `plan`: those of a pool at the same moment, several
    /// pools one after the other.
    ///
    /// # Errors
    /// When ZFS refuses; then everything is removed again.
    pub fn take(plan: &Plan, run_id: &str) -> Result<SnapshotSet> {
        let mut set = SnapshotSet { run_id: run_id.to_owned(), made: Vec::new(), snapshots: Vec::new() };
        let mut names: Vec<String> = plan.datasets().map(|d| set.snapshot_of(&d.name)).collect();
        names.sort_by(|a, b| zfs::pool(a).cmp(zfs::pool(b)));
        set.made.extend(names.iter().cloned());
        for of_pool in names.chunk_by(|a, b| zfs::pool(a) == zfs::pool(b)) {
            interrupt::check()?;
            zfs::snapshot(of_pool, run_id)?;
        }
        if !names.is_empty() {
            set.snapshots = zfs::snapshots(&names)?;
        }
        Ok(set)
    }

    /// The full name of the snapshot of `dataset`.
    pub fn snapshot_of(&self, dataset: &str) -> String {
        format!("{dataset}@{SNAPSHOT_PREFIX}{}", self.run_id)
    }

    /// The snapshot of `dataset`, as ZFS lists it.
    ///
    /// # Errors
    /// When the snapshot was not taken.
    pub fn mark(&self, dataset: &str) -> Result<&Mark> {
        let name = self.snapshot_of(dataset);
        let found = self.snapshots.iter().find(|mark| mark.name == name);
        found.ok_or_else(|| Error::failed(format!("there is no snapshot {name}")))
    }

    pub fn run_id(&self) -> &str {
        &self.run_id
    }

    /// Makes a device of the snapshot of each volume of `plan`, in its order. Returns the devices
    /// with their sizes in bytes.
    ///
    /// # Errors
    /// When ZFS refuses, or a device does not appear.
    pub fn open_volumes(&mut self, plan: &Plan) -> Result<Vec<(File, u64)>> {
        // No name is used twice: for a moment, a link under /dev/zvol may outlive its volume, and
        // then lead to another one.
        let name =
            |volume: &Dataset| format!("{}/{CONTAINER}/{}-{:016x}", volume.pool(), self.run_id, volume.guid);
        let clones: Vec<String> = plan.volumes().map(name).collect();
        for (volume, clone) in plan.volumes().zip(&clones) {
            interrupt::check()?;
            self.container(volume.pool())?;
            self.made.push(clone.clone());
            zfs::clone_volume(&self.snapshot_of(&volume.name), clone, &self.run_id)?;
        }
        plan.volumes().zip(&clones).map(|(volume, clone)| self.open(&volume.name, clone)).collect()
    }

    fn container(&mut self, pool: &str) -> Result<()> {
        let name = format!("{pool}/{CONTAINER}");
        if self.made.contains(&name) || zfs::exists(&name)? {
            return Ok(());
        }
        self.made.push(name.clone());
        zfs::create_container(&name, &self.run_id)
    }

    fn open(&self, volume: &str, clone: &str) -> Result<(File, u64)> {
        let path = zfs::wait_for_device(clone)?;
        let to_error = |e: std::io::Error| {
            Error::failed(format!("cannot read the volume {volume} at {}", path.display())).because(e)
        };
        let mut device = File::open(&path).map_err(to_error)?;
        let size = device.seek(SeekFrom::End(0)).map_err(to_error)?;
        if self.mark(volume)?.volsize != Some(size) {
            return Err(to_error(std::io::Error::other(format!(
                "its device has {size} bytes, another size"
            ))));
        }
        Ok((device, size))
    }

    /// Removes everything, in reverse order.
    ///
    /// # Errors
    /// The first that could not be removed; the others were.
    pub fn close(mut self) -> Result<()> {
        self.remove()
    }

    fn remove(&mut self) -> Result<()> {
        let mut result = Ok(());
        while let Some(name) = self.made.pop() {
            let removed = zfs::destroy(&name);
            if result.is_ok() {
                result = removed;
            }
        }
        result
    }
}

impl Drop for SnapshotSet {
    fn drop(&mut self) {
        if let Err(e) = self.remove() {
            tracing::error!("{}", e.chain());
        }
    }
}
