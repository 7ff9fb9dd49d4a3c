//! `info`

use clap::Args;
use serde_json::json;

use super::opened::{Opened, all};
use crate::archive::choice::Wanted;
use crate::cli::console;
use crate::cli::exit::Exit;
use crate::cli::globals::Globals;
use crate::error::Result;
use crate::listing::{Totals, archive_json, archive_text, repository_json, repository_text};

const LACKING: &str = "deduplicated sizes are left out: only borg computes them";

/// Show details of an archive, or of the repository.
#[derive(Args)]
pub struct Info {
    /// The archive [default: the repository].
    #[arg(value_name = "::ARCHIVE")]
    archive: Option<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Accepted for scripts; no lock is held anyway.
    #[arg(long, hide = true)]
    bypass_lock: bool,
}

impl Info {
    pub fn run(&self, globals: &Globals) -> Result<Exit> {
        let wanted = match self.archive.as_deref() {
            None | Some("::") => None,
            Some(archive) => Some(Wanted::parse(archive)?),
        };
        let opened = Opened::new(globals, "show its details", all())?;
        let native = opened.native()?;
        let (repository, location) = (native.repository(), &*opened.location);
        let mut json = repository_json(repository, location);
        let text = match &wanted {
            None => repository_text(repository, location),
            Some(wanted) => {
                let archive = opened.archives.resolve(wanted, &opened.archives.list()?)?;
                let metadata = native.metadata(&archive)?;
                let mut totals = Totals::default();
                native.each_item(&metadata, &mut |item, chunks| totals.add(&item, chunks))?;
                json["archives"] = json!([archive_json(&metadata, &totals)]);
                archive_text(&metadata, &totals)
            }
        };
        globals.console().say(LACKING);
        console::print(&if self.json { format!("{json:#}") } else { text })?;
        Ok(Exit::Done)
    }
}
