//! Borg's security database: what it saw of a repository when it last used it. Only read.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::crypto::Mode;
use super::error::{Error, Result};
use super::id::Id;

/// The folder of one repository in the database; it need not be there.
pub struct Security {
    dir: PathBuf,
}

impl Security {
    /// `base` holds a folder for each repository: `BORG_SECURITY_DIR`, or `security` in borg's
    /// configuration folder.
    pub fn new(base: &Path, repository: &Id) -> Self {
        Security { dir: base.join(repository.to_string()) }
    }

    /// Whether borg has seen that manifests of the repository are authenticated.
    pub fn tam_required(&self) -> bool {
        self.dir.join("tam_required").exists()
    }

    /// Compares the repository with what borg saw.
    ///
    /// # Errors
    /// `KeyChanged` and `Replayed` where it does not fit, `Io` when the database cannot be read.
    pub fn check(&self, mode: Mode, timestamp: &str) -> Result<()> {
        let found = mode as u8;
        if let Some(known) = self.read("key-type")?.and_then(|text| text.parse().ok())
            && known != found
        {
            return Err(Error::KeyChanged { known, found });
        }
        match self.read("manifest-timestamp")? {
            // Both are written in one form, in which later is greater.
            Some(known) if *known > *timestamp => Err(Error::Replayed { known, found: timestamp.into() }),
            _ => Ok(()),
        }
    }

    fn read(&self, name: &str) -> Result<Option<String>> {
        let path = self.dir.join(name);
        match std::fs::read_to_string(&path) {
            Ok(text) => Ok(Some(text.trim().to_owned()).filter(|t| !t.is_empty())),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            Err(e) => Err(Error::io(format!("read {}", path.display()))(e)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_key_and_an_older_manifest_are_refused() {
        let base = tempfile::tempdir().unwrap();
        let security = Security::new(base.path(), &Id([1; 32]));
        let (old, new) = ("2026-11-23T10:00:00.000000", "2026-11-23T10:00:00.000001");
        assert!(security.check(Mode::Plain, old).is_ok(), "a repository that borg never saw");
        assert!(!security.tam_required());
        std::fs::create_dir(&security.dir).unwrap();
        std::fs::write(security.dir.join("key-type"), "3").unwrap();
        std::fs::write(security.dir.join("manifest-timestamp"), new).unwrap();
        std::fs::write(security.dir.join("tam_required"), "").unwrap();
        assert!(security.check(Mode::RepoKey, new).is_ok());
        let changed = security.check(Mode::Plain, new);
        assert!(matches!(changed, Err(Error::KeyChanged { known: 3, found: 2 })));
        assert!(matches!(security.check(Mode::RepoKey, old), Err(Error::Replayed { .. })));
        assert!(security.tam_required());
    }
}
