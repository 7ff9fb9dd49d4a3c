//! Makes sure that an archive is still the one that was mounted. borg knows archives by name and
//! not by id: an archive that was deleted and made again has the same name and other bytes.

use std::time::Duration;

use parking_lot::Mutex;

use crate::archive::filter::ArchiveFilter;
use crate::archive::name::Archive;
use crate::archives::source::ReadError;
use crate::error::Kind;
use crate::tools::borg::Borg;

/// An archive's name and id, and the transaction at which they belonged together.
pub struct Pin {
    archive: Archive,
    /// The repository's transaction at which the name had the id; `None` if transactions cannot be
    /// seen (a remote repository).
    seen: Mutex<Option<u64>>,
}

impl Pin {
    /// `seen` is the transaction before the archive was listed; with `None`, borg is asked.
    pub fn new(archive: Archive, seen: Option<u64>) -> Self {
        Pin { archive, seen: Mutex::new(seen) }
    }

    /// Makes sure that the name still has the id. Must be called after borg has opened the archive
    /// (it returned a byte, or ended). Ids never return, so a name that had this id before and has
    /// it now had it when borg looked.
    ///
    /// # Errors
    /// [`ReadError::Gone`] when the name belongs to another archive, or to none.
    pub fn confirm(&self, borg: &Borg, lock_wait: Duration) -> Result<(), ReadError> {
        let mut seen = self.seen.lock();
        let now = borg.transaction();
        if now.is_some() && now == *seen {
            return Ok(());
        }
        let filter = ArchiveFilter { consider_checkpoints: true, ..ArchiveFilter::default() };
        let archives = borg.archives(&filter, lock_wait).map_err(|e| match e.kind() {
            Kind::Disconnected => ReadError::Disconnected(e.chain()),
            _ => ReadError::Failed(e.chain()),
        })?;
        match archives.iter().find(|a| a.name == self.archive.name) {
            Some(found) if found.id == self.archive.id => {
                *seen = now;
                Ok(())
            }
            Some(_) => Err(self.gone("was replaced by another of the same name")),
            None => Err(self.gone("was deleted")),
        }
    }

    pub fn gone(&self, how: &str) -> ReadError {
        ReadError::Gone(format!("the archive {} {how} while it was mounted", self.archive.name))
    }
}
