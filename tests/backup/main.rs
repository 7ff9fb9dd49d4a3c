//! `create` and `cleanup` as a user runs them: the real program, real borg, real mounts, as root.
#![allow(clippy::disallowed_methods)]

mod existing;
mod interrupted;
mod pruning;
mod selection;
mod unprivileged;
mod world;
