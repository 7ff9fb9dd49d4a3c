//! One typed file for each outside program or kernel facility; `fuse` has what all our FUSE file
//! systems share.

pub mod accounts;
pub mod acl;
pub mod background;
pub mod blockdev;
pub mod borg;
pub mod directory;
pub mod file_id;
pub mod fuse;
pub mod holders;
pub mod identity;
pub mod inode;
mod loop_info;
pub mod loopdev;
pub mod mount_log;
pub mod mount_point;
pub mod mounts;
pub mod owners;
pub mod page_cache;
pub mod qubes;
pub mod ssh;
pub mod tar;
pub mod target;
pub mod terminal;
pub mod zfs;
