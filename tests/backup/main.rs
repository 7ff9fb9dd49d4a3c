//! `create` and `cleanup` as a user runs them: the real program, real borg, real mounts, as root.
#![allow(clippy::disallowed_methods)]

#[path = "../common/promtool.rs"]
mod promtool;

mod existing;
mod hooks;
mod interrupted;
mod pruning;
mod selection;
mod servers;
mod telemetry;
mod unprivileged;
mod world;
