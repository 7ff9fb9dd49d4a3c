//! `telemetry`

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::backup;
use crate::cli::console;
use crate::cli::exit::Exit;
use crate::cli::globals::Globals;
use crate::cli::telemetry_file;
use crate::error::Result;

/// Write metrics for monitoring, as `create --telemetry-file` does, without a backup.
#[derive(Args)]
pub struct Telemetry {
    /// The file, in the text format of Prometheus. A bare name goes to the directory of the node exporter's
    /// textfile collector, `-` to standard output.
    #[arg(long, value_name = "FILE", required_unless_present = "json")]
    telemetry_file: Option<PathBuf>,
    /// Print JSON on standard output instead.
    #[arg(long, conflicts_with = "telemetry_file")]
    json: bool,
    /// How long to wait for the repository's lock.
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    lock_wait: u32,
}

impl Telemetry {
    pub fn run(&self, globals: &Globals) -> Result<Exit> {
        let mut telemetry = backup::Telemetry::load(globals.file()?);
        let config = globals.config()?;
        let looked = telemetry.look(&config, Duration::from_secs(self.lock_wait.into()));
        if looked.is_ok() {
            telemetry.save();
        }
        // What earlier runs knew is reported even if the repository cannot be asked.
        match &self.telemetry_file {
            Some(file) => telemetry_file::write(&telemetry, file)?,
            None => console::print(&telemetry.json().to_string())?,
        }
        looked.map(|()| Exit::Done)
    }
}
