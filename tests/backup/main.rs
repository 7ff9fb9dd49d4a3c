//! `create` and `cleanup` as a user runs them: the real program, real borg, real mounts, as root.
#![allow(clippy::disallowed_methods)]

#[path = "../common/promtool.rs"]
mod promtool;

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
mod world;
