//! The chunks of a file's content.

use super::id::Id;

/// A chunk of a file's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunk {
    /// The id of its object: a keyed hash of the plain bytes.
    pub id: Id,
    /// The size of the plain bytes.
    pub size: u32,
    /// The size of the object when it was written. If another file had added the same chunk before,
    /// with another compression, the size may be wrong.
    pub stored: u32,
}

/// The chunk lists of an item.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChunkLists {
    /// The chunks of the content, in order.
    pub chunks: Vec<Chunk>,
    /// The original chunks of a damaged file, the same number; empty for others. They may have come
    /// back since.
    pub healthy: Vec<Chunk>,
}
