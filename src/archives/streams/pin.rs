//! That an archive is still the one that was mounted. borg names archives, not their ids: one that
//! was deleted and made anew has the same name and other bytes.

use std::time::Duration;

use parking_lot::Mutex;

use crate::archive::filter::ArchiveFilter;
use crate::archive::name::Archive;
use crate::archives::source::ReadError;
use crate::error::Kind;
use crate::tools::borg::Borg;

/// An archive's name and id, and until when they are known to belong together.
pub struct Pin {
    archive: Archive,
    /// The repository's transaction at which the name was seen to have the id; `None` where there
    /// is none to see (a remote repository).
    seen: Mutex<Option<u64>>,
}

impl Pin {
    /// `seen` is the transaction from before the list in which the archive stood; with `None` borg is
    /// asked.
    pub fn new(archive: Archive, seen: Option<u64>) -> Self {
        Pin { archive, seen: Mutex::new(seen) }
    }

    /// Makes sure that the name still has the id. To be called after borg has opened the archive
    /// (it gave a byte, or ended): an id never comes back, so a name that had it before and has it
    /// now had it when borg looked.
    ///
    /// # Errors
    /// [`ReadError::Gone`] when it is another archive, or none.
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
