//! Attaches an image in an archive as a block device, and detaches it.

pub mod attach;
pub mod attachment;
mod blocks;
pub mod detach;
pub mod filesystem;
pub mod found_archive;
pub mod inside;
mod origin;
mod overlay;
mod writable;
