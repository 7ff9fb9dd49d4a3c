//! The values of a configuration.

use std::path::PathBuf;
use std::time::Duration;

use super::hooks::Hooks;

/// A valid configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Config {
    /// The file that it was read from; `None` if only the address of a repository was given.
    pub file: Option<PathBuf>,
    /// The host of the repository, as in an `ssh://` address; `None`: `backup_path` is a local
    /// directory.
    pub backup_server: Option<String>,
    pub backup_user: Option<String>,
    /// The name or path of borg on the server, with borg's placeholders.
    pub remote_path: Option<String>,
    /// The path of the repository, on the server or on this machine.
    pub backup_path: String,
    /// The key file that the user named on the command line.
    pub key_file: Option<PathBuf>,
    /// The qube through which every connection goes.
    pub bridge_vm: Option<String>,
    /// The account whose ssh identity makes the connection.
    pub ssh_from: Option<String>,
    pub datasets_to_backup: Vec<Dataset>,
    /// Absolute paths.
    pub filesystems_to_backup: Vec<PathBuf>,
    /// In borg's pattern styles.
    pub exclude_patterns: Vec<String>,
    /// How many archives to keep; -1: all, as in borg.
    pub keep_daily: i32,
    pub keep_weekly: i32,
    pub keep_monthly: i32,
    /// For `borg create --compression`.
    pub compression: String,
    /// The days of the month (1 to 31) on which `create` prunes; `None`: after each backup.
    pub prune_on_days: Option<Vec<u8>>,
    /// `create` frees space in the repository after pruning.
    pub compact_after_prune: bool,
    /// Each archive leaves a bookmark on each of its datasets. Without bookmarks, every backup
    /// reads each volume from beginning to end.
    pub keep_bookmarks: bool,
    /// `create` with warnings exits 3 instead of 0.
    pub fail_on_warnings: bool,
    /// Leaves out directories with a CACHEDIR.TAG.
    pub exclude_caches: bool,
    /// How long a borg process may do nothing before it is stopped.
    pub stall_limit: Duration,
    /// Follows the date in the names of archives, if several configurations share a repository.
    pub archive_suffix: Option<String>,
    /// Archives without a mark made by these hosts, and archives with the mark of one of these
    /// machines, also count as ours.
    pub earlier_host_names: Vec<String>,
    /// The limit for lists of files in the cache directory.
    pub catalog_cache_mb: Option<i32>,
    pub hooks: Hooks,
}

/// An entry of `datasets_to_backup`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dataset {
    pub name: String,
    pub selection: Selection,
}

/// The datasets that an entry of `datasets_to_backup` selects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Selection {
    /// The dataset of this name alone.
    Only,
    /// The dataset and all below it.
    Recursive,
    /// All whose names match; `*` also matches `/`.
    Glob,
}
