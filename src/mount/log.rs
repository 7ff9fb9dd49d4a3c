//! The log of a mount in the background.

use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use crate::error::{Error, Result};
use crate::folders;

/// What a mount in the background has to say.
pub struct Log {
    file: File,
    path: PathBuf,
}

impl Log {
    /// # Errors
    /// When it cannot be written.
    pub fn new() -> Result<Self> {
        let path = folders::mount_log()?;
        path.parent().map_or(Ok(()), folders::make_private)?;
        let file = File::options()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&path)
            .map_err(|e| Error::failed(format!("cannot write the log {}", path.display())).because(e))?;
        Ok(Log { file, path })
    }

    pub fn file(&self) -> &File {
        &self.file
    }

    /// A log in which nothing stands is of no use.
    pub fn close(self) {
        if self.file.metadata().is_ok_and(|m| m.len() == 0) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}
