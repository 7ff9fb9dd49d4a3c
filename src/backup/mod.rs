//! Makes the archive of a day, in steps that each consume the one before.
//!
//! ```text
//! planned -> frozen -> staged -> archived -> pruned
//!    |         |         |          |          \-> prune: retention, bookmarks
//!    |         |         |          \-> placing (the names of a day) -> make -> archiver (`borg create`)
//!    |         |         \-> stage: mounts of our own, volumes as files
//!    |         \-> snapshot_set, times, dataset_list
//!    \-> plan, selection (pure)
//! ```
//!
//! Frozen and staged own resources, and give them back in reverse order, also if a step fails or a
//! signal ends the run. [`create`] performs the steps. Nothing here prints: a [`Listener`] receives
//! the events, and the [`Report`] has the outcome.

mod archived;
mod archiver;
mod bookmarks;
mod borg_log;
mod caches;
mod create;
mod dataset_list;
mod events;
mod existing;
mod facts;
mod frozen;
mod hooks;
mod job;
mod leftovers;
mod listed;
mod make;
mod placing;
mod plan;
mod planned;
mod prune;
mod report;
mod retention;
mod retry;
mod selection;
mod snapshot_set;
mod stage;
mod staged;
mod state;
mod telemetry;
mod times;
mod totals;
// For benches/volumes.rs.
pub mod volumes;
mod whose;

pub use archived::{Archived, Statistics};
pub use create::create;
pub use events::{Beside, Event, Listener};
pub use hooks::Hooks;
pub use job::{IfExists, Options};
pub use leftovers::{Cleanup, Leftover, cleanup};
pub use plan::{Plan, PlanEntry, PlanSource};
pub use report::{Outcome, Report};
pub use retention::Retention;
pub use selection::{LeftOut, matches};
pub use telemetry::Telemetry;
