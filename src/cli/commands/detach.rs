//! `detach`

use std::path::PathBuf;

use chrono::Local;
use clap::Args;

use crate::cli::attachments;
use crate::cli::exit::Exit;
use crate::cli::globals::Globals;
use crate::cli::report;
use crate::device::attachment::Attachment;
use crate::device::detach::{self, Named};
use crate::error::Result;

/// End what `attach` made: mounts, devices, changes that are not kept.
#[derive(Args)]
pub struct Detach {
    /// The device, the directory where it is mounted, or an archive: then all that is attached of it.
    #[arg(value_name = "DEVICE|DIR|::ARCHIVE", required_unless_present = "all", conflicts_with = "all")]
    what: Option<PathBuf>,
    /// Detach everything that is attached.
    #[arg(long)]
    all: bool,
}

impl Detach {
    pub fn run(&self, globals: &Globals) -> Result<Exit> {
        let named = match &self.what {
            Some(what) => Named::parse(what, Local::now().date_naive())?,
            None => Named::All,
        };
        let found = named.of(Attachment::all()?)?;
        let console = globals.console();
        if found.is_empty() {
            console.say("Nothing is attached");
        }
        let mut exit = Exit::Done;
        for attachment in found {
            match detach::take_down(&attachment) {
                Ok(()) => console.say(&format!("{} is detached", attachments::name(&attachment))),
                Err(e) => {
                    report::error(console, &e);
                    exit = Exit::from(&e);
                }
            }
        }
        Ok(exit)
    }
}
