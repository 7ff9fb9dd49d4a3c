//! The only module that starts programs.
//!
//! [`Command`] fixes what a child inherits, [`Child`] is the guard that stops and reaps it, and
//! [`interrupt`] is the only place that knows whether a signal asked us to end.

mod child;
mod command;
pub mod daemon;
pub mod interrupt;
pub mod memory;
mod mounts;
mod output;
mod packages;
mod pipe;
mod programs;
mod stall;
#[cfg(test)]
mod tests;

pub use child::{Child, Ended};
pub use command::Command;
pub use mounts::Mounts;
pub use output::{Exceeded, Output};
pub use packages::hint as package_hint;
pub use pipe::TimedPipe;
pub use programs::is_program;
