//! A restore-first toolkit around BorgBackup, for ZFS machines and Qubes OS dom0.
//!
//! # The rooms, and the one way between them
//!
//! ```text
//! main                      parse, hand over, exit code
//! cli                       the command line; the one place that prints and picks exit codes
//! image                     what one does with a volume in an archive: attach, restore, verify
//! mount | backup            a FUSE tree of the archives | making the archive (neither knows the other)
//! repository | tools        borg 1.x repositories read by ourselves | one typed file per outside program
//! config | process | archive | folders | error | escape | secret
//! ```
//!
//! A room uses those on lower lines, never those above or beside it. ARCHITECTURE.md tells why,
//! and `tests/architecture.rs` holds the code to it.

pub mod archive;
pub mod backup;
pub mod cli;
pub mod config;
pub mod error;
pub mod escape;
pub mod folders;
pub mod image;
pub mod mount;
pub mod process;
pub mod repository;
pub mod secret;
pub mod tools;
