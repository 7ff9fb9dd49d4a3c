//! Archives as a read-only FUSE tree.
//!
//! ```text
//! open -> session -> fuse -> fs -> reader -> cache
//!                                        \-> source (native, streams)
//! ```

mod acl;
pub mod archives;
pub mod cache;
pub mod fs;
mod fuse;
mod links;
pub mod log;
mod look;
pub mod native;
pub mod open;
pub mod owners;
mod pace;
pub mod reader;
pub mod session;
pub mod source;
pub mod streams;
