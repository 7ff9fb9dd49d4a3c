//! What a killed run leaves behind. The staged tree is not among it, because it vanishes with the
//! process.
//!
//! Snapshots and clones have the run's id ([`zfs::RUN`]). Only one run is active at a time, and it
//! holds the lock, so the holder of the lock knows that all others are dead. A restore has no lock;
//! the id of its snapshot contains the pid.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::stage;
use super::state::{Attempt, LockHolder, RunLock, StateDir};
use crate::directories;
use crate::error::{Error, Result};
use crate::tools::zfs::names::{RESTORE_PREFIX, is_of_old_tool, is_ours, is_staged};
use crate::tools::{mounts, zfs};

/// Something that a killed run left behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Leftover {
    /// A mount of an archive whose server is gone.
    DeadMount(PathBuf),
    /// A mount in the staging directory that all programs see, and that shows what is backed up
    /// from there. Our own mounts are private, so this is one of a tool that staged in the open.
    OpenStage(PathBuf),
    /// A log or a directory of a process that is gone.
    File(PathBuf),
    /// The mark of a run that did not finish.
    Run(LockHolder),
    /// A snapshot, clone or container in ZFS of a run that is gone.
    Zfs(String),
    /// What the Python tool of the same name left in ZFS, recognised only by its name.
    OldTool(String),
}

/// The result of [`cleanup`].
#[derive(Debug, Default)]
pub struct Cleanup {
    pub removed: Vec<Leftover>,
    pub failed: Vec<(Leftover, Error)>,
    /// The running `create`; what it needs was not touched.
    pub active: Option<LockHolder>,
    /// What was not removed, because nobody asked for it.
    pub old_tool: Vec<Leftover>,
}

/// Removes what killed runs left, or with `dry_run` only lists it. Live runs and live mounts are
/// not touched. With `old_tool`, also removes what the Python tool left.
///
/// # Errors
/// When the mount table or our state cannot be read. The result has the errors of removing.
pub fn cleanup(dry_run: bool, old_tool: bool) -> Result<Cleanup> {
    let mut done = Cleanup::default();
    remove(dead_mounts()?, dry_run, &mut done);
    remove(open_stages()?, dry_run, &mut done);
    remove(files(), dry_run, &mut done);
    let state = StateDir::open()?;
    let _lock = if dry_run {
        done.removed.extend(state.stale_run().map(Leftover::Run));
        if let Some(run) = state.holder() {
            done.active = run;
            return Ok(done);
        }
        None
    } else {
        match state.try_lock()? {
            Attempt::Ours(lock, stale) => {
                done.removed.extend(stale.map(Leftover::Run));
                Some(lock)
            }
            Attempt::Held(run) => {
                done.active = run;
                return Ok(done);
            }
        }
    };
    remove(in_zfs()?, dry_run, &mut done);
    let of_old_tool = of_old_tool()?;
    match old_tool {
        true => remove(of_old_tool, dry_run, &mut done),
        false => done.old_tool = of_old_tool,
    }
    Ok(done)
}

/// The same for a `create` that begins, which gets the lock. Dead mounts stay: the next job of the
/// night could mirror the empty directory in their place over a copy. ZFS is asked only if
/// `datasets` are backed up. `waiting` receives the run that holds the lock.
///
/// # Errors
/// [`crate::error::Kind::Busy`] when another run holds the lock for longer than `wait`, and those
/// of [`cleanup`].
pub fn make_way(
    datasets: bool,
    wait: Duration,
    waiting: &dyn Fn(Option<&LockHolder>),
) -> Result<(RunLock, Cleanup)> {
    let mut done = Cleanup::default();
    // First of all, because such a mount may hide our state.
    remove(open_stages()?, false, &mut done);
    // These do not concern the log of a backup.
    remove(files(), false, &mut Cleanup::default());
    let (lock, stale) = StateDir::open()?.lock(wait, waiting)?;
    done.removed.extend(stale.map(Leftover::Run));
    if datasets {
        remove(in_zfs()?, false, &mut done);
    }
    Ok((lock, done))
}

fn remove(leftovers: Vec<Leftover>, dry_run: bool, done: &mut Cleanup) {
    // The most recent mount goes first.
    for leftover in leftovers.into_iter().rev() {
        let removal = if dry_run { Ok(()) } else { leftover.remove() };
        match removal {
            Ok(()) => done.removed.push(leftover),
            Err(e) => done.failed.push((leftover, e)),
        }
    }
}

fn dead_mounts() -> Result<Vec<Leftover>> {
    let dead = |m: &mounts::Mount| m.kind == mounts::FUSE_TYPE && m.is_dead();
    Ok(mounts::list()?.into_iter().filter(dead).map(|m| Leftover::DeadMount(m.dir)).collect())
}

fn open_stages() -> Result<Vec<Leftover>> {
    if !nix::unistd::geteuid().is_root() {
        return Ok(Vec::new());
    }
    let staged = |m: &mounts::Mount| {
        m.kind != mounts::FUSE_TYPE
            && m.dir.starts_with(stage::ROOT)
            && !m.dir.starts_with(directories::ATTACHED_DIR)
            && is_staged_in_the_open(m)
    };
    Ok(mounts::list()?.into_iter().filter(staged).map(|m| Leftover::OpenStage(m.dir)).collect())
}

