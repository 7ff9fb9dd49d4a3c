//! The mount, on real borg, real FUSE and real loop devices.

#[path = "../common/mod.rs"]
mod common;

mod again;
mod beside;
mod damaged;
mod faults;
mod image;
mod life;
mod odd;
mod options;
mod refused;
mod repository;
mod scene;
mod secrets;
mod sources;
mod streams;
mod tree;
mod unprivileged;
