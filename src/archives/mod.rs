//! Archives of a repository: which there are, what is in them, and the bytes of their files.

pub mod archived;
pub mod cache;
pub mod chunks;
pub mod damage;
pub mod native;
pub mod open;
mod pace;
pub mod progress;
pub mod reader;
pub mod source;
pub mod streamed;
pub mod streams;
pub mod survey;
pub mod workers;
