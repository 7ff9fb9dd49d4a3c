//! Describes what a killed run left.

use crate::backup::Leftover;
use crate::error::Error;

/// The noun phrase after "removed".
pub fn leftover(leftover: &Leftover) -> String {
    match leftover {
        Leftover::DeadMount(dir) => format!("the dead mount at {}", dir.display()),
        Leftover::OpenStage(dir) => format!("the staging mount at {}", dir.display()),
        Leftover::File(path) => format!("{}, of a process that is gone", path.display()),
        Leftover::Zfs(name) => format!("{name}, of a run that is gone"),
        Leftover::OldTool(name) => format!("{name}, of the Python tool"),
        Leftover::Run(run) => format!("the mark of a killed `create` ({run})"),
    }
}

pub fn could_not_remove(left: &Leftover, error: &Error) -> String {
    format!("could not remove {}: {}", leftover(left), error.chain())
}
