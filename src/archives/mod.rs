//! Archives of a repository: which there are, what is in them, and the bytes of their files.
//!
//! ```text
//! open -> source: Catalog, ContentSource (native, streams)
//!    \-> load (tree), reader -> cache
//! open_archive -> chunks | streamed  an archive that is open for reading
//! ```

pub mod batches;
pub mod cache;
pub mod chunks;
pub mod contents;
pub mod damage;
pub mod fetch;
pub mod load;
pub mod native;
pub mod open;
pub mod open_archive;
pub mod options;
mod pace;
pub mod places;
pub mod progress;
pub mod reader;
pub mod salvage;
pub mod source;
pub mod storage;
pub mod streamed;
pub mod streams;
pub mod survey;
pub mod workers;
