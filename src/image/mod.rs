//! What one does with a volume in an archive.
//!
//! ```text
//! inside -> attach -> background (mount | writable -> overlay), filesystem
//!      \-> detach -> attachment (what is remembered)
//! ```

pub mod attach;
pub mod attachment;
mod background;
pub mod detach;
pub mod filesystem;
pub mod inside;
pub mod naming;
mod overlay;
mod writable;
