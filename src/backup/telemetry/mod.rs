//! Metrics for a monitoring system, in the text format of Prometheus, for the node exporter's
//! textfile collector.
//!
//! Each run of `create` saves what it knows in our cache directory ([`run_history`]), so that
//! neither it nor `telemetry` needs to ask the repository again.

mod file;
mod json;
mod run_history;
mod text;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::Deserialize;

use super::archived::Statistics;
use super::planned::plan;
use super::report::Report;
use super::whose;
use crate::archive::name::Archive;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::tools::borg::{Borg, Need, archive_argument};
use crate::tools::identity;
use run_history::{Made, RunHistory, seconds};

/// What is known of the backups of one configuration.
pub struct Telemetry {
    /// The file of the history; `None` without a home directory.
    state: Option<PathBuf>,
    history: RunHistory,
    begun: Instant,
}

impl Telemetry {
    /// Loads what earlier runs with the configuration `config` saved.
    pub fn load(config: &Path) -> Telemetry {
        let state = run_history::file(config);
        let history = state.as_deref().map(RunHistory::load).unwrap_or_default();
        Telemetry { state, history, begun: Instant::now() }
    }

    /// Adds what a run of `create` knows.
    pub fn ran(&mut self, config: &Config, report: &Report, exit_code: u8) {
        self.history.of(&report.repository, &dataset(config));
        self.history.take(report, &identity::of(config));
        self.history.ended(now(), exit_code, report);
    }

    /// Adds that a run could not begin, because its configuration cannot be used.
    pub fn refused(&mut self, exit_code: u8) {
        self.history.refused(now(), exit_code);
    }

    /// Asks the repository for its archives, and for the statistics of the newest one if no run
    /// saved them.
    ///
    /// # Errors
    /// The failure of borg, explained.
    pub fn look(&mut self, config: &Config, lock_wait: Duration) -> Result<()> {
        let borg = Borg::new(config)?;
        let _preflight = borg.preflight("list the archives", Need::Reading, false)?;
        self.history.of(borg.repository(), &dataset(config));
        let doing = "list the archives";
        let listed: ArchiveList = read(doing, &borg.list_all(&[], doing, lock_wait)?.stdout)?;
        self.history.modified = seconds(&listed.repository.last_modified);
        let identity = identity::of(config);
        let ours = whose::ours(&identity, &borg.with_origins(listed.archives, lock_wait)?);
        self.history.holds(|| plan(config).map(|plan| plan.places()).unwrap_or_default());
        self.history.exist(&ours, &identity);
        let Some(name) = self.history.newest_without_figures().map(str::to_owned) else { return Ok(()) };
        let argument = archive_argument(&name);
        let doing = format!("read the figures of the archive {name}");
        let answer: Answer = ask(&borg, &["info", "--json", &argument], &doing, lock_wait)?;
        for archive in answer.archives {
            let end = seconds(&archive.end).unwrap_or_default();
            self.history.figures(&archive.id, Made { end, statistics: archive.stats });
        }
        Ok(())
    }

    /// Saves it for the next run. Nothing depends on it: what is missing is asked for again.
    pub fn save(&self) {
        if let Some(state) = &self.state {
            let _ = self.history.save(state);
        }
    }

    /// All metrics in the text format of Prometheus.
    pub fn text(&self) -> String {
        text::render(&self.history, self.begun.elapsed())
    }

    /// All metrics as a JSON object.
    pub fn json(&self) -> serde_json::Value {
        self.history.json()
    }

    /// Writes [`Telemetry::text`] to `target`, atomically, and readable for everyone. A bare name
    /// is a file in the textfile collector's directory.
    ///
    /// # Errors
    /// When there is no such directory, or it cannot be written to.
    pub fn write(&self, target: &Path) -> Result<()> {
        file::write(target, &self.text())
    }
}

/// The sources of the backup, as the label `dataset`.
fn dataset(config: &Config) -> String {
    let datasets = config.datasets_to_backup.iter().map(|d| d.name.clone());
    let paths = config.filesystems_to_backup.iter().map(|p| p.display().to_string());
    datasets.chain(paths).collect::<Vec<_>>().join(",")
}

/// In seconds since 1970.
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

fn ask<T: serde::de::DeserializeOwned>(
    borg: &Borg,
    words: &[&str],
    doing: &str,
    lock_wait: Duration,
) -> Result<T> {
    let command = borg.command(words[0], lock_wait)?.args(&words[1..]);
    let output = borg.run(command.die_with_parent(), doing)?;
    read(doing, &output.stdout)
}

fn read<T: serde::de::DeserializeOwned>(doing: &str, json: &[u8]) -> Result<T> {
    serde_json::from_slice(json)
        .map_err(|e| Error::failed(format!("cannot {doing}: borg's answer cannot be read")).because(e))
}

/// The result of `borg list --json`.
#[derive(Deserialize)]
struct ArchiveList {
    archives: Vec<Archive>,
    repository: Repository,
}

#[derive(Deserialize)]
struct Repository {
    last_modified: String,
}

/// The result of `borg info --json ::NAME`.
#[derive(Deserialize)]
struct Answer {
    archives: Vec<Details>,
}

#[derive(Deserialize)]
struct Details {
    id: String,
    end: String,
    stats: Statistics,
}
