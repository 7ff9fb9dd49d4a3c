//! Reads repositories of BorgBackup 1.x without borg: their archives, the items of an archive, and
//! the chunks of files. A repository is a directory on this machine ([`Local`]), or behind `borg
//! serve` ([`Remote`]). Nothing is written to it, and no lock is taken.
//!
//! Nothing from a repository is trusted before it is authenticated, and no size is believed before
//! memory is taken. The README has the details.
//!
//! ```no_run
//! use std::path::Path;
//! use std::sync::Arc;
//!
//! use borg_repository::{Credentials, Local, Repository};
//!
//! # fn main() -> borg_repository::Result<()> {
//! let mut passphrase = Some(Arc::new(b"secret".to_vec().into()));
//! let credentials = Credentials {
//!     key_files: &[],
//!     passphrases: &mut || passphrase.take(),
//!     security: None,
//!     may_lack_key: false,
//! };
//! let repository = Repository::open(Arc::new(Local::open(Path::new("/srv/backup"))?), credentials)?;
//! for entry in &repository.manifest().archives {
//!     let archive = repository.archive(&entry.id)?;
//!     repository.items(&archive, || Ok(()), |item, chunks| {
//!         println!("{}: {} bytes in {} chunks", item.path, item.size, chunks.chunks.len());
//!     })?;
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # The modules
//!
//! ```text
//! repository                             the whole: archives, items, chunks
//! borg1, behind the trait in format      what the bytes of an object mean
//! manifest | archive | items | security  what is in a repository
//! signed, tam                            whether someone with the key wrote it
//! key | crypto | compression             from an object to its plain bytes
//! cached                                 objects of a server, kept on disk
//! local | remote, behind store           from an id to an object: a directory, a server
//! index, segment, config                 the files of a directory
//! ```

#![deny(missing_docs, clippy::unwrap_used)]

mod archive;
mod borg1;
mod cached;
mod chunks;
mod compression;
mod config;
mod credentials;
mod crypto;
mod error;
mod format;
mod id;
mod index;
mod item;
mod items;
mod key;
mod local;
mod manifest;
mod msgpack;
mod path;
mod remote;
mod repository;
pub mod secret;
mod security;
mod segment;
mod signed;
mod store;
mod tam;
mod zeros;

pub use archive::Archive;
pub use chunks::{Chunk, ChunkLists};
pub use credentials::Credentials;
pub use error::{Error, Result};
pub use id::Id;
pub use item::{FileType, Item, NOBODY, Xattr};
pub use items::{ItemParser, ItemSink, LARGE, ListKind, length_of_items, parse_items};
pub use local::Local;
pub use manifest::{Manifest, ManifestEntry};
pub use path::ItemPath;
pub use remote::{Connect, Connection, Remote};
pub use repository::{Repository, Request};
pub use security::SecurityRules;
pub use store::{Object, Pending, Store};
pub use tam::Authenticity;

/// The parsers, for fuzzing and for tests that break a repository on purpose. It promises nothing.
#[doc(hidden)]
pub mod internals {
    pub use crate::archive::Archive;
    pub use crate::compression::{Size, decompress};
    pub use crate::config::Config;
    pub use crate::crypto::{Crypto, Mode, Secrets};
    pub use crate::index::Index;
    pub use crate::key::{Locked, key_of};
    pub use crate::manifest::Manifest;
    pub use crate::remote::Messages;
    pub use crate::segment::{Change, MAGIC, walk};
}
