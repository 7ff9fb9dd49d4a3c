//! Archives of a repository: which there are, what is in them, and the bytes of their files.
//!
//! ```text
//! open -> source: Catalog, ContentSource (native, streams)
//!    \-> load (tree), reader -> cache
//! archived -> chunks | streamed      an archive that something is taken out of
//! ```

pub mod archived;
pub mod batches;
pub mod cache;
pub mod chunks;
pub mod contents;
pub mod damage;
pub mod load;
pub mod native;
pub mod open;
mod pace;
pub mod places;
pub mod progress;
pub mod reader;
pub mod source;
pub mod storage;
pub mod streamed;
pub mod streams;
pub mod survey;
pub mod workers;
