//! What a configuration says.

use std::path::PathBuf;
use std::time::Duration;

use super::hooks::Hooks;

/// A configuration that was checked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Config {
    /// The file it was read from.
    pub file: PathBuf,
    /// Host of the repository, as an `ssh://` address has it; `None`: `backup_path` is a local directory.
    pub backup_server: Option<String>,
    pub backup_user: Option<String>,
    /// What borg is called there, with borg's placeholders.
    pub remote_path: Option<String>,
    /// Path of the repository, on the server or here.
    pub backup_path: String,
    /// Qube through which every connection goes.
    pub bridge_vm: Option<String>,
    /// Account whose ssh identity makes the connection.
    pub ssh_from: Option<String>,
    pub datasets_to_backup: Vec<Dataset>,
    /// Absolute paths.
    pub filesystems_to_backup: Vec<PathBuf>,
    /// In borg's pattern styles.
    pub exclude_patterns: Vec<String>,
    /// How many archives to keep; -1: all, as borg takes it.
    pub keep_daily: i32,
    pub keep_weekly: i32,
    pub keep_monthly: i32,
    /// As `borg create --compression` takes it.
    pub compression: String,
    /// Days of the month (1 to 31) on which `create` prunes; `None`: after each backup.
    pub prune_on_days: Option<Vec<u8>>,
    /// `create` gives space in the repository free after it pruned.
    pub compact_after_prune: bool,
    /// Each archive leaves a bookmark on each of its datasets; without it each volume is read
    /// from beginning to end every time.
    pub keep_bookmarks: bool,
    /// `create` with warnings exits 3 instead of 0.
    pub fail_on_warnings: bool,
    /// Directories with a CACHEDIR.TAG are left out.
    pub exclude_caches: bool,
    /// How long a borg may do nothing at all before it is stopped.
    pub stall_limit: Duration,
    /// Comes after the date in the names of archives, where several configurations share a repository.
    pub archive_suffix: Option<String>,
    /// Archives without our mark that hosts of these names made are ours, too; and those that bear the
    /// mark of one of these machines.
    pub earlier_host_names: Vec<String>,
    pub hooks: Hooks,
}

/// One entry of `datasets_to_backup`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dataset {
    pub name: String,
    pub selection: Selection,
}

/// What an entry of `datasets_to_backup` stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Selection {
    /// Just the dataset of this name.
    Only,
    /// It and all below it.
    Recursive,
    /// All whose names match; `*` crosses `/`.
    Glob,
}
