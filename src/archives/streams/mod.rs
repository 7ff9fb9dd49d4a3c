//! The stream source: `borg extract --stdout`. It works with every version of borg, and the bytes
//! are borg's own, but a stream starts at byte 0 of a file and only moves forward.
//!
//! All readers of a large file share one stream ([`long`]), and the cache keeps what passes. Many
//! small files share one stream ([`batch`]). The number of borg processes is limited ([`slots`]).
//! An unused stream ends and releases its lock on the repository. Nothing is returned before it is
//! certain that the archive is still the same ([`pin`]).

mod batch;
mod catalog;
mod context;
mod extract;
mod limits;
mod long;
mod pin;
mod slots;
mod source;

pub use catalog::BorgCatalog;
pub use limits::Limits;
