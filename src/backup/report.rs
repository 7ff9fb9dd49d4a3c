//! What came of a run.

use std::time::Duration;

use chrono::NaiveDate;

use super::archiver::{Archived, Statistics, Warnings};
use super::retention::Retention;
use crate::archive::name::{Archive, date_name};
use crate::error::Result;

/// How a run ended that did not fail.
#[derive(Debug)]
pub enum Outcome {
    /// The archive stands. When older ones could not be pruned, the error is here.
    Made(Result<Retention>),
    /// It was there before. Older ones are pruned as after any backup: the run that made it may
    /// have failed at that.
    Skipped(Result<Retention>),
    /// A dry run.
    Rehearsed,
}

/// What came of a run.
#[derive(Debug)]
pub struct Report {
    /// As a person knows it; empty when it did not come so far.
    pub repository: String,
    /// The archive's name.
    pub name: String,
    /// An error when there is no archive of today. [`crate::error::Kind::Busy`]: another run, or
    /// another borg, is active; [`crate::error::Kind::Usage`]: nothing was tried.
    pub outcome: Result<Outcome>,
    /// The archive that was made.
    pub made: Option<Archived>,
    /// All archives that there are now; `None` when borg did not tell.
    pub archives: Option<Vec<Archive>>,
    pub statistics: Statistics,
    /// borg's warnings, those that say that a file changed among them.
    pub warnings: u64,
    pub changed: u64,
    /// Folders that a CACHEDIR.TAG kept out.
    pub caches: u64,
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
    pub(super) fn new(today: NaiveDate) -> Report {
        Report {
            repository: String::new(),
            name: date_name(today),
            outcome: Ok(Outcome::Rehearsed),
            made: None,
            archives: None,
            statistics: Statistics::default(),
            warnings: 0,
            changed: 0,
            caches: 0,
            preparing: Duration::ZERO,
            staging: Duration::ZERO,
            archiving: Duration::ZERO,
            pruning: Duration::ZERO,
            total: Duration::ZERO,
        }
    }

    /// How long each phase took, by its name.
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

    pub(super) fn count(&mut self, warnings: Warnings) {
        self.warnings = warnings.all;
        self.changed = warnings.changed;
    }

    pub(super) fn add(&mut self, archived: &Archived) {
        let new = in_the_making(&self.name);
        let (name, archives) = (&self.name, self.archives.get_or_insert_default());
        archives.retain(|a| a.name != *name && a.name != new);
        archives.push(Archive { name: name.clone(), id: archived.id.clone(), start: archived.start.clone() });
        self.made = Some(archived.clone());
    }

    pub(super) fn forget(&mut self, removed: &[String]) {
        self.archives.iter_mut().for_each(|archives| archives.retain(|a| !removed.contains(&a.name)));
    }
}

pub(super) const NEW: &str = ".new";

/// The name of an archive until the one that it replaces is gone. It is no date, so that nothing
/// prunes it.
pub(super) fn in_the_making(name: &str) -> String {
    format!("{name}{NEW}")
}
