//! The JSON configuration: what is backed up, to where, and how long archives are kept.
//!
//! [`json`] gives every key and value its place in the file, [`parse`] checks what they mean, and
//! a [`Diagnosis`] shows each mistake where it stands.

pub mod compression;
mod diagnosis;
mod hooks;
mod json;
mod nearest;
mod parse;
pub mod server;

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::{Error, Kind, Result};

pub use diagnosis::{Diagnosis, Mistake};
pub use hooks::{Hook, Hooks};
pub use nearest::nearest;

/// A configuration longer than this is no configuration. In bytes.
const MAX_SIZE: u64 = 1024 * 1024;

/// A configuration that was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The file it was read from.
    pub file: PathBuf,
    /// Host of the repository, as an `ssh://` address has it; `None`: `backup_path` is a local folder.
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
    /// Folders with a CACHEDIR.TAG are left out.
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

impl Config {
    /// Reads and checks the file at `path`, for all that does not make a backup: what only `create`
    /// reads may be wrong, and has then its default. That is warned of.
    ///
    /// # Errors
    /// All of [`Kind::Usage`]: the file is not there or cannot be read, or it has mistakes; those
    /// are a [`Diagnosis`], the cause of the error.
    pub fn load(path: &Path) -> Result<Self> {
        let (config, mistakes) = Self::read(path)?;
        if mistakes.is_some() {
            let file = path.display();
            tracing::warn!("{file} has mistakes that stop `create`: `check-config` shows them");
        }
        Ok(config)
    }

    /// The same for `create`, which reads all of it.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn load_to_create(path: &Path) -> Result<Self> {
        match Self::read(path)? {
            (config, None) => Ok(config),
            (_, Some(diagnosis)) => Err(has_mistakes(path, diagnosis)),
        }
    }

    fn read(path: &Path) -> Result<(Self, Option<Diagnosis>)> {
        let cannot = |e: std::io::Error| {
            if e.kind() == std::io::ErrorKind::NotFound {
                return Error::usage(format!("there is no configuration {}", path.display()))
                    .hint("README.md shows one to begin with; `--config FILE` names another");
            }
            Error::usage(format!("cannot read the configuration {}", path.display())).because(e)
        };
        let file = File::open(path).map_err(cannot)?;
        warn_if_writable(path, &file);
        let mut bytes = Vec::new();
        file.take(MAX_SIZE + 1).read_to_end(&mut bytes).map_err(cannot)?;
        if bytes.len() as u64 > MAX_SIZE {
            return Err(Error::usage(format!("{} is no configuration", path.display()))
                .because("it is larger than 1 MiB")
                .hint("`--config FILE` names another"));
        }
        parse::parse(path, &bytes).map_err(|diagnosis| has_mistakes(path, diagnosis))
    }

    /// # Errors
    /// [`Kind::Usage`] when it names nothing that could be backed up. Restoring works without.
    pub fn require_sources(&self) -> Result<()> {
        if self.datasets_to_backup.is_empty() && self.filesystems_to_backup.is_empty() {
            return Err(Error::usage(format!("{} names nothing to back up", self.file.display()))
                .hint("list folders in `filesystems_to_backup` or ZFS datasets in `datasets_to_backup`"));
        }
        Ok(())
    }
}

fn has_mistakes(path: &Path, diagnosis: Diagnosis) -> Error {
    Error::new(Kind::Usage, format!("{} has mistakes", path.display())).because(diagnosis)
}

/// Whoever can write it decides where root's data go.
fn warn_if_writable(path: &Path, file: &File) {
    if file.metadata().is_ok_and(|m| m.is_file() && m.mode() & 0o002 != 0) {
        tracing::warn!("everyone on this machine can write {0}: chmod o-w {0}", path.display());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &[u8]) -> Result<Config> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.conf");
        std::fs::write(&path, text).unwrap();
        Config::load(&path)
    }

    #[test]
    fn a_missing_file_is_told_with_the_way_out() {
        let e = Config::load(Path::new("/nonexistent/x.conf")).unwrap_err();
        assert_eq!(e.kind(), Kind::Usage);
        assert_eq!(e.to_string(), "there is no configuration /nonexistent/x.conf");
        assert!(e.hints()[0].contains("README.md") && e.hints()[0].contains("--config"));
    }

    #[test]
    fn a_folder_or_an_endless_file_is_no_configuration() {
        let e = Config::load(Path::new("/")).unwrap_err();
        assert_eq!((e.kind(), e.to_string().as_str()), (Kind::Usage, "cannot read the configuration /"));
        let e = Config::load(Path::new("/dev/zero")).unwrap_err();
        assert_eq!(e.chain(), "/dev/zero is no configuration: it is larger than 1 MiB");
    }

    #[test]
    fn without_anything_to_back_up_it_loads_but_does_not_create() {
        let config = load(br#"{"backup_path": "/srv/backup"}"#).unwrap();
        assert_eq!(config.require_sources().unwrap_err().kind(), Kind::Usage);
        let config = load(br#"{"backup_path": "/srv/backup", "filesystems_to_backup": ["/"]}"#).unwrap();
        config.require_sources().unwrap();
    }

    #[test]
    fn a_mistake_that_only_create_minds_stops_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.conf");
        for entry in [
            r#""keep_daily": "seven""#,
            r#""keep_daily": 0, "keep_weekly": 0, "keep_monthly": 0"#,
            r#""compression": 5"#,
            r#""exclude_patterns": ["xx:a"]"#,
            r#""prune_on_days": [32]"#,
            r#""filesystems_to_backup": ["boot"]"#,
            r#""datasets_to_backup": [{"nmae": "t"}]"#,
            r#""before_backup": "run me""#,
            r#""keep_wekly": 4"#,
            r#""colour": "red""#,
            r#""fail_on_warnings": 1"#,
            r#""keep_daily": 1, "keep_daily": 2"#,
        ] {
            std::fs::write(&path, format!(r#"{{"backup_path": "/srv/b", {entry}}}"#)).unwrap();
            assert_eq!(Config::load(&path).unwrap().backup_path, "/srv/b", "{entry}");
            assert_eq!(Config::load_to_create(&path).unwrap_err().kind(), Kind::Usage, "{entry}");
        }
        for entry in [
            r#""backup_server": "a b""#,
            r#""backup_server": "h:99999""#,
            r#""backup_sever": "h""#,
            r#""backup_path": "/x""#,
            r#""ssh_from": "me""#,
            r#""remote_path": 5"#,
        ] {
            std::fs::write(&path, format!(r#"{{"backup_path": "/srv/b", {entry}}}"#)).unwrap();
            assert!(Config::load(&path).is_err(), "{entry}");
        }
    }

    #[test]
    fn mistakes_are_the_cause_of_a_usage_error() {
        let e = load(b"{").unwrap_err();
        assert_eq!(e.kind(), Kind::Usage);
        let cause = std::error::Error::source(&e).unwrap();
        assert!(cause.downcast_ref::<Diagnosis>().is_some());
    }
}
