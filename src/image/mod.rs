//! What one does with a volume in an archive.
//!
//! ```text
//! inside -> attach -> background (mount | writable -> overlay -> origin, blocks), filesystem
//!      \-> detach -> attachment (what is remembered)
//! ```

pub mod against;
pub mod archived;
pub mod attach;
pub mod attachment;
pub mod attributes;
mod background;
pub mod bill;
mod blocks;
pub mod bookmark;
mod buffer;
pub mod chunks;
pub mod compare;
pub mod damage;
pub mod detach;
pub mod files;
pub mod filesystem;
mod identity;
mod in_use;
pub mod inside;
pub mod naming;
pub mod new_volume;
mod origin;
mod overlay;
pub mod place;
pub mod progress;
pub mod request;
pub mod restore;
mod sample;
mod spot_check;
mod streamed;
mod survey;
pub mod target;
pub mod verify;
mod workers;
mod writable;
mod writer;
