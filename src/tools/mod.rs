//! One typed file per outside program or kernel facility.

pub mod blockdev;
pub mod borg;
pub mod identity;
pub mod loopdev;
pub mod mounts;
pub mod qubes;
pub mod ssh;
pub mod tar;
pub mod terminal;
pub mod zfs;
