//! The chunks that a file's content consists of.

use super::id::Id;

/// One chunk of a file's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunk {
    /// The id of its object, which the key makes of the plain bytes.
    pub id: Id,
    /// Plain bytes.
    pub size: u32,
    /// Bytes of the object when it was written. Where another file had brought the same chunk
    /// before, compressed otherwise, the object may have another length.
    pub stored: u32,
}

/// Where the chunk lists of an item go.
pub trait Chunks: Default {
    /// Another item begins.
    fn clear(&mut self);

    /// The next chunk of the content.
    fn put(&mut self, chunk: &Listed<'_>) -> Result<(), &'static str>;

    /// The next chunk of the content as it was before `check --repair` put zeros where chunks
    /// were lost.
    fn put_healthy(&mut self, chunk: &Listed<'_>) -> Result<(), &'static str>;

    /// Whether there is anything to be done with chunks of the healthy list.
    const KEPT: bool;
}

/// A chunk as it stands in the stream.
pub struct Listed<'a> {
    pub id: &'a [u8],
    pub size: u64,
    pub stored: i64,
}

/// For those who need only sizes.
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
    /// In the order of the content.
    pub chunks: Vec<Chunk>,
    /// The original chunks of a damaged file, as many; otherwise none. They may have come back
    /// since.
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
