//! The events of a run.

use std::time::Duration;

use super::leftovers::Leftover;
use super::retention::Retention;
use super::selection::LeftOut;
use super::state::LockHolder;
use crate::error::Error;
use crate::tools::borg::Progress;

/// Something that happened, or that begins.
#[derive(Debug)]
pub enum Event<'a> {
    /// Another `create` is running; this one waits for it, at most this long.
    Waiting {
        run: Option<&'a LockHolder>,
        wait: Duration,
    },
    /// What a killed run left was removed.
    Removed(&'a Leftover),
    /// What a killed run left could not be removed; the run continues.
    NotRemoved(&'a Leftover, &'a Error),
    /// The archive `name` will be made from this many file systems (or directories of them) and
    /// volumes.
    Begun {
        repository: &'a str,
        name: &'a str,
        paths: usize,
        volumes: usize,
    },
    /// Without root, nothing is staged: borg reads the live tree.
    Live,
    /// This glob matches no dataset.
    Unmatched(&'a str),
    /// A selected dataset that cannot be in the archive.
    LeftOut(&'a LeftOut),
    /// A command of the user has run.
    Hook {
        key: &'static str,
        took: Duration,
    },
    /// A command of the user after the backup failed; the backup is not affected.
    HookFailed(&'a Error),
    /// The snapshots are taken: this many in each pool.
    Snapshots {
        pools: Vec<(String, usize)>,
        took: Duration,
    },
    /// The size of all volumes, and how much of them borg read, in bytes.
    Volumes {
        size: u64,
        read: u64,
    },
    Compacting,
    /// All paths are staged.
    Staged {
        took: Duration,
    },
    /// borg begins to read. The last run read `expected` bytes.
    Archiving {
        name: &'a str,
        expected: Option<u64>,
    },
    Progress(&'a Progress),
    /// A line of `borg create --list`.
    File {
        status: char,
        path: &'a str,
    },
    /// The connection to the server dropped; the work is repeated after the pause.
    Disconnected {
        error: &'a Error,
        pause: Duration,
    },
    /// A warning of borg; the archive is kept.
    Warning(&'a str),
    /// An archive that was replaced is being deleted.
    Deleting {
        name: &'a str,
    },
    /// An earlier `--if-exists replace` left its new archive under this name.
    Unfinished {
        name: &'a str,
    },
    /// An archive named after a day cannot be read. Its maker is unknown, so it is never removed.
    Unreadable {
        name: &'a str,
    },
    /// An archive of ours that no rule keeps is damaged, so borg cannot delete it.
    NotRemovable {
        name: &'a str,
    },
    /// There is no machine-id, so archives are recognised only by the name of the host.
    NoMachineId,
    /// The archive gets the name `name`, because `existing` must not be removed.
    Beside {
        name: &'a str,
        existing: &'a str,
        why: Beside<'a>,
    },
    /// Today's archive is `name`: `due` was deleted, and could not be made again.
    Misnamed {
        name: &'a str,
        due: &'a str,
    },
    /// An earlier run left its archive beside that of the day.
    StandsBeside {
        name: &'a str,
        daily: &'a str,
    },
    Pruning,
    Pruned(&'a Retention),
}

/// Why an archive does not replace the existing one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beside<'a> {
    /// The existing one also holds this.
    Holds(&'a [String]),
    /// Something could not be read.
    Unread,
}

/// Receives events, from more than one thread.
pub trait Listener: Send + Sync {
    fn tell(&self, event: Event<'_>);
}
