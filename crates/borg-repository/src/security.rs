//! Borg's security database: what borg saw of a repository when it last used it. It is only read.

use std::io::ErrorKind;
use std::path::PathBuf;

use super::crypto::Mode;
use super::error::{Error, Result};
use super::id::Id;

/// What a repository is compared with.
#[derive(Debug, Clone)]
pub struct SecurityRules {
    /// The directory with a subdirectory for each repository: `BORG_SECURITY_DIR`, or `security` in
    /// borg's configuration directory.
    pub database: PathBuf,
    /// The address of the repository, as borg writes it.
    pub location: String,
    /// The user accepts that the repository moved since borg last used it.
    pub may_have_moved: bool,
    /// The user accepts a repository that borg never used and that needs no secret.
    pub may_be_unknown: bool,
}

/// The directory of a repository in the database; it may not exist.
pub struct Security {
    dir: PathBuf,
    rules: SecurityRules,
}

impl Security {
    pub fn new(rules: SecurityRules, repository: &Id) -> Self {
        Security { dir: rules.database.join(repository.to_string()), rules }
    }

    /// Whether borg has seen authenticated manifests of the repository.
    pub fn tam_required(&self) -> bool {
        self.dir.join("tam_required").exists()
    }

    /// Compares the repository with what borg saw, in borg's order. `secret`: reading it needs a
    /// secret. `timestamp` is that of the manifest.
    ///
    /// # Errors
    /// `Unknown`, `Relocated`, `KeyChanged` and `Replayed` when they differ, `Io` when the database
    /// cannot be read.
    pub fn check(&self, mode: Mode, secret: bool, timestamp: &str) -> Result<()> {
        if !secret && !self.rules.may_be_unknown && !self.is_known() {
            return Err(Error::Unknown);
        }
        let place = &self.rules.location;
        if let Some(known) = self.read("location")?
            && known != *place
            && !self.rules.may_have_moved
        {
            return Err(Error::Relocated { known, found: place.clone() });
        }
        let found = mode as u8;
        if let Some(known) = self.read("key-type")?.and_then(|text| text.parse().ok())
            && known != found
        {
            return Err(Error::KeyChanged { known, found });
        }
        match self.read("manifest-timestamp")? {
            // Both have the same format, in which later times sort last.
            Some(known) if *known > *timestamp => Err(Error::Replayed { known, found: timestamp.into() }),
            _ => Ok(()),
        }
    }

    /// Whether borg knows the repository.
    fn is_known(&self) -> bool {
        ["key-type", "location", "manifest-timestamp"].iter().all(|name| self.dir.join(name).exists())
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

    fn rules(database: &std::path::Path) -> SecurityRules {
        let database = database.to_owned();
        SecurityRules { database, location: "/srv/b".into(), may_have_moved: false, may_be_unknown: false }
    }

    fn write(security: &Security, name: &str, text: &str) {
        std::fs::create_dir_all(&security.dir).unwrap();
        std::fs::write(security.dir.join(name), text).unwrap();
    }

    #[test]
    fn a_repository_that_moved_is_refused_unless_the_user_knows_of_it() {
        let base = tempfile::tempdir().unwrap();
        let mut security = Security::new(rules(base.path()), &Id([1; 32]));
        write(&security, "location", "/srv/b");
        assert!(security.check(Mode::KeyFile, true, "1").is_ok());
        write(&security, "location", "ssh://host/srv/b");
        let moved = security.check(Mode::KeyFile, true, "1");
        assert!(matches!(moved, Err(Error::Relocated { known, found })
            if known == "ssh://host/srv/b" && found == "/srv/b"));
        security.rules.may_have_moved = true;
        assert!(security.check(Mode::KeyFile, true, "1").is_ok());
    }

    #[test]
    fn a_repository_that_anybody_could_have_made_must_be_known_to_borg_or_the_user() {
        let base = tempfile::tempdir().unwrap();
        let mut security = Security::new(rules(base.path()), &Id([1; 32]));
        let check = |security: &Security| security.check(Mode::Plain, false, "1");
        assert!(matches!(check(&security), Err(Error::Unknown)));
        assert!(security.check(Mode::RepoKey, true, "1").is_ok());
        security.rules.may_be_unknown = true;
        assert!(check(&security).is_ok());
        security.rules.may_be_unknown = false;
        write(&security, "key-type", "2");
        write(&security, "location", "/srv/b");
        assert!(matches!(check(&security), Err(Error::Unknown)), "borg wants all three files");
        write(&security, "manifest-timestamp", "1");
        assert!(check(&security).is_ok());
    }

    #[test]
    fn another_key_and_an_older_manifest_are_refused() {
        let base = tempfile::tempdir().unwrap();
        let security = Security::new(rules(base.path()), &Id([1; 32]));
        let (old, new) = ("2026-11-23T10:00:00.000000", "2026-11-23T10:00:00.000001");
        assert!(security.check(Mode::RepoKey, true, old).is_ok(), "a repository that borg never saw");
        assert!(!security.tam_required());
        std::fs::create_dir(&security.dir).unwrap();
        std::fs::write(security.dir.join("key-type"), "3").unwrap();
        std::fs::write(security.dir.join("manifest-timestamp"), new).unwrap();
        std::fs::write(security.dir.join("tam_required"), "").unwrap();
        assert!(security.check(Mode::RepoKey, true, new).is_ok());
        let changed = security.check(Mode::KeyFile, true, new);
        assert!(matches!(changed, Err(Error::KeyChanged { known: 3, found: 0 })));
        assert!(matches!(security.check(Mode::RepoKey, true, old), Err(Error::Replayed { .. })));
        assert!(security.tam_required());
    }
}
