//! How the cache keeps chunks.

use std::sync::Arc;

use super::spans;
use crate::archive::tree::{ContentId, Tree};
use crate::archives::source::{Layout, Piece};
use crate::error::Result;

/// Each chunk has frames of its own, so the cache keeps it once for all files that share it.
pub struct ChunkLayout {
    pub tree: Arc<Tree>,
}

impl Layout for ChunkLayout {
    fn piece(&self, content: ContentId, at: u64) -> Result<Option<Piece>> {
        spans::piece(&self.tree, content, at)
    }

    fn holes(&self, content: ContentId) -> Result<u64> {
        self.tree.holes(content)
    }
}
