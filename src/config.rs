//! The JSON configuration: what is backed up, to where, and how long archives are kept.

use std::path::PathBuf;

/// A configuration that was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The file it was read from.
    pub file: PathBuf,
    /// Host of the repository; `None`: `backup_path` is a local folder.
    pub backup_server: Option<String>,
    pub backup_user: Option<String>,
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
    pub keep_daily: i32,
    pub keep_weekly: i32,
    pub keep_monthly: i32,
    /// As `borg create --compression` takes it.
    pub compression: String,
    /// Days of the month (1 to 31) on which `create` prunes; `None`: after each backup.
    pub prune_on_days: Option<Vec<u8>>,
    /// `create` with warnings exits 3 instead of 0.
    pub fail_on_warnings: bool,
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
