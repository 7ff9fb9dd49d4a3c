//! One backup from its beginning to its end.

use std::ffi::OsString;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{Datelike, Local, NaiveDate, TimeDelta, Utc};

use super::archiver::{Archived, Archiver, exists_already};
use super::bookmarks;
use super::frozen::Frozen;
use super::history::History;
use super::hooks::Hooks;
use super::leftovers;
use super::monitor::{Event, Monitor};
use super::plan::{Plan, borg_argument};
use super::reconnect::persistently;
use super::report::{NEW, Outcome, Report, in_the_making};
use super::retention::{self, Retention};
use super::stage::{self, Stage};
use crate::archive::filter::ArchiveFilter;
use crate::archive::name::{Archive, as_date};
use crate::config::Config;
use crate::error::{Error, Kind, Result};
use crate::process::interrupt;
use crate::tools::borg::{Borg, Need, archive_argument};
use crate::tools::{mounts, zfs};

/// What is done about an archive of today that is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IfExists {
    Fail,
    Skip,
    /// It is removed when the new one stands.
    Replace,
}

/// How [`create`] is to go about it.
#[derive(Debug, Clone)]
pub struct Options {
    pub if_exists: IfExists,
    /// Nothing is made and nothing removed; what would be looked at is told.
    pub dry_run: bool,
    /// How long each call of borg waits for the repository's lock.
    pub lock_wait: Duration,
    /// Added to `borg create` as they are.
    pub borg_options: Vec<OsString>,
}

/// Makes today's archive. To be called from the main thread, with [`interrupt::heed`] done.
pub fn create(config: &Config, options: &Options, hooks: &Hooks<'_>, monitor: &Arc<dyn Monitor>) -> Report {
    let begun = Instant::now();
    let mut report = Report::new(Local::now().date_naive());
    report.outcome = attempt(config, options, hooks, monitor, &mut report);
    report.total = begun.elapsed();
    report
}

fn attempt(
    config: &Config,
    options: &Options,
    hooks: &Hooks<'_>,
    monitor: &Arc<dyn Monitor>,
    report: &mut Report,
) -> Result<Outcome> {
    let plan = plan(config)?;
    stage::check(&plan)?;
    let borg = Borg::new(config)?;
    report.repository = borg.repository().to_owned();
    let (_lock, cleaned) =
        leftovers::make_way(!config.datasets_to_backup.is_empty(), options.lock_wait, &**monitor)?;
    tell_cleaned(&cleaned, &**monitor);
    tell_selection(&plan, &**monitor);
    let today = Local::now().date_naive();
    let mut run = Run { config, options, hooks, monitor, plan: &plan, borg: &borg, today, report };
    // After a start of the machine the network may not be up yet.
    let reached = persistently(&**monitor, || borg.reach("back up", Need::Repository, false));
    let outcome = reached.and_then(|_reached| run.all());
    run.after(&outcome);
    outcome
}

fn plan(config: &Config) -> Result<Plan> {
    if config.datasets_to_backup.is_empty() {
        return Plan::new(config, &[], &[]);
    }
    if !nix::unistd::geteuid().is_root() {
        return Err(Error::usage("only root can back up ZFS datasets")
            .hint(format!("{} lists some in datasets_to_backup", config.file.display()))
            .hint("nothing was backed up"));
    }
    Plan::new(config, &zfs::datasets()?, &mounts::list()?)
}

struct Run<'a> {
    config: &'a Config,
    options: &'a Options,
    hooks: &'a Hooks<'a>,
    monitor: &'a Arc<dyn Monitor>,
    plan: &'a Plan,
    borg: &'a Borg,
    today: NaiveDate,
    report: &'a mut Report,
}

