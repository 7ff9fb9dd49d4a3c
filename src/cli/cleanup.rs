//! `cleanup`

use clap::Args;

use super::args::Globals;
use super::progress::{could_not_remove, leftover};
use super::{Exit, console};
use crate::backup;
use crate::error::Result;

/// Remove what a killed run left behind. What a live run or mount uses is left alone.
#[derive(Args)]
pub struct Cleanup {
    /// Only tell what would be removed.
    #[arg(long)]
    dry_run: bool,
}

impl Cleanup {
    pub fn run(&self, globals: &Globals) -> Result<Exit> {
        let console = globals.console();
        let done = backup::cleanup(self.dry_run)?;
        let verb = if self.dry_run { "would remove" } else { "removed" };
        for removed in &done.removed {
            console::print(&format!("{verb} {}", leftover(removed)))?;
        }
        for (left, error) in &done.failed {
            console.warn(&could_not_remove(left, error));
        }
        if let Some(run) = &done.active {
            console.say(&format!("a `create` is running ({run}); what it uses was left alone"));
        }
        if done.removed.is_empty() && done.failed.is_empty() {
            console.say("There is nothing to clean up");
        }
        Ok(if done.failed.is_empty() { Exit::Done } else { Exit::Failed })
    }
}
