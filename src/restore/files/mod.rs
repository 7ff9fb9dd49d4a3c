//! Files and directories of an archive into a directory: only what differs is fetched and written.
//!
//! ```text
//! Plan (what, where to) -> survey (what is there) -> write -> prepare -> fetch -> commit -> finish
//! ```
//!
//! [`survey`] looks at what is in the directory, so that conflicts are known before anything is written. Then
//! [`write`] walks through the archive and makes directories, links and devices; [`prepare`] finds for each file which
//! of its bytes lie on this machine; [`fetch`] gets the others; [`commit`] makes files whole once their bytes are on the
//! disk; and [`finish`] deletes, and gives directories their attributes. All of it works on names in open directories,
//! so no link leads it elsewhere.

mod commit;
mod content;
mod delete;
mod deletions;
mod estimate;
mod fetch;
mod file;
mod finish;
mod links;
mod look;
mod missing;
mod parent;
mod plan;
mod prepare;
mod problems;
mod report;
mod same;
mod scope;
mod seeds;
mod survey;
mod tally;
mod verdict;
mod write;

pub use deletions::{Deletion, Protection};
pub use estimate::Estimate;
pub use plan::{Plan, Request};
pub use problems::Problem;
pub use report::Report;
pub use survey::Survey;
