//! What one does with a volume in an archive.

pub mod against;
pub mod archived;
pub mod bill;
mod buffer;
pub mod chunks;
pub mod compare;
mod in_use;
pub mod naming;
pub mod progress;
pub mod restore;
mod sample;
mod streamed;
mod survey;
pub mod target;
pub mod verify;
mod workers;
mod writer;
