//! What one does with a volume in an archive, on real borg and real loop devices.

#[path = "../common/mod.rs"]
mod common;

mod attach;
mod broken;
mod device;
mod ended;
mod handed;
mod images;
mod inside;
mod refused;
mod restore;
mod verify;
mod writable;
