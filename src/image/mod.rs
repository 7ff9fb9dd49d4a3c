//! What one does with a volume in an archive.

pub mod archived;
pub mod chunks;
pub mod compare;
mod in_use;
pub mod naming;
pub mod progress;
pub mod restore;
mod streamed;
mod survey;
pub mod target;
mod workers;
mod writer;
