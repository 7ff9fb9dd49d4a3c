//! What an image is written to, or held against: a block device or a file, known by what it is and
//! not by its path.

pub mod buffer;
mod identity;
mod in_use;
pub mod open;
pub mod place;
pub mod runs;
