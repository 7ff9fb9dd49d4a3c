//! An image as a stream of borg, from the first byte to the last.

use std::path::PathBuf;
use std::sync::Arc;

use super::cache::{Cache, Limits};
use super::reader::{Reader, Shelf};
use super::source::{Catalog, ReadError};
use crate::archive::name::Archive;
use crate::archive::tree::{ContentId, Tree};
use crate::error::{Error, Kind, Result};
use crate::process::interrupt;

/// The bytes that are read at once.
const STEP: u64 = 4 << 20;
/// How many bytes the stream may be ahead of the reader; its window is 64 MiB.
const AHEAD: u64 = 128 << 20;

/// An image that borg streams.
pub struct Streamed {
    reader: Reader,
    content: ContentId,
    size: u64,
    archive: String,
}

impl Streamed {
    pub fn new(
        catalog: &dyn Catalog,
        archive: &Archive,
        tree: &Arc<Tree>,
        content: ContentId,
        size: u64,
    ) -> Result<Self> {
        let cache = Cache::new(&Limits { memory: AHEAD, scratch: 0, dir: PathBuf::new() })?;
        let shelf = Shelf::new(Arc::new(cache), catalog.layout(archive, 0, tree));
        let source = catalog.contents(archive, Arc::clone(tree), Arc::new(shelf.clone()));
        let archive = archive.name.clone();
        Ok(Streamed { reader: Reader::new(shelf, source), content, size, archive })
    }

    /// Passes all bytes to `each`, with their positions.
    ///
    /// # Errors
    /// When the bytes do not arrive; [`Kind::Disconnected`] when the connection dropped; the errors
    /// of `each`.
    pub fn each(&self, mut each: impl FnMut(u64, Vec<u8>) -> Result<()>) -> Result<()> {
        let mut at = 0;
        while at < self.size {
            let end = self.size.min(at + STEP);
            let bytes = self.reader.read(self.content, at..end).map_err(|e| self.message(e))?;
            each(at, bytes)?;
            at = end;
        }
        Ok(())
    }

    fn message(&self, e: ReadError) -> Error {
        if let Err(interrupted) = interrupt::check() {
            return interrupted;
        }
        let kind = if matches!(e, ReadError::Disconnected(_)) { Kind::Disconnected } else { Kind::Failed };
        Error::new(kind, format!("cannot read the archive {}", self.archive)).because(e)
    }
}
