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

/// Receives the chunk lists of an item.
pub trait Chunks: Default {
    /// Another item begins.
    fn clear(&mut self);

    /// The next chunk of the content.
    fn put(&mut self, chunk: &Listed<'_>) -> Result<(), &'static str>;

    /// The next chunk of the content before `check --repair` put zeros where chunks were lost.
    fn put_healthy(&mut self, chunk: &Listed<'_>) -> Result<(), &'static str>;

    /// Whether the chunks of the healthy list are used.
    const KEPT: bool;
}

/// A chunk in the encoding of the stream.
pub struct Listed<'a> {
    pub id: &'a [u8],
    pub size: u64,
    pub stored: i64,
}

/// For callers that only need sizes.
impl Chunks for () {
    const KEPT: bool = false;

    fn clear(&mut self) {}

    fn put(&mut self, _: &Listed<'_>) -> Result<(), &'static str> {
        Ok(())
    }

    fn put_healthy(&mut self, _: &Listed<'_>) -> Result<(), &'static str> {
        Ok(())
    }
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

impl Chunks for ChunkLists {
    const KEPT: bool = true;

    fn clear(&mut self) {
        self.chunks.clear();
        self.healthy.clear();
    }

    fn put(&mut self, chunk: &Listed<'_>) -> Result<(), &'static str> {
        self.chunks.push(chunk.try_into()?);
        Ok(())
    }

    fn put_healthy(&mut self, chunk: &Listed<'_>) -> Result<(), &'static str> {
        self.healthy.push(chunk.try_into()?);
        Ok(())
    }
}

impl TryFrom<&Listed<'_>> for Chunk {
    type Error = &'static str;

    fn try_from(listed: &Listed<'_>) -> Result<Self, &'static str> {
        let id = Id::from_bytes(listed.id).ok_or("a chunk with an invalid id")?;
        let size = u32::try_from(listed.size).map_err(|_| "a chunk that is too large")?;
        Ok(Chunk { id, size, stored: u32::try_from(listed.stored).unwrap_or(0) })
    }
}
