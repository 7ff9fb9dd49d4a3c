//! `create` and `cleanup` as a user runs them: the real program, real borg, real mounts, as root.

#[path = "../common/mod.rs"]
mod common;

mod clock;
mod existing;
mod full;
mod hooks;
mod interrupted;
mod names;
mod pruning;
mod selection;
mod servers;
mod shared;
mod telemetry;
mod unprivileged;
