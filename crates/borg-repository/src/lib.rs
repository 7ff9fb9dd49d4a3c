//! Reading of borg 1.x repositories by ourselves. It knows no FUSE, no command line and no
//! configuration, and starts no program.
//!
//! ```text
//! repository                             the whole: archives, items, chunks
//! manifest | archive | items | security  what is in a repository
//! tam
//! key | crypto | compression             from an object to its plain bytes
//! cached                                 objects of a server, kept on disk
//! local | remote                         from an id to an object: a folder, a server
//! index, segment, config                 the files of a folder
//! ```
//!
//! Nothing that a repository holds is trusted before it is authenticated, and nothing that it says
//! of sizes is believed before memory is taken.

pub mod archive;
pub mod cached;
pub mod compression;
pub mod config;
pub mod crypto;
pub mod error;
pub mod id;
pub mod index;
pub mod item;
pub mod items;
pub mod key;
pub mod local;
pub mod manifest;
mod msgpack;
pub mod path;
mod reader;
pub mod remote;
pub mod secret;
pub mod security;
pub mod segment;
pub mod store;
pub mod tam;
mod zeros;

pub use reader::{Credentials, Repository, Request};
