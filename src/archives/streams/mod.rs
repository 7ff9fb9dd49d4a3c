//! Source one: streams of `borg extract --stdout`. It works with every borg there is, and the bytes
//! are borg's own; but a stream starts at byte 0 of a file and only goes forward.
//!
//! So: one stream a file, which every reader of the file joins ([`long`]); what passes is kept; many
//! small files come through one stream ([`batch`]); the number of borg processes is bounded
//! ([`slots`]); a stream that nobody needs ends, and with it the lock that it holds in the
//! repository; and nothing is given out before it is sure that it is still the same archive
//! ([`pin`]).

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
