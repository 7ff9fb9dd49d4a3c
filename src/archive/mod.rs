//! Pure data: the name of an archive, the raw-byte path of an item, an item, and the tree that the
//! items of an archive make.

pub mod filter;
pub mod item;
pub mod name;
pub mod path;
pub mod tree;
