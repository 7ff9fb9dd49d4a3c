//! `attached`

use clap::Args;
use serde_json::{Value, json};

use super::Exit;
use super::args::Globals;
use super::console;
use crate::error::Result;
use crate::image::attachment::{Attachment, State};

/// Show what is attached.
#[derive(Args)]
pub struct Attached {
    /// As JSON.
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
        if all.iter().any(|a| matches!(a.state(), State::Dead(_))) {
            globals.console().say("`borg-offsite-backup cleanup` ends what is dead");
        }
        Ok(Exit::Done)
    }
}

/// As `attach --json` and `attached --json` print it.
pub(super) fn as_json(attachment: &Attachment) -> Value {
    let lossy = |text: &Option<std::ffi::OsString>| text.as_ref().map(|t| t.to_string_lossy().into_owned());
    let (state, why) = match attachment.state() {
        State::Up => ("up", None),
        State::Starting => ("starting", None),
        State::Dead(why) => ("dead", Some(why)),
    };
    json!({
        "device": lossy(&attachment.device),
        "repository": attachment.repository,
        "archive": attachment.archive,
        "path": attachment.path.to_string_lossy(),
        "partition": attachment.partition,
        "writable": attachment.writable,
        "changes": lossy(&attachment.changes),
        "mounted": lossy(&attachment.mounted),
        "qube": attachment.qube,
        "state": state,
        "why": why,
    })
}

/// What an attachment is called: its device, and the image.
pub(super) fn name(attachment: &Attachment) -> String {
    let image = format!("{} of {}", attachment.path.display(), attachment.archive);
    match &attachment.device {
        Some(device) => format!("{} ({image})", device.display()),
        None if attachment.archive.is_empty() => format!("what was to be made of {}", attachment.said),
        None => image,
    }
}

fn line(attachment: &Attachment) -> String {
    let mut line = match &attachment.device {
        Some(device) => {
            format!("{:<12} {}  {}", device.display(), attachment.archive, attachment.path.display())
        }
        None => name(attachment),
    };
    if let Some(number) = attachment.partition {
        line.push_str(&format!("  partition {number}"));
    }
    match (&attachment.changes, attachment.writable) {
        (Some(file), _) => line.push_str(&format!("  writable, changes in {}", file.display())),
        (None, true) => line.push_str("  writable"),
        (None, false) => line.push_str("  read-only"),
    }
    if let Some(dir) = &attachment.mounted {
        line.push_str(&format!("  mounted at {}", dir.display()));
    }
    if let Some(qube) = &attachment.qube {
        line.push_str(&format!("  in the qube {qube}"));
    }
    match attachment.state() {
        State::Up => {}
        State::Starting => line.push_str("  (it is being made)"),
        State::Dead(why) => line.push_str(&format!("  (dead: {why})")),
    }
    line
}
