//! The first step of a run: what will be backed up, and to which repository.

use super::bookmarks;
use super::events::Event;
use super::job::Job;
use super::plan::Plan;
use super::selection::matches;
use super::stage;
use crate::archive::mark::Mark;
use crate::config::{Config, Dataset};
use crate::error::{Error, Result};
use crate::tools::borg::Borg;
use crate::tools::zfs::names;
use crate::tools::{mounts, zfs};

/// What a run will do. It owns no resource.
pub struct Planned<'a> {
    pub job: &'a Job<'a>,
    pub plan: Plan,
    pub borg: Borg,
    /// The places that the archive will hold, in the form of marks.
    pub places: Vec<Vec<u8>>,
    /// The mark in the archive's comment.
    pub mark: Mark,
}

impl<'a> Planned<'a> {
    /// # Errors
    /// When something in the configuration cannot be backed up, or there is no borg.
    pub fn new(job: &'a Job<'a>, plan: Plan) -> Result<Planned<'a>> {
        stage::check(&plan)?;
        let borg = Borg::new(job.config)?;
        Borg::judge_compression(&job.config.compression)?;
        let places = plan.places();
        let (machine, suffix) = (job.identity.machine.clone(), job.identity.suffix.clone());
        let mark = Mark::new(machine, suffix, names::run_id(), &places);
        Ok(Planned { job, plan, borg, places, mark })
    }

    /// Warns of everything that the configuration selects and that the archive will not hold.
    pub fn warn(&self) {
        for glob in &self.plan.unmatched {
            self.job.tell(Event::Unmatched(glob));
        }
        for left_out in &self.plan.left_out {
            self.job.tell(Event::LeftOut(left_out));
        }
        if self.job.identity.machine.is_none() {
            self.job.tell(Event::NoMachineId);
        }
    }

    /// The repository's tag in bookmarks.
    pub fn tag(&self) -> String {
        bookmarks::repository_tag(self.borg.repository().as_bytes())
    }

    /// An error that occurs after the archive `name` is complete.
    pub fn after_archive(&self, name: &str, error: Error) -> Error {
        match self.job.options.dry_run {
            true => error,
            false => error.hint(format!("the backup itself is complete: {name}")),
        }
    }
}

/// What the configuration means on this machine now.
pub fn plan(config: &Config) -> Result<Plan> {
    if config.datasets_to_backup.is_empty() {
        return Plan::new(config, &[], &[]);
    }
    if !nix::unistd::geteuid().is_root() {
        return Err(Error::usage("only root can back up ZFS datasets")
            .hint(format!("{} lists some in datasets_to_backup", config.name()))
            .hint("nothing was backed up"));
    }
    Plan::new(config, &zfs::datasets()?, &mounts::list()?)
}

/// The label of the archive's metrics: what the configuration lists, without globs that match
/// nothing.
pub fn label(config: &Config, plan: &Plan) -> String {
    let held: Vec<_> = plan.datasets().cloned().collect();
    let holds = |wanted: &&Dataset| matches(wanted, &held).is_ok_and(|found| !found.is_empty());
    let datasets = config.datasets_to_backup.iter().filter(holds).map(|wanted| wanted.name.clone());
    let paths = config.filesystems_to_backup.iter().map(|path| path.display().to_string());
    datasets.chain(paths).collect::<Vec<_>>().join(",")
}
