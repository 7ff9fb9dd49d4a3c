//! Archives as a read-only FUSE tree.

pub mod cache;
pub mod source;
pub mod streams;
