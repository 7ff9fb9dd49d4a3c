//! What the streams of an archive share.

use std::sync::Arc;

use super::limits::Limits;
use super::pin::Pin;
use super::slots::Slots;
use crate::archive::name::Archive;
use crate::archive::tree::{Content, ContentId, Tree};
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
    pub fn content(&self, id: ContentId) -> Result<Content<'_>, ReadError> {
        self.tree.content(id).ok_or_else(|| ReadError::Failed(format!("content {id} is not in the archive")))
    }
}

/// The path of a content, for people.
pub fn path_of(content: &Content) -> String {
    content.path().escape_ascii().to_string()
}
