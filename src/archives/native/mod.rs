//! The native source: chunks, read through `borg_repository`. A seek costs one chunk.
//!
//! The cache knows chunks by their id and not by the file, so a chunk that files or
//! archives share is fetched once. Chunks of zeros are known by their id and never fetched. If
//! several reads want a chunk at once, one of them fetches it ([`single_flight`]). Sequential reads
//! are read ahead ([`readahead`]). The repository is not locked: chunks never change, and a chunk
//! that moved is looked up again.

mod assembling;
mod catalog;
mod fetcher;
mod layout;
mod loader;
mod opening;
mod readahead;
mod saved;
mod sealed;
mod shared;
mod single_flight;
mod source;
mod spans;

pub use catalog::NativeCatalog;
pub use opening::{NotOpened, find_passphrase};
pub use spans::span;
