//! What an image is written to, or compared with: a block device or a file, identified by what it
//! is and not by its path.

pub mod buffer;
mod identity;
mod in_use;
pub mod open;
pub mod place;
pub mod runs;
