//! What one does with a volume in an archive.
//!
//! ```text
//! inside -> attach -> background (mount | writable -> overlay -> origin, blocks), filesystem
//!      \-> detach -> attachment (what is remembered)
//! ```

pub mod attach;
pub mod attachment;
mod background;
mod blocks;
pub mod detach;
pub mod filesystem;
pub mod inside;
pub mod naming;
mod origin;
mod overlay;
mod writable;
