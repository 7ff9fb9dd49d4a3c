//! `cleanup`

use clap::Args;

use super::args::Globals;
use super::progress::{could_not_remove, leftover};
use super::{Exit, attached, console, report};
use crate::backup;
use crate::error::Result;
use crate::image::detach;

/// Remove what a killed run left behind. What a live run or mount uses is left alone.
#[derive(Args)]
pub struct Cleanup {
    /// Only tell what would be removed.
    #[arg(long)]
    dry_run: bool,
    /// Also remove what the Python tool of this name left in ZFS: snapshots named `@borg-yyyy-mm-dd`
    /// and what is in `POOL/.borg-offsite-backup`. Without this it is only told.
    #[arg(long)]
    old_tool: bool,
}

impl Cleanup {
    pub fn run(&self, globals: &Globals) -> Result<Exit> {
        let console = globals.console();
        let attachments = detach::clear_dead(self.dry_run)?;
        let done = backup::cleanup(self.dry_run, self.old_tool)?;
        let verb = if self.dry_run { "would remove" } else { "removed" };
        for (attachment, result) in &attachments {
            let name = attached::name(attachment);
            match result {
                Ok(()) => console::print(&format!("{verb} the dead attachment {name}"))?,
                Err(e) => {
                    console.warn(&format!("cannot end the dead attachment {name}"));
                    report::error(console, e);
                }
            }
        }
        for removed in &done.removed {
            console::print(&format!("{verb} {}", leftover(removed)))?;
        }
        for (left, error) in &done.failed {
            console.warn(&could_not_remove(left, error));
        }
        if let Some(run) = &done.active {
            console.say(&format!("a `create` is running ({run}); what it uses was left alone"));
        }
        for left in &done.old_tool {
            console.say(&format!("Left alone: {}", leftover(left)));
        }
        if !done.old_tool.is_empty() {
            console
                .say("`cleanup --old-tool` removes what the Python tool left, if it does not run any more");
        }
        if done.removed.is_empty() && done.failed.is_empty() && attachments.is_empty() {
            console.say("There is nothing to clean up");
        }
        let all_done = done.failed.is_empty() && attachments.iter().all(|(_, result)| result.is_ok());
        Ok(if all_done { Exit::Done } else { Exit::Failed })
    }
}
