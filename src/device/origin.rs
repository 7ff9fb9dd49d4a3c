//! The header of a file of changes, which names the image.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use serde::{Deserialize, Serialize};

use super::blocks::{MAP_AT, read_or_zeros};
use crate::error::{Error, Kind, Result};

const FORMAT: u32 = 1;

/// The image to which changes belong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    format: u32,
    /// The archive's id: 64 hex digits.
    archive: String,
    /// The path in the archive, with other bytes than ASCII escaped.
    path: String,
    /// The size of the image in bytes.
    size: u64,
}

impl Origin {
    pub fn new(archive: &str, path: &[u8], size: u64) -> Origin {
        Origin { format: FORMAT, archive: archive.to_owned(), path: path.escape_ascii().to_string(), size }
    }

    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, store: &File) -> io::Result<()> {
        let line = [&serde_json::to_vec(self)?[..], b"\n"].concat();
        store.write_all_at(&line, 0)
    }

    /// # Errors
    /// [`Kind::Usage`] when the header is invalid, or names another image.
    pub fn check(&self, store: &File) -> Result<()> {
        let mut header = vec![0; MAP_AT as usize];
        read_or_zeros(store, 0, &mut header)
            .map_err(|e| Error::failed("cannot read the file of the changes").because(e))?;
        let line = header.split(|b| *b == b'\n').next().unwrap_or_default();
        let found: Origin = serde_json::from_slice(line)
            .map_err(|_| Error::usage("the file holds no changes that this version knows"))?;
        if found == *self {
            return Ok(());
        }
        let Origin { archive, path, size, .. } = found;
        let whose = format!("they are of {path} ({size} bytes) in the archive with the id {archive}");
        Err(Error::new(Kind::Usage, "the file holds changes to another image").hint(whose))
    }
}
