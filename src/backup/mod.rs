//! Making the archive of a day: plan (pure), datasets at one moment, staging (mounts), borg, retention.
//!
//! ```text
//! create -> plan -> frozen -> stage -> archiver -> retention      what was left behind: leftovers
//!   |                                                     what is somebody else's: whose
//!   |        \-> selection  \-> moment, times, manifest, bookmarks
//!   \-> hooks                                             what monitoring is told: telemetry
//! ```
//!
//! Nothing here prints: what happens is told to a [`Monitor`], what came of it stands in the
//! [`Report`].

mod archiver;
mod bookmarks;
mod caches;
mod create;
mod facts;
mod frozen;
mod history;
mod hooks;
mod leftovers;
mod manifest;
mod moment;
mod monitor;
mod plan;
mod reconnect;
mod report;
mod retention;
mod selection;
mod stage;
mod state;
mod telemetry;
mod times;
// For benches/volumes.rs.
pub mod volumes;
mod whose;
mod zfs_names;

pub use archiver::{Archived, Statistics};
pub use create::{IfExists, Options, create};
pub use hooks::Hooks;
pub use leftovers::{Cleanup, Leftover, cleanup};
pub use monitor::{Beside, Event, Monitor};
pub use plan::{Entry, Plan, Source};
pub use report::{Outcome, Report};
pub use retention::Retention;
pub use selection::{LeftOut, matches};
pub use state::run_id;
pub use telemetry::Telemetry;
pub use zfs_names::{RESTORE_PREFIX, SNAPSHOT_PREFIX};
