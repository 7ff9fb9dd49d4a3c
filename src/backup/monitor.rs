//! What happens in a run, for the one who watches it.

use std::time::Duration;

use super::leftovers::Leftover;
use super::retention::Retention;
use super::selection::LeftOut;
use super::state::LockHolder;
use crate::error::Error;
use crate::tools::borg::Progress;

/// One thing that happened, or that begins.
#[derive(Debug)]
pub enum Event<'a> {
    /// Another `create` runs; this one waits for its end, so long at most.
    Waiting {
        run: Option<&'a LockHolder>,
        wait: Duration,
    },
    /// What a killed run left was removed.
    Removed(&'a Leftover),
    /// What a killed run left could not be removed; the run goes on.
    NotRemoved(&'a Leftover, &'a Error),
    /// The archive `name` will be made from so many file systems, or directories of them, and volumes.
    Begun {
        repository: &'a str,
        name: &'a str,
        paths: usize,
        volumes: usize,
    },
    /// Without root no staging is possible: borg reads the live tree.
    Live,
    /// This glob matches no dataset.
    Unmatched(&'a str),
    /// A dataset that is selected, and cannot be in the archive.
    LeftOut(&'a LeftOut),
    /// A command of the user's has run.
    Hook {
        key: &'static str,
        took: Duration,
    },
    /// What the user wants done after the backup failed; the backup stands as it is.
    HookFailed(&'a Error),
    /// The snapshots are taken: so many in each pool.
    Snapshots {
        pools: Vec<(String, usize)>,
        took: Duration,
    },
    /// How large the volumes are together, and how much of them borg read, in bytes.
    Volumes {
        size: u64,
        read: u64,
    },
    Compacting,
    /// All paths are staged.
    Staged {
        took: Duration,
    },
    /// borg begins to read. `expected` bytes were looked at in the last run.
    Archiving {
        name: &'a str,
        expected: Option<u64>,
    },
    Progress(&'a Progress),
    /// `borg create --list`.
    File {
        status: char,
        path: &'a str,
    },
    /// The connection to the server dropped; the work is done again after the pause.
    Disconnected {
        error: &'a Error,
        pause: Duration,
    },
    /// What borg warns of; the archive is kept.
    Warning(&'a str),
    /// An archive that another one has taken the place of is removed.
    Deleting {
        name: &'a str,
    },
    /// An earlier `--if-exists replace` left its new archive under this name.
    Unfinished {
        name: &'a str,
    },
    /// An archive named after a day cannot be read, so its maker is unknown, and it is never removed.
    Unreadable {
        name: &'a str,
    },
    /// An archive of ours that no rule keeps is damaged: borg cannot delete it.
    NotRemovable {
        name: &'a str,
    },
    /// There is no machine-id: archives are known by the host's name alone.
    NoMachineId,
    /// The archive gets the name `name`, since `existing` must not be removed.
    Beside {
        name: &'a str,
        existing: &'a str,
        why: Beside<'a>,
    },
    /// The archive of today is `name`: `due` is gone, and could not be made again.
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

/// Why an archive does not take the place of the one that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beside<'a> {
    /// That one holds this, too.
    Holds(&'a [String]),
    /// Something could not be read.
    Unread,
}

/// The receiver of events, which come from more than one thread.
pub trait Monitor: Send + Sync {
    fn tell(&self, event: Event<'_>);
}