impl Run<'_> {
    fn all(&mut self) -> Result<Outcome> {
        let repository = self.borg.repository();
        let (paths, volumes) = (self.plan.file_systems(), self.plan.volumes().count());
        self.tell(Event::Begun { repository, name: &self.report.name, paths, volumes });
        let before = persistently(&**self.monitor, || {
            self.borg.archives(&ArchiveFilter::default(), self.options.lock_wait)
        })?;
        self.report.archives = Some(before.clone());
        let there = before.iter().find(|a| a.name == self.report.name);
        match (self.options.if_exists, there) {
            (IfExists::Fail, Some(_)) => return Err(exists_already(repository, &self.report.name)),
            (IfExists::Skip, Some(_)) if self.options.dry_run => return Ok(Outcome::Rehearsed),
            (IfExists::Skip, Some(there)) => return Ok(Outcome::Skipped(self.prune(&there.start, &before))),
            _ => {}
        }
        self.before()?;
        let Some(archived) = self.archive_tree(&before, there.is_some())? else {
            return Ok(Outcome::Rehearsed);
        };
        self.report.statistics = archived.statistics;
        self.report.count(archived.warnings);
        self.report.caches = archived.caches;
        self.report.add(&archived);
        self.tell_unfinished(&before);
        Ok(Outcome::Made(self.prune(&archived.start, &before)))
    }

    fn before(&mut self) -> Result<()> {
        if self.options.dry_run {
            return Ok(());
        }
        let begun = Instant::now();
        let ran = self.hooks.before(self.report).map_err(|e| e.hint("nothing was backed up"));
        self.report.preparing = begun.elapsed();
        if ran? {
            self.tell(Event::Hook { key: "before", took: self.report.preparing });
        }
        Ok(())
    }

    /// The other side of [`Run::before`]; also when the run did not come so far, since one before it
    /// may have been killed between the two.
    fn after(&self, outcome: &Result<Outcome>) {
        if self.options.dry_run || matches!(outcome, Ok(Outcome::Skipped(_))) {
            return;
        }
        let begun = Instant::now();
        match self.hooks.after(self.report, outcome) {
            Ok(true) => self.tell(Event::Hook { key: "after", took: begun.elapsed() }),
            Ok(false) => {}
            Err(error) => self.tell(Event::HookFailed(&error)),
        }
    }

    /// Lets borg read the tree; `None` after a dry run.
    fn archive_tree(&mut self, before: &[Archive], replaces: bool) -> Result<Option<Archived>> {
        let tree = Instant::now();
        // The stage goes before what it shows.
        let mut frozen = self.freeze()?;
        let stage = self.stage(frozen.as_mut())?;
        self.report.staging = tree.elapsed();
        interrupt::check()?;
        let archiver = self.archiver(stage.is_some());
        let archiving = Instant::now();
        let archived = if self.options.dry_run {
            self.report.count(archiver.rehearse(&self.report.name, Arc::clone(self.monitor))?);
            None
        } else {
            let history = History::load();
            let expected = history.expected(self.borg.repository());
            self.tell(Event::Archiving { name: &self.report.name, expected });
            let archived = self.archive(&archiver, before, replaces)?;
            history.remember(self.borg.repository(), archived.statistics.original_size);
            Some(archived)
        };
        self.report.archiving = archiving.elapsed();
        stage.map_or(Ok(()), Stage::close).map_err(|e| self.complete(e))?;
        if let Some(frozen) = frozen {
            self.thaw(frozen).map_err(|e| self.complete(e))?;
        }
        Ok(archived)
    }

    /// The datasets at one moment; `None` without any, and in a dry run.
    fn freeze(&self) -> Result<Option<Frozen>> {
        if self.options.dry_run || self.plan.datasets().next().is_none() {
            return Ok(None);
        }
        let begun = Instant::now();
        let frozen = Frozen::new(self.plan, &self.tag(), &self.report.name)?;
        self.tell(Event::Snapshots { pools: frozen.pools(self.plan), took: begun.elapsed() });
        Ok(Some(frozen))
    }

    /// Leaves a bookmark on each dataset, and nothing else.
    fn thaw(&self, frozen: Frozen) -> Result<()> {
        if let Some((size, read)) = frozen.volumes_read() {
            self.tell(Event::Volumes { size, read });
        }
        let marked = match self.config.keep_bookmarks {
            true => frozen.bookmark(self.plan, &self.tag(), &self.report.name),
            false => Ok(()),
        };
        frozen.close().and(marked)
    }

    fn tag(&self) -> String {
        bookmarks::repository_tag(self.borg.repository())
    }

    fn complete(&self, e: Error) -> Error {
        match self.options.dry_run {
            true => e,
            false => e.hint(format!("the backup itself is complete: {}", self.report.name)),
        }
    }

    /// The staged tree; `None` when borg reads the live one.
    fn stage(&self, frozen: Option<&mut Frozen>) -> Result<Option<Stage>> {
        if !nix::unistd::geteuid().is_root() {
            self.tell(Event::Live);
            return Ok(None);
        }
        let begun = Instant::now();
        let stage = match frozen {
            Some(frozen) => {
                let volumes = frozen.tree();
                Stage::new(self.plan, Some(frozen.moment()), volumes)?
            }
            None => Stage::new(self.plan, None, Frozen::rehearsed(self.plan))?,
        };
        self.tell(Event::Staged { took: begun.elapsed() });
        Ok(Some(stage))
    }

    fn archiver(&self, staged: bool) -> Archiver<'_> {
        let device = |p: &Path| std::fs::symlink_metadata(p).ok().map(|m| m.dev());
        let roots = if staged { self.plan.roots() } else { self.plan.live_roots(device) };
        Archiver {
            borg: self.borg,
            plan: self.plan,
            tree: Path::new(if staged { stage::ROOT } else { "/" }),
            paths: roots.into_iter().map(|root| borg_argument(root).to_owned()).collect(),
            one_file_system: !staged,
            options: &self.options.borg_options,
            lock_wait: self.options.lock_wait,
        }
    }

    /// At every moment the old archive, the new one, or both stand. (`borg rename` would be one
    /// step less, but up to 1.2.4 it writes an archive that newer borgs refuse.)
    fn archive(&self, archiver: &Archiver<'_>, before: &[Archive], replaces: bool) -> Result<Archived> {
        let name = &self.report.name;
        let new = in_the_making(name);
        if !replaces {
            let archived = self.make(archiver, name, self.monitor)?;
            if has(before, &new) {
                self.delete_after(&new)?;
            }
            return Ok(archived);
        }
        if has(before, &new) {
            self.delete(&new)?;
        }
        let archived = self.make(archiver, &new, self.monitor)?;
        interrupt::check()?;
        self.delete(name)?;
        // Cheap: every chunk is there, and borg's files cache knows every file.
        let muted: Arc<dyn Monitor> = Arc::new(Muted);
        let again = self.make(archiver, name, &muted).map_err(|e| {
            e.hint(format!("the new backup stands as {new}; the next `create` of this day finishes the work"))
        })?;
        self.delete_after(&new)?;
        Ok(Archived {
            statistics: archived.statistics,
            warnings: archived.warnings,
            caches: archived.caches,
            ..again
        })
    }

    /// When the line is cut, borg goes on from its last checkpoint: the tree is still the same. (The
    /// next prune removes what a checkpoint left.) It may also be cut when the archive is whole.
    fn make(&self, archiver: &Archiver<'_>, name: &str, monitor: &Arc<dyn Monitor>) -> Result<Archived> {
        // borg may tell it in whole seconds.
        let (since, mut tries) = (Utc::now().naive_utc() - TimeDelta::seconds(1), 0);
        persistently(&**self.monitor, || {
            tries += 1;
            match archiver.archive(name, Arc::clone(monitor)) {
                Err(error) if tries > 1 && error.kind() == Kind::Exists => archiver.find(name, since),
                archived => archived,
            }
        })
    }

    fn delete_after(&self, name: &str) -> Result<()> {
        self.delete(name).map_err(|e| self.complete(e))
    }

    fn delete(&self, name: &str) -> Result<()> {
        self.tell(Event::Deleting { name });
        let command = self.borg.command("delete", self.options.lock_wait)?.arg(archive_argument(name));
        self.borg.run(command.die_with_parent(), &format!("delete the archive {name}")).map(drop)
    }

    /// `made`: when today's archive was started.
    fn prune(&mut self, made: &str, before: &[Archive]) -> Result<Retention> {
        self.tell(Event::Pruning);
        let begun = Instant::now();
        let (day, wait) = (self.today.day() as u8, self.options.lock_wait);
        let result = persistently(&**self.monitor, || {
            retention::prune(self.borg, self.config, made, before, day, wait)
        });
        self.report.pruning = begun.elapsed();
        let retention = result?;
        self.tell(Event::Pruned(&retention));
        self.report.forget(retention.removed());
        self.prune_bookmarks(before, &retention)?;
        // After a skipped backup there is nothing to give back, unless something was pruned.
        let is_due = self.report.made.is_some() || !retention.removed().is_empty();
        if self.config.compact_after_prune && is_due && matches!(retention, Retention::Pruned { .. }) {
            self.compact()?;
        }
        Ok(retention)
    }

    /// Also those of archives that somebody deleted since.
    fn prune_bookmarks(&self, before: &[Archive], retention: &Retention) -> Result<()> {
        if self.config.datasets_to_backup.is_empty() || !zfs::is_here() {
            return Ok(());
        }
        let removed = retention.removed();
        let exists = |name: &str| {
            name == self.report.name || has(before, name) && !removed.iter().any(|removed| removed == name)
        };
        bookmarks::prune(&self.tag(), &zfs::bookmarks()?, exists)
    }

    fn compact(&self) -> Result<()> {
        self.tell(Event::Compacting);
        let command = self.borg.command("compact", self.options.lock_wait)?;
        self.borg.run(command.die_with_parent(), "give free space in the repository").map(drop)
    }

    fn tell_unfinished(&self, before: &[Archive]) {
        let ours = in_the_making(&self.report.name);
        for archive in before.iter().filter(|a| a.name != ours) {
            if archive.name.strip_suffix(NEW).is_some_and(|name| as_date(name).is_some()) {
                self.tell(Event::Unfinished { name: &archive.name });
            }
        }
    }

    fn tell(&self, event: Event<'_>) {
        self.monitor.tell(event);
    }
}

/// For the second making of an archive, which would tell everything twice.
struct Muted;

impl Monitor for Muted {
    fn tell(&self, _: Event<'_>) {}
}

fn has(archives: &[Archive], name: &str) -> bool {
    archives.iter().any(|a| a.name == name)
}

fn tell_cleaned(cleaned: &leftovers::Cleanup, monitor: &dyn Monitor) {
    for leftover in &cleaned.removed {
        monitor.tell(Event::Removed(leftover));
    }
    for (leftover, error) in &cleaned.failed {
        monitor.tell(Event::NotRemoved(leftover, error));
    }
}

fn tell_selection(plan: &Plan, monitor: &dyn Monitor) {
    for glob in &plan.unmatched {
        monitor.tell(Event::Unmatched(glob));
    }
    for left_out in &plan.left_out {
        monitor.tell(Event::LeftOut(left_out));
    }
}
