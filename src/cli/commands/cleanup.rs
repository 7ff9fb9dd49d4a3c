//! `cleanup`

use clap::Args;
use serde_json::{Value, json};

use crate::backup::{self, Leftover};
use crate::cli::attachments;
use crate::cli::console::{self, Console};
use crate::cli::exit::Exit;
use crate::cli::globals::Globals;
use crate::cli::leftovers::{could_not_remove, leftover};
use crate::cli::report;
use crate::device::attachment::Attachment;
use crate::device::detach;
use crate::error::{Error, Result};

/// Remove what a killed run left behind. What a running command or a mount uses stays.
#[derive(Args)]
pub struct Cleanup {
    /// Only list what would be removed.
    #[arg(long)]
    dry_run: bool,
    /// Also remove what the Python tool of this name left in ZFS: snapshots named `@borg-yyyy-mm-dd`
    /// and what is in `POOL/.borg-offsite-backup`. Without this option they are only listed.
    #[arg(long)]
    old_tool: bool,
    /// Print JSON on standard output.
    #[arg(long)]
    json: bool,
}

/// What was found and done.
struct Done {
    attachments: Vec<(Attachment, Result<()>)>,
    rest: backup::Cleanup,
}

impl Cleanup {
    pub fn run(&self, globals: &Globals) -> Result<Exit> {
        let attachments = detach::clear_dead(self.dry_run)?;
        let done = Done { attachments, rest: backup::cleanup(self.dry_run, self.old_tool)? };
        if self.json {
            console::print(&self.as_json(&done).to_string())?;
        } else {
            self.print(&done)?;
        }
        self.tell(&done, globals.console());
        let all_done =
            done.rest.failed.is_empty() && done.attachments.iter().all(|(_, result)| result.is_ok());
        Ok(if all_done { Exit::Done } else { Exit::Failed })
    }

    fn print(&self, done: &Done) -> Result<()> {
        let verb = if self.dry_run { "would remove" } else { "removed" };
        for (attachment, _) in done.attachments.iter().filter(|(_, result)| result.is_ok()) {
            console::print(&format!("{verb} the dead attachment {}", attachments::name(attachment)))?;
        }
        done.rest
            .removed
            .iter()
            .try_for_each(|removed| console::print(&format!("{verb} {}", leftover(removed))))
    }

    /// What stays, and why.
    fn tell(&self, done: &Done, console: Console) {
        for (attachment, result) in &done.attachments {
            if let Err(e) = result {
                console.warn(&format!("cannot detach the dead attachment {}", attachments::name(attachment)));
                report::error(console, e);
            }
        }
        for (left, error) in &done.rest.failed {
            console.warn(&could_not_remove(left, error));
        }
        if let Some(run) = &done.rest.active {
            console.say(&format!("A `create` is running ({run}); what it uses stays"));
        }
        for left in &done.rest.old_tool {
            console.say(&format!("Left alone: {}", leftover(left)));
        }
        if !done.rest.old_tool.is_empty() {
            console.say("If the Python tool no longer runs, `cleanup --old-tool` removes what it left");
        }
        if done.rest.removed.is_empty() && done.rest.failed.is_empty() && done.attachments.is_empty() {
            console.say("There is nothing to clean up");
        }
    }

    fn as_json(&self, done: &Done) -> Value {
        let attachment = |a: &Attachment, error: Option<&Error>| {
            let name = attachments::name(a);
            json!({"kind": "attachment", "name": name, "error": error.map(Error::chain)})
        };
        let other = |left: &Leftover, error: Option<&Error>| {
            let (kind, name) = kind_and_name(left);
            json!({"kind": kind, "name": name, "error": error.map(Error::chain)})
        };
        let (ended, not_ended): (Vec<_>, Vec<_>) =
            done.attachments.iter().partition(|(_, result)| result.is_ok());
        let removed = ended.iter().map(|(a, _)| attachment(a, None));
        let failed = not_ended.iter().map(|(a, result)| attachment(a, result.as_ref().err()));
        json!({
            "dry_run": self.dry_run,
            "removed": removed.chain(done.rest.removed.iter().map(|l| other(l, None))).collect::<Vec<_>>(),
            "failed": failed.chain(done.rest.failed.iter().map(|(l, e)| other(l, Some(e)))).collect::<Vec<_>>(),
            "left_alone": done.rest.old_tool.iter().map(|l| other(l, None)).collect::<Vec<_>>(),
            "running": done.rest.active.as_ref().map(|run| json!({"pid": run.pid, "start": run.since})),
        })
    }
}

fn kind_and_name(left: &Leftover) -> (&'static str, String) {
    match left {
        Leftover::DeadMount(dir) => ("dead_mount", dir.to_string_lossy().into()),
        Leftover::OpenStage(dir) => ("stage", dir.to_string_lossy().into()),
        Leftover::File(path) => ("file", path.to_string_lossy().into()),
        Leftover::Zfs(name) => ("zfs", name.clone()),
        Leftover::OldTool(name) => ("old_tool", name.clone()),
        Leftover::Run(run) => ("run", run.to_string()),
    }
}
