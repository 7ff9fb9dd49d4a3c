//! Reads the file of a configuration.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::diagnosis::Diagnosis;
use super::model::Config;
use super::parse;
use crate::error::{Error, Kind, Result};

/// The largest configuration file, in bytes.
const MAX_SIZE: u64 = 1024 * 1024;

impl Config {
    /// Reads and checks the file at `path` for all commands but `create`. Mistakes in values that
    /// only `create` reads are warnings, and their defaults are used.
    ///
    /// # Errors
    /// All of [`Kind::Usage`]: the file is missing or cannot be read, or it has mistakes. The cause
    /// is then a [`Diagnosis`].
    pub fn load(path: &Path) -> Result<Self> {
        let (config, mistakes) = Self::read(path)?;
        if mistakes.is_some() {
            let file = path.display();
            tracing::warn!("{file} has mistakes that stop `create`: `check-config` shows them");
        }
        Ok(config)
    }

    /// The same for `create`, which reads all values.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn load_to_create(path: &Path) -> Result<Self> {
        match Self::read(path)? {
            (config, None) => Ok(config),
            (_, Some(diagnosis)) => Err(has_mistakes(path, diagnosis)),
        }
    }

    /// The file for people.
    pub fn name(&self) -> String {
        self.file.as_ref().map_or_else(|| "no configuration".into(), |file| file.display().to_string())
    }

    fn read(path: &Path) -> Result<(Self, Option<Diagnosis>)> {
        let to_error = |e: std::io::Error| {
            if e.kind() == std::io::ErrorKind::NotFound {
                return Error::usage(format!("there is no configuration {}", path.display()))
                    .hint("README.md shows one to begin with; `--config FILE` names another")
                    .hint("without one, `--repository URL` reads a repository");
            }
            Error::usage(format!("cannot read the configuration {}", path.display())).because(e)
        };
        let file = File::open(path).map_err(to_error)?;
        warn_if_writable(path, &file);
        let mut bytes = Vec::new();
        file.take(MAX_SIZE + 1).read_to_end(&mut bytes).map_err(to_error)?;
        if bytes.len() as u64 > MAX_SIZE {
            return Err(Error::usage(format!("{} is no configuration", path.display()))
                .because("it is larger than 1 MiB")
                .hint("`--config FILE` names another"));
        }
        parse::parse(path, &bytes).map_err(|diagnosis| has_mistakes(path, diagnosis))
    }

    /// # Errors
    /// [`Kind::Usage`] when it names nothing to back up. Restoring does not need it.
    pub fn require_sources(&self) -> Result<()> {
        if self.datasets_to_backup.is_empty() && self.filesystems_to_backup.is_empty() {
            return Err(Error::usage(format!("{} names nothing to back up", self.name())).hint(
                "list directories in `filesystems_to_backup` or ZFS datasets in `datasets_to_backup`",
            ));
        }
        Ok(())
    }
}

fn has_mistakes(path: &Path, diagnosis: Diagnosis) -> Error {
    Error::new(Kind::Usage, format!("{} has mistakes", path.display())).because(diagnosis)
}

/// Whoever can write the file decides where root's data go.
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
    fn a_directory_or_an_endless_file_is_no_configuration() {
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
