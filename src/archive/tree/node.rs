//! What a tree shows.

use super::meta::Meta;

/// The number of a node in its tree; the root is 0. All others are the number of their item, counted
/// from 1.
pub type NodeId = u32;
/// The number of a file's item.
pub type ContentId = u32;

/// The root of a tree.
pub const ROOT: NodeId = 0;

/// The kind of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    Directory,
    File(ContentId),
    Symlink(Box<[u8]>),
    /// A device, FIFO or socket.
    Special,
}

/// An inode. Hard links are several names of one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    pub meta: Meta,
    pub body: Body,
    /// The number of names in this tree; for a directory as usual two, and one for each directory
    /// in it.
    pub nlink: u32,
    /// Of a file, in bytes.
    pub size: u64,
    /// How many of these are known to be in holes.
    pub holes: u64,
}
