//! How much the last run of each repository read, for estimating the remaining time. Nothing
//! depends on it: a file that cannot be read or written counts as missing.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::directories;

const FILE: &str = "totals.json";

/// The bytes that the last run read, by repository.
pub struct Totals {
    dir: Option<PathBuf>,
    totals: BTreeMap<String, u64>,
}

impl Totals {
    pub fn load() -> Totals {
        Totals::load_from(directories::cache_dir().ok())
    }

    fn load_from(dir: Option<PathBuf>) -> Totals {
        let read = |dir: &Path| serde_json::from_slice(&std::fs::read(dir.join(FILE)).ok()?).ok();
        let totals = dir.as_deref().and_then(read).unwrap_or_default();
        Totals { dir, totals }
    }

    /// In bytes.
    pub fn expected(&self, repository: &str) -> Option<u64> {
        self.totals.get(repository).copied()
    }

    pub fn remember(mut self, repository: &str, bytes: u64) {
        self.totals.insert(repository.to_owned(), bytes);
        let _ = self.save();
    }

    fn save(&self) -> Option<()> {
        let dir = self.dir.as_deref()?;
        directories::make_private(dir).ok()?;
        let mut file = tempfile::NamedTempFile::new_in(dir).ok()?;
        file.write_all(&serde_json::to_vec_pretty(&self.totals).ok()?).ok()?;
        file.persist(dir.join(FILE)).ok()?;
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_are_kept_for_each_repository() {
        let dir = tempfile::tempdir().unwrap();
        let load = || Totals::load_from(Some(dir.path().join("cache")));
        load().remember("/a", 5);
        load().remember("ssh://b", 7);
        assert_eq!(load().expected("/a"), Some(5));
        assert_eq!(load().expected("ssh://b"), Some(7));
        assert_eq!(load().expected("/c"), None);
    }

    #[test]
    fn a_broken_file_is_as_good_as_none() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(FILE), "{").unwrap();
        assert_eq!(Totals::load_from(Some(dir.path().to_owned())).expected("/a"), None);
        Totals::load_from(None).remember("/a", 5);
    }
}
