//! The archive as it is known now: it is read again when what was kept of it turns out to be unusable.

use std::sync::Arc;

use parking_lot::RwLock;

use super::assembly::Assembly;
use crate::error::Result;

/// Reads the archive again, after what was kept of it turned out to be unusable.
pub type Rebuild = Box<dyn Fn() -> Result<Arc<Assembly>> + Send + Sync>;

pub struct Current {
    archive: RwLock<Arc<Assembly>>,
    rebuild: Option<Rebuild>,
}

impl Current {
    pub fn new(archive: Arc<Assembly>, rebuild: Option<Rebuild>) -> Self {
        Current { archive: RwLock::new(archive), rebuild }
    }

    /// The archive as it is now.
    pub fn get(&self) -> Arc<Assembly> {
        Arc::clone(&self.archive.read())
    }

    /// Runs `work`; once more if the archive had to be read again for it.
    ///
    /// # Errors
    /// When the archive cannot be read.
    pub fn with<T>(&self, work: impl Fn(&Assembly) -> Result<T>) -> Result<T> {
        let archive = self.get();
        match work(&archive) {
            Err(error) => match &self.rebuild {
                Some(rebuild) => {
                    let mut current = self.archive.write();
                    if Arc::ptr_eq(&current, &archive) {
                        tracing::warn!("{}: it is read again from the repository", error.chain());
                        *current = rebuild()?;
                    }
                    let archive = Arc::clone(&current);
                    drop(current);
                    work(&archive)
                }
                None => Err(error),
            },
            done => done,
        }
    }
}
