//! The tree that the items of an archive make: directories, hard links, and the place of each file's
//! bytes in the archive.
//!
//! A tree reads what it is asked for, and keeps little of it in memory:
//!
//! ```text
//! Tree      names and attributes as a view shows them
//! Assembly  the leaves of an archive in its order, looked up by path and by number
//! Part      leaves that were made together, with tables of their paths; archives share them
//! Leaf      the items of one piece of metadata
//! Pages     the leaves, tables and lists that were used last
//! Blobs     their bytes: in memory, or in a file
//! ```

mod assembler;
mod assembly;
mod builder;
mod children;
mod content;
mod current;
mod leaf;
mod leaf_builder;
mod limits;
mod meta;
mod node;
mod pages;
mod part;
mod path_hash;
mod paths;
mod records;
mod repeats;
mod shown;
mod stripped;
mod table;
#[expect(clippy::module_inception)]
mod tree;
mod view;

pub use assembler::Assembler;
pub use assembly::{Assembly, Run};
pub use builder::TreeBuilder;
pub use children::{Child, Children};
pub use content::{Content, Place};
pub use leaf_builder::{Built, LeafBuilder};
pub use limits::LARGEST_XATTR;
pub use meta::{Extra, Meta};
pub use node::{Body, ContentId, Node, NodeId};
pub use pages::{BlobWriter, Blobs, Pages, unusable};
pub use part::{LeafKey, NAMELESS, Part, PartName};
pub use path_hash::PathHasher;
pub use records::ChunkRecord;
pub use tree::Tree;
pub use view::View;

#[cfg(test)]
mod tests;
