//! What a killed run left behind. The staged tree is none of it: that vanishes with the process.

use std::path::{Path, PathBuf};

use super::stage;
use super::state::{Attempt, Run, RunLock, StateDir};
use crate::error::{Error, Result};
use crate::folders;
use crate::tools::mounts;

/// One thing that a killed run left behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Leftover {
    /// A mount of an archive whose server is gone.
    DeadMount(PathBuf),
    /// A mount in the staging folder that all programs see. Ours are seen by nobody else, so it
    /// was left by a tool that staged in the open.
    OpenStage(PathBuf),
    /// A log or a folder of a process that is gone.
    File(PathBuf),
    /// The mark of a run that did not come to its end.
    Run(Run),
}

/// What [`cleanup`] did.
#[derive(Debug, Default)]
pub struct Cleanup {
    pub removed: Vec<Leftover>,
    pub failed: Vec<(Leftover, Error)>,
    /// The `create` that runs; what it needs was left alone.
    pub active: Option<Run>,
}

/// Removes what killed runs left, or with `dry_run` only tells it. A live run and a live mount
/// are left alone.
///
/// # Errors
/// When the mount table or our state cannot be read. What cannot be removed is in the result.
pub fn cleanup(dry_run: bool) -> Result<Cleanup> {
    let mut done = Cleanup::default();
    remove(dead_mounts()?, dry_run, &mut done);
    remove(open_stages()?, dry_run, &mut done);
    remove(files(), dry_run, &mut done);
    let state = StateDir::open()?;
    if dry_run {
        done.removed.extend(state.stale_run().map(Leftover::Run));
        return Ok(done);
    }
    match state.try_lock()? {
        Attempt::Ours(_, stale) => done.removed.extend(stale.map(Leftover::Run)),
        Attempt::Held(run) => done.active = run,
    }
    Ok(done)
}

/// The same for a `create` that begins: it comes out with the lock. A dead mount stays: the empty
/// folder in its place could be mirrored over a copy by the next job of the night.
///
/// # Errors
/// [`crate::error::Kind::Busy`] when another one runs, and as [`cleanup`].
pub fn make_way() -> Result<(RunLock, Cleanup)> {
    let mut done = Cleanup::default();
    // First of all: such a mount may lie over our state.
    remove(open_stages()?, false, &mut done);
    // Of no interest to the log of a backup.
    remove(files(), false, &mut Cleanup::default());
    let (lock, stale) = StateDir::open()?.lock()?;
    done.removed.extend(stale.map(Leftover::Run));
    Ok((lock, done))
}

fn remove(leftovers: Vec<Leftover>, dry_run: bool, done: &mut Cleanup) {
    // The last mount that was made goes first.
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
    let staged = |m: &mounts::Mount| m.kind != mounts::FUSE_TYPE && m.dir.starts_with(stage::ROOT);
    Ok(mounts::list()?.into_iter().filter(staged).map(|m| Leftover::OpenStage(m.dir)).collect())
}

fn files() -> Vec<Leftover> {
    folders::abandoned().into_iter().map(Leftover::File).collect()
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
        }
    }
}

/// Removes the mount point and the folders above it, up to the staging folder, that are empty.
fn remove_empty(dir: &Path) {
    let inside = |p: &&Path| p.starts_with(stage::ROOT) && **p != *stage::ROOT;
    for dir in dir.ancestors().take_while(inside) {
        if std::fs::remove_dir(dir).is_err() {
            return;
        }
    }
}
