//! What one does with a volume in an archive, on real borg and real loop devices.

mod attach;
mod broken;
#[path = "../common/mod.rs"]
mod common;
mod device;
mod disks;
mod ended;
mod files;
mod handed;
mod images;
mod inside;
mod meanwhile;
mod native;
mod read_only;
mod refused;
mod restore;
mod states;
mod verify;
mod writable;
