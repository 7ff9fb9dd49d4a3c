//! The log of a mount in the background.

use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::directories;
use crate::error::{Error, Result};

/// The messages of a mount in the background.
pub struct Log {
    file: File,
    path: Option<PathBuf>,
    /// The directory in memory that holds it, if there is one.
    directory: Option<TempDir>,
}

impl Log {
    /// Makes it in the state directory; if that fails, in memory; if that fails, nowhere. No mount
    /// fails for lack of a log.
    ///
    /// # Errors
    /// When there is not even a /dev/null.
    pub fn new() -> Result<Self> {
        let why = match in_state() {
            Ok((file, path)) => return Ok(Log { file, path: Some(path), directory: None }),
            Err(e) => e.chain(),
        };
        if let Ok(directory) = directories::in_memory()
            && let Ok(file) = appended(&directory.path().join("log"))
        {
            let path = directory.path().join("log");
            tracing::warn!("the mount's log is {}: {why}", path.display());
            return Ok(Log { file, path: Some(path), directory: Some(directory) });
        }
        tracing::warn!("the mount has no log: {why}");
        let null = File::options().write(true).open("/dev/null");
        let file = null.map_err(|e| Error::failed("cannot open /dev/null").because(e))?;
        Ok(Log { file, path: None, directory: None })
    }

    pub fn file(&self) -> &File {
        &self.file
    }

    /// An empty log is of no use.
    pub fn close(self) {
        if self.file.metadata().is_ok_and(|m| m.len() == 0) {
            if let Some(path) = &self.path {
                let _ = std::fs::remove_file(path);
            }
        } else if let Some(directory) = self.directory {
            let _ = directory.keep();
        }
    }
}

fn in_state() -> Result<(File, PathBuf)> {
    let path = directories::mount_log()?;
    path.parent().map_or(Ok(()), directories::make_private)?;
    match appended(&path) {
        Ok(file) => Ok((file, path)),
        Err(e) => Err(Error::failed(format!("cannot write the log {}", path.display())).because(e)),
    }
}

fn appended(path: &Path) -> std::io::Result<File> {
    File::options().append(true).create(true).mode(0o600).open(path)
}
