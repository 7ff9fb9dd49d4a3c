//! What the streams of an archive share.

use std::sync::Arc;

use super::limits::Limits;
use super::pin::Pin;
use super::slots::Slots;
use crate::archive::name::Archive;
use crate::archive::tree::{ContentId, Place, Tree};
use crate::archives::source::{CacheSink, ReadError};
use crate::tools::borg::Borg;

/// An archive, and what its streams need.
pub struct Context {
    pub borg: Borg,
    pub archive: Archive,
    pub tree: Arc<Tree>,
    pub sink: Arc<dyn CacheSink>,
    pub slots: Arc<Slots>,
    pub limits: Limits,
    pub pin: Pin,
}

impl Context {
    pub fn file(&self, id: ContentId) -> Result<File, ReadError> {
        File::of(&self.tree, id)
    }
}

/// A file, and where its bytes are in the output of an extract.
#[derive(Debug, Clone)]
pub struct File {
    pub id: ContentId,
    /// In bytes.
    pub size: u64,
    pub damaged: bool,
    pub place: Place,
}

impl File {
    pub fn of(tree: &Tree, id: ContentId) -> Result<Self, ReadError> {
        let failed = |e: crate::error::Error| ReadError::Failed(e.chain());
        let content = tree.content(id).map_err(failed)?;
        let place = tree.place(id).map_err(failed)?;
        let missing = || ReadError::Failed(format!("content {id} is not in the archive"));
        let (content, place) = content.zip(place).ok_or_else(missing)?;
        Ok(File { id, size: content.size, damaged: content.damaged, place })
    }

    /// Whether no other file has this path.
    pub fn is_only_one(&self) -> bool {
        self.place.before == 0 && self.place.after == 0
    }

    /// Its path, for people.
    pub fn name(&self) -> String {
        self.place.path().escape_ascii().to_string()
    }
}
