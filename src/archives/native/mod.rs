//! Source two: chunks, read through `borg_repository`. One seek costs one chunk.
//!
//! Chunks are kept by their own number, not by that of the file, so a chunk that files or archives
//! share is fetched once; chunks of zeros are known by their id and never fetched. A chunk that
//! several reads want at once is fetched by one of them ([`single_flight`]), and reads that follow each
//! other are read ahead of ([`readahead`]). The repository is not locked: chunks never change, and one
//! that moved is looked up again.

mod catalog;
mod fetcher;
mod layout;
mod lists;
mod opening;
mod readahead;
mod saved;
mod sealed;
mod shared;
mod single_flight;
mod source;

pub use catalog::NativeCatalog;
pub use lists::Lists;
pub use opening::{NotOpened, find_passphrase};
