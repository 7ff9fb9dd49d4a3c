//! borg: the repository, the environment, and our calls.
//!
//! ```text
//! preflight -> obstacle  what is in the way
//! origins                where archives come from
//! calls -> failure       our own calls, and what a failure means
//! commands               borg with its environment
//! tries, places, unlocked, remote_path
//! client                 the repository, the key, the passphrase
//! ```

mod arguments;
mod calls;
mod client;
mod commands;
mod credential;
mod failure;
mod foreign;
mod lock;
mod log;
mod obstacle;
mod origins;
mod passphrase;
mod places;
mod preflight;
mod remote_path;
mod serve;
mod tries;
mod unlocked;

pub use arguments::{archive_argument, argument_length, dotted_path_and_below, exact_path, path_and_below};
pub use calls::warned;
pub use client::Borg;
pub use failure::{
    RELOCATED, UNKNOWN_UNENCRYPTED, connection_closed, explain, no_key, no_repository, not_allowed,
    not_authentic, unanswered, wrong_passphrase,
};
pub use lock::holders;
pub use log::{Level, Line, Progress};
pub use origins::Origins;
pub use places::{answered_yes, has_workaround};
pub use preflight::{Need, Preflight};
pub use serve::{Server, Serving};
pub use unlocked::locking_reader;
