//! How the cache keeps chunks.

use std::sync::Arc;

use super::lists::Lists;
use super::shared::Shared;
use crate::archive::tree::{ContentId, Tree};
use crate::archives::source::{Layout, Piece};

/// Each chunk has frames of its own, so the cache keeps it once for all files that share it.
pub struct ChunkLayout {
    pub shared: Arc<Shared>,
    pub tree: Arc<Tree>,
    pub lists: Arc<Lists>,
}

impl Layout for ChunkLayout {
    fn piece(&self, content: ContentId, at: u64) -> Option<Piece> {
        self.lists.piece(self.tree.content(content)?.item, at, &self.shared.numbers)
    }

    fn holes(&self, content: ContentId) -> u64 {
        self.tree.content(content).map_or(0, |content| self.lists.holes(content.item))
    }
}
