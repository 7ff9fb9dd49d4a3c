//! `attached`

use clap::Args;
use serde_json::Value;

use crate::cli::attachments::{as_json, line};
use crate::cli::console;
use crate::cli::exit::Exit;
use crate::cli::globals::Globals;
use crate::device::attachment::{Attachment, AttachmentState};
use crate::error::Result;

/// List what is attached.
#[derive(Args)]
pub struct Attached {
    /// Print JSON on standard output.
    #[arg(long)]
    json: bool,
}

impl Attached {
    pub fn run(&self, globals: &Globals) -> Result<Exit> {
        let all = Attachment::all()?;
        if self.json {
            let all: Vec<Value> = all.iter().map(as_json).collect();
            console::print(&Value::from(all).to_string())?;
            return Ok(Exit::Done);
        }
        if all.is_empty() {
            globals.console().say("Nothing is attached");
        }
        for attachment in &all {
            console::print(&line(attachment))?;
        }
        if all.iter().any(|a| matches!(a.state(), AttachmentState::Dead(_))) {
            globals.console().say("`borg-offsite-backup cleanup` removes dead attachments");
        }
        Ok(Exit::Done)
    }
}