/// Whether a mount in the staging directory belongs to a stage: it shows a snapshot with a name of
/// ours, or what the machine has at the same path outside of the staging directory. Somebody else
/// made any other mount on purpose.
fn is_staged_in_the_open(mount: &mounts::Mount) -> bool {
    let source = mount.source.to_string_lossy();
    if mount.kind == "zfs" && (is_of_old_tool(&source) || is_ours(&source)) {
        return true;
    }
    let host = Path::new("/").join(mount.dir.strip_prefix(stage::ROOT).unwrap_or(&mount.dir));
    let identity = |path: &Path| std::fs::symlink_metadata(path).ok().map(|m| (m.dev(), m.ino()));
    identity(&host).is_some() && identity(&host) == identity(&mount.dir)
}

/// What dead runs of ours left: containers, then snapshots, then clones. Removal starts at the end.
fn in_zfs() -> Result<Vec<Leftover>> {
    if !asks_zfs() {
        return Ok(Vec::new());
    }
    let made = zfs::made_by_runs()?.into_iter();
    let dead = made.filter(|(name, run)| is_ours(name) && !is_of_a_live_restore(name, run));
    let mut names: Vec<String> = dead.map(|(name, _)| name).collect();
    names.sort_by_key(|name| order(name));
    Ok(names.into_iter().map(Leftover::Zfs).collect())
}

/// The same for the Python tool, which leaves no mark: snapshots named after a day, and its
/// container with all that is in it.
fn of_old_tool() -> Result<Vec<Leftover>> {
    if !asks_zfs() {
        return Ok(Vec::new());
    }
    let ours = zfs::made_by_runs()?;
    let datasets = zfs::datasets()?.into_iter().map(|dataset| dataset.name).filter(|name| is_staged(name));
    let snapshots = zfs::snapshot_names()?.into_iter().filter(|name| is_of_old_tool(name));
    let mut names: Vec<String> = datasets.chain(snapshots).collect();
    names.retain(|name| !ours.iter().any(|(ours, _)| ours == name));
    names.sort_by_key(|name| order(name));
    Ok(names.into_iter().map(Leftover::OldTool).collect())
}

fn asks_zfs() -> bool {
    nix::unistd::geteuid().is_root() && zfs::is_here()
}

/// The id of a run ends with its pid.
fn is_of_a_live_restore(name: &str, run: &str) -> bool {
    let of_restore = name.split_once('@').is_some_and(|(_, snapshot)| snapshot.starts_with(RESTORE_PREFIX));
    let pid = run.rsplit('-').next().and_then(|pid| pid.parse::<u32>().ok());
    of_restore && pid.is_some_and(|pid| Path::new(&format!("/proc/{pid}")).exists())
}

fn order(name: &str) -> (u8, usize, String) {
    let depth = name.matches('/').count();
    let rank = match (name.contains('@'), is_staged(name) && depth == 1) {
        (false, true) => 0,
        (true, _) => 1,
        (false, false) => 2,
    };
    (rank, depth, name.to_owned())
}

fn files() -> Vec<Leftover> {
    directories::abandoned().into_iter().map(Leftover::File).collect()
}

impl Leftover {
    fn remove(&self) -> Result<()> {
        match self {
            Leftover::DeadMount(dir) => mounts::unmount(dir, true),
            Leftover::OpenStage(dir) => {
                mounts::unmount(dir, false)?;
                remove_empty(dir);
                Ok(())
            }
            Leftover::File(path) => {
                let removed =
                    if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
                removed.map_err(|e| Error::failed(format!("cannot remove {}", path.display())).because(e))
            }
            Leftover::Run(_) => Ok(()),
            Leftover::Zfs(name) | Leftover::OldTool(name) => zfs::destroy(name),
        }
    }
}

/// Removes the mount point, and the empty directories above it up to the staging directory.
fn remove_empty(dir: &Path) {
    let inside = |p: &&Path| p.starts_with(stage::ROOT) && **p != *stage::ROOT;
    for dir in dir.ancestors().take_while(inside) {
        if std::fs::remove_dir(dir).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tools::zfs::names::SNAPSHOT_PREFIX;

    #[test]
    fn the_snapshot_of_a_restore_that_lives_is_left_alone() {
        let (live, dead) = (crate::tools::zfs::names::run_id(), "20261124T101112000-4194305");
        let name = |run: &str| format!("tank/v@{RESTORE_PREFIX}{run}");
        assert!(is_ours(&name(&live)));
        assert!(is_of_a_live_restore(&name(&live), &live));
        assert!(!is_of_a_live_restore(&name(dead), dead));
        assert!(!is_of_a_live_restore(&format!("tank/v@{SNAPSHOT_PREFIX}{live}"), &live));
    }

    #[test]
    fn clones_are_removed_before_what_they_depend_on() {
        let container = "tank/.borg-offsite-backup";
        let clone = "tank/.borg-offsite-backup/1";
        let mut names = ["tank/a@borg-offsite-backup-x", clone, container];
        names.sort_by_key(|name| order(name));
        assert_eq!(names, [container, "tank/a@borg-offsite-backup-x", clone]);
    }
}
