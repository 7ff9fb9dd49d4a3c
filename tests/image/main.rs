//! What one does with a volume in an archive, on real borg and real loop devices.

#[path = "../common/mod.rs"]
mod common;

mod broken;
mod device;
mod refused;
mod restore;
mod verify;
