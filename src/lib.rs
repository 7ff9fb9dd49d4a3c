//! A restore-first toolkit around BorgBackup, for ZFS machines and Qubes OS dom0.
//!
//! # The modules, and the one way between them
//!
//! ```text
//! main                      parse, hand over, exit code
//! cli                       the command line; the one place that prints and picks exit codes
//! restore | verify | device | mount | backup | listing    none knows another
//! archives                  which archives there are, their trees, the bytes of their files
//! tools                     one typed file per outside program; tools/fuse: what all FUSE file systems share
//! config | process | archive | directories | error | escape | progress
//! ```
//!
//! `crates/borg-repository` reads borg 1.x repositories. `archives` and `archive` use it, and those above
//! them. It knows nothing of this package.
//!
//! A module uses those on lower lines, never those above or beside it. ARCHITECTURE.md says why,
//! and `tests/architecture` holds the code to it.

#![deny(clippy::unwrap_used)]

pub mod archive;
pub mod archives;
pub mod backup;
pub mod cli;
pub mod config;
pub mod device;
pub mod directories;
pub mod error;
pub mod escape;
pub mod listing;
pub mod mount;
pub mod process;
pub mod progress;
pub mod restore;
pub mod tools;
pub mod verify;

pub use borg_repository::secret;
