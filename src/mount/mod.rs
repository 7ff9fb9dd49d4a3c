//! Archives as a read-only FUSE tree.
//!
//! ```text
//! open -> session -> fuse -> fs -> reader -> cache
//!                                        \-> source (native, streams)
//! ```

mod acl;
pub mod archives;
pub mod fs;
mod fuse;
mod links;
mod look;
pub mod open;
pub mod session;
