//! Making the archive of a day: plan (pure), staging (mounts), borg, retention.
//!
//! ```text
//! create -> plan -> stage -> archiver -> retention      what was left behind: leftovers
//! ```
//!
//! Nothing here prints: what happens is told to a [`Monitor`], what came of it stands in the
//! [`Report`].

mod archiver;
mod create;
mod history;
mod leftovers;
mod monitor;
mod plan;
mod retention;
mod stage;
mod state;

pub use archiver::Statistics;
pub use create::{IfExists, Options, Outcome, Report, create};
pub use leftovers::{Cleanup, Leftover, cleanup};
pub use monitor::{Event, Monitor};
pub use plan::{Entry, Plan};
pub use retention::Retention;
