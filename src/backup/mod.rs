//! Making the archive of a day: plan (pure), datasets at one moment, staging (mounts), borg, retention.
//!
//! ```text
//! create -> plan -> frozen -> stage -> archiver -> retention      what was left behind: leftovers
//!            \-> selection  \-> moment, times, manifest, bookmarks
//! ```
//!
//! Nothing here prints: what happens is told to a [`Monitor`], what came of it stands in the
//! [`Report`].

mod archiver;
mod bookmarks;
mod create;
mod frozen;
mod history;
mod leftovers;
mod manifest;
mod moment;
mod monitor;
mod plan;
mod reconnect;
mod retention;
mod selection;
mod stage;
mod state;
mod times;
// For benches/volumes.rs.
pub mod volumes;

pub use archiver::Statistics;
pub use create::{IfExists, Options, Outcome, Report, create};
pub use leftovers::{Cleanup, Leftover, cleanup};
pub use monitor::{Event, Monitor};
pub use plan::{Entry, Plan, Source};
pub use retention::Retention;
pub use selection::{LeftOut, matches};
