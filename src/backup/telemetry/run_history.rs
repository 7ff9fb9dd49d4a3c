//! What a run saves for later runs.

use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use chrono::NaiveDateTime;
use serde::{Deserialize, Serialize};

use super::super::archived::Statistics;
use super::super::bookmarks::repository_tag as tag;
use super::super::report::{Outcome, Report};
use crate::archive::identity::Identity;
use crate::archive::origin::Listed;
use crate::directories;

/// Times are in seconds since 1970, UTC.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RunHistory {
    repository: String,
    /// The label `dataset` of metrics that belong to no archive.
    pub dataset: String,
    /// The places that a backup holds, in the form of marks; empty if no run has saved them yet.
    #[serde(default)]
    places: Vec<Vec<u8>>,
    /// When the repository last changed.
    pub modified: Option<f64>,
    /// The known archives that exist.
    pub archives: Vec<ArchiveRecord>,
    /// When a backup was last complete.
    pub last_success: Option<f64>,
    pub last_run: Option<LastRun>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ArchiveRecord {
    pub name: String,
    pub id: String,
    pub start: f64,
    /// The label `dataset`: what the archive holds. Empty if it is unknown.
    #[serde(default)]
    pub dataset: String,
    /// `None` if it is unknown.
    pub made: Option<Made>,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Made {
    pub end: f64,
    pub statistics: Statistics,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LastRun {
    pub ended: f64,
    pub exit_code: u8,
    pub warnings: u64,
    /// The number of files and directories that could not be read.
    #[serde(default)]
    pub unread: u64,
    /// In seconds.
    pub phases: Vec<(String, f64)>,
}

/// The file for the configuration `config`.
pub fn file(config: &Path) -> Option<PathBuf> {
    let config = std::path::absolute(config).ok()?;
    Some(directories::cache_dir().ok()?.join(file_name(&config)))
}

fn file_name(config: &Path) -> String {
    format!("telemetry-{}.json", tag(config.as_os_str().as_bytes()))
}

impl RunHistory {
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// A file that cannot be read counts as missing.
    pub fn load(file: &Path) -> RunHistory {
        std::fs::read(file).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
    }

    pub fn save(&self, file: &Path) -> Option<()> {
        let dir = file.parent()?;
        directories::make_private(dir).ok()?;
        let mut new = tempfile::NamedTempFile::new_in(dir).ok()?;
        new.write_all(&serde_json::to_vec_pretty(self).ok()?).ok()?;
        new.persist(file).ok()?;
        Some(())
    }

    /// Forgets what belongs to another repository. The name is empty if the run did not come as far
    /// as knowing it.
    pub fn of(&mut self, repository: &str, dataset: &str) {
        if !repository.is_empty() && self.repository != repository {
            *self = RunHistory { repository: repository.to_owned(), ..RunHistory::default() };
        }
        self.dataset = dataset.to_owned();
    }

    /// Replaces the list of our archives.
    pub fn exist(&mut self, archives: &[Listed], identity: &Identity) {
        let entry = |Listed { archive, origin }: &Listed| {
            let known = self.archives.iter().find(|known| known.id == archive.id);
            let label = known.map(|known| known.dataset.clone()).filter(|label| !label.is_empty());
            ArchiveRecord {
                name: archive.name.clone(),
                id: archive.id.clone(),
                start: seconds(&archive.start).unwrap_or_default(),
                dataset: label.or_else(|| Some(origin.held()?.join(","))).unwrap_or_default(),
                made: known.and_then(|known| known.made),
            }
        };
        self.archives = archives.iter().map(entry).collect();
        // A run made the archive, and its record was lost.
        let whole = archives.iter().filter(|listed| self.is_whole(listed, identity));
        let starts = whole.filter_map(|listed| seconds(&listed.archive.start));
        if let Some(newest) = starts.max_by(f64::total_cmp) {
            self.succeeded(newest);
        }
    }

    /// Whether it holds everything that this configuration lists. Another configuration of this
    /// machine may use the repository, too.
    fn is_whole(&self, Listed { archive, origin }: &Listed, identity: &Identity) -> bool {
        let holds_all = !self.places.is_empty() && origin.lacks(&self.places).is_empty();
        identity.day_of(&archive.name).is_some() && origin.unread == 0 && holds_all
    }

    /// Sets what a backup holds; `places` is called only if it is unknown.
    pub fn holds(&mut self, places: impl FnOnce() -> Vec<Vec<u8>>) {
        if self.places.is_empty() {
            self.places = places();
        }
    }

    pub fn figures(&mut self, id: &str, made: Made) {
        self.archives.iter_mut().filter(|a| a.id == id).for_each(|a| a.made = Some(made));
    }

    pub fn newest_without_figures(&self) -> Option<&str> {
        let newest = self.archives.iter().max_by(|a, b| a.start.total_cmp(&b.start))?;
        newest.made.is_none().then_some(&newest.name)
    }

    /// Takes the archives and statistics of `report`.
    pub fn take(&mut self, report: &Report, identity: &Identity) {
        if !report.places.is_empty() {
            self.places.clone_from(&report.places);
        }
        if let Some(archives) = &report.archives {
            self.exist(archives, identity);
        }
        if let Some(made) = &report.made {
            let end = seconds(&made.end).unwrap_or_default();
            if let Some(statistics) = made.statistics {
                self.figures(&made.id, Made { end, statistics });
            }
            for entry in self.archives.iter_mut().filter(|entry| entry.id == made.id) {
                entry.dataset.clone_from(&report.label);
            }
            if report.unread == 0 {
                self.succeeded(end);
            }
        }
    }

    pub fn ended(&mut self, now: f64, exit_code: u8, report: &Report) {
        let pruned = match &report.outcome {
            Ok(Outcome::Made(Ok(retention)) | Outcome::Skipped(Ok(retention))) => {
                !retention.removed().is_empty()
            }
            _ => false,
        };
        if pruned {
            self.modified = Some(now);
        } else if let Some(made) = &report.made {
            self.modified = seconds(&made.modified);
        }
        let phases = report.phases().map(|(name, time)| (name.to_owned(), time.as_secs_f64())).collect();
        let (warnings, unread) = (report.warnings, report.unread);
        self.last_run = Some(LastRun { ended: now, exit_code, warnings, unread, phases });
    }

    pub fn refused(&mut self, now: f64, exit_code: u8) {
        self.last_run = Some(LastRun { ended: now, exit_code, warnings: 0, unread: 0, phases: Vec::new() });
    }

    fn succeeded(&mut self, when: f64) {
        self.last_success = Some(self.last_success.unwrap_or(0.0).max(when));
    }
}

/// Converts borg's time, which is in UTC.
pub fn seconds(time: &str) -> Option<f64> {
    let time = NaiveDateTime::parse_from_str(time, "%Y-%m-%dT%H:%M:%S%.f").ok()?;
    Some(time.and_utc().timestamp_micros() as f64 / 1e6)
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;

    #[test]
    fn each_configuration_has_a_file_of_its_own() {
        let name = |config: &[u8]| file_name(Path::new(OsStr::from_bytes(config)));
        assert_eq!(name(b"/etc/borg-offsite-backup.json"), "telemetry-398766b5.json");
        assert_ne!(name(b"/etc/\xfe.json"), name(b"/etc/\xff.json"));
    }
}
