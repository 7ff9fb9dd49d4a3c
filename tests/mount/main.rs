//! The mount without a kernel: the contract of its sources, and the file system against a plain
//! model.

#[path = "../common/mod.rs"]
mod common;

mod contract;
mod dropped;
mod looks;
mod memory;
mod model;
mod remembered;
