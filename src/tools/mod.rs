//! One typed file per outside program or kernel facility.

pub mod borg;
pub mod mounts;
pub mod qubes;
pub mod ssh;
pub mod zfs;
