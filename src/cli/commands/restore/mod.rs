//! `restore`: the arguments become a request, the open archive decides the job, and each job is a file.

mod answer;
mod estimate;
mod files;
mod image;
mod job;
mod known;
mod options;
mod request;
mod volume;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;

use crate::cli::exit::Exit;
use crate::cli::globals::Globals;
use crate::error::Result;
use crate::tools::borg::Borg;
use job::Job;
use options::Options;
use request::Request;

/// Restore a volume, a disk image or files from an archive, or files from a volume in it (VOLUME:/PATH).
#[derive(Args)]
#[command(override_usage = "borg-offsite-backup restore [OPTIONS] ::ARCHIVE [PATH...] --to TARGET")]
pub struct Restore {
    /// The archive.
    #[arg(value_name = "::ARCHIVE")]
    archive: String,
    /// Paths as `list` prints them; without one, everything. For a volume, its name is enough.
    #[arg(value_name = "PATH")]
    paths: Vec<OsString>,
    /// Where to restore to: a block device or a file for an image, a directory for files.
    #[arg(long, value_name = "TARGET", required_unless_present = "list")]
    to: Option<PathBuf>,
    #[command(flatten)]
    options: Options,
}

impl Restore {
    pub fn run(&self, globals: &Globals) -> Result<Exit> {
        let request = Request::new(&self.archive, &self.paths, self.to.as_deref(), &self.options)?;
        let config = globals.config()?;
        let borg = Borg::new(&config)?;
        let console = globals.console();
        match job::decide(&request, &borg)? {
            Job::List(places) => volume::list(&borg, &request, places),
            Job::Copy(places, to) => volume::copy(&borg, console, &request, places, to),
            Job::Files(opened, to) => files::run(&borg, &config, console, &request, &opened.archived, to),
            Job::Image(opened, image, to) => {
                image::run(&borg, console, &request, &opened.archived, &image, to)
            }
        }
    }
}
