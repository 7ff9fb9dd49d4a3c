//! The result of a run.

use std::time::Duration;

use super::archived::{Archived, Placed, Statistics, Warnings};
use super::retention::Retention;
use crate::archive::name::Archive;
use crate::archive::origin::{Listed, Origin};
use crate::error::Result;

/// The outcome of a run that did not fail.
#[derive(Debug)]
pub enum Outcome {
    /// The archive is complete. If older ones could not be pruned, the error is here.
    Made(Result<Retention>),
    /// The archive existed before. Older ones are pruned anyway, because the run that made it may
    /// have failed at this.
    Skipped(Result<Retention>),
    /// It was a dry run.
    Rehearsed,
}

/// The result of a run.
#[derive(Debug)]
pub struct Report {
    /// The name for people; empty if the run did not come this far.
    pub repository: String,
    /// The archive's name.
    pub name: String,
    /// What the archive holds, as the label of its metrics.
    pub label: String,
    /// The places that an archive of the configuration holds, in the form of marks; empty if the
    /// run did not come this far.
    pub places: Vec<Vec<u8>>,
    /// An error if there is no archive of today. [`crate::error::Kind::Busy`]: another run or
    /// another borg is active. [`crate::error::Kind::Usage`]: nothing was tried.
    pub outcome: Result<Outcome>,
    /// The archive that was made.
    pub made: Option<Archived>,
    /// All archives of ours after the run; `None` if borg did not list them.
    pub archives: Option<Vec<Listed>>,
    pub statistics: Statistics,
    /// The number of borg's warnings, including those about files that changed.
    pub warnings: u64,
    pub changed: u64,
    /// The number of directories that a CACHEDIR.TAG kept out.
    pub caches: u64,
    /// How many files and directories could not be read, and are therefore missing in the archive.
    pub unread: u64,
    /// What the configuration lists and today's existing archive does not hold.
    pub missing: Vec<String>,
    /// The archive does not say what it holds: an earlier version made it, or borg alone.
    pub is_unmarked: bool,
    /// The archive that could not be replaced; the new one has a name of its own.
    pub kept: Option<String>,
    /// The name that the archive should have, but does not.
    pub misnamed: Option<String>,
    /// How long `before_backup` took, ...
    pub preparing: Duration,
    /// ... the mounts to make, ...
    pub staging: Duration,
    /// ... borg to make the archive, ...
    pub archiving: Duration,
    /// ... to remove older ones, ...
    pub pruning: Duration,
    /// ... and all of it.
    pub total: Duration,
}

impl Report {
    /// The report of a run that has not done anything yet.
    pub fn new(name: String) -> Report {
        Report {
            repository: String::new(),
            name,
            label: String::new(),
            places: Vec::new(),
            outcome: Ok(Outcome::Rehearsed),
            made: None,
            archives: None,
            statistics: Statistics::default(),
            warnings: 0,
            changed: 0,
            caches: 0,
            unread: 0,
            missing: Vec::new(),
            is_unmarked: false,
            kept: None,
            misnamed: None,
            preparing: Duration::ZERO,
            staging: Duration::ZERO,
            archiving: Duration::ZERO,
            pruning: Duration::ZERO,
            total: Duration::ZERO,
        }
    }

    /// The name and the duration of each phase.
    pub fn phases(&self) -> impl Iterator<Item = (&'static str, Duration)> {
        let named = [
            ("prepare", self.preparing),
            ("stage", self.staging),
            ("archive", self.archiving),
            ("prune", self.pruning),
            ("total", self.total),
        ];
        named.into_iter()
    }

    /// Whether something that was asked for is missing.
    pub fn is_incomplete(&self) -> bool {
        self.unread > 0 || !self.missing.is_empty() || self.kept.is_some() || self.misnamed.is_some()
    }

    pub(super) fn count(&mut self, warnings: Warnings) {
        self.warnings = warnings.all;
        self.changed = warnings.changed;
        self.unread = warnings.unread;
    }

    /// Called even if the archive failed.
    pub(super) fn place(&mut self, placed: Placed) {
        let Placed { name, kept, misnamed, deleted, took } = placed;
        self.forget(&deleted);
        (self.name, self.kept, self.misnamed, self.archiving) = (name, kept, misnamed, took);
    }

    pub(super) fn describe(&mut self, archived: &Archived) {
        self.statistics = archived.statistics.unwrap_or_default();
        self.count(archived.warnings);
        self.caches = archived.caches;
    }

    pub(super) fn add(&mut self, archived: &Archived, origin: Origin) {
        let (name, archives) = (&self.name, self.archives.get_or_insert_default());
        archives.retain(|l| l.archive.name != *name);
        let archive = Archive { name: name.clone(), id: archived.id.clone(), start: archived.start.clone() };
        archives.push(Listed { archive, origin });
        self.made = Some(archived.clone());
    }

    pub(super) fn forget(&mut self, removed: &[String]) {
        self.archives.iter_mut().for_each(|archives| archives.retain(|l| !removed.contains(&l.archive.name)));
    }
}
