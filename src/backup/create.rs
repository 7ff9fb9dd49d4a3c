//! One backup from its beginning to its end.

mod replace;

use std::cell::Cell;
use std::ffi::OsString;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Datelike, Local, Utc};

use super::archiver::{Archived, Archiver, exists_already};
use super::bookmarks;
use super::frozen::Frozen;
use super::history::History;
use super::hooks::Hooks;
use super::leftovers;
use super::monitor::{Event, Monitor};
use super::plan::{Plan, borg_argument};
use super::reconnect::persistently;
use super::report::{Outcome, Report};
use super::retention::{self, Retention};
use super::selection::matches;
use super::stage::{self, Stage};
use super::{state, whose};
use crate::archive::name::{is_beside, is_in_the_making};
use crate::archive::origin::{Identity, Listed, Mark, Origin};
use crate::config::{Config, Dataset};
use crate::error::{Error, Kind, Result};
use crate::process::interrupt;
use crate::tools::borg::{Borg, Need};
use crate::tools::{identity, mounts, zfs};

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
    // What the archive is called and dated by, however long it takes until borg begins.
    let (begun, clock) = (Local::now(), Instant::now());
    let identity = identity::of(config);
    let mut report = Report::new(identity.name_on(begun.date_naive()));
    report.outcome = attempt(config, options, hooks, monitor, &identity, begun, &mut report);
    report.total = clock.elapsed();
    report
}

fn attempt(
    config: &Config,
    options: &Options,
    hooks: &Hooks<'_>,
    monitor: &Arc<dyn Monitor>,
    identity: &Identity,
    begun: DateTime<Local>,
    report: &mut Report,
) -> Result<Outcome> {
    let plan = plan(config)?;
    report.label = label(config, &plan);
    stage::check(&plan)?;
    let borg = Borg::new(config)?;
    Borg::judge_compression(&config.compression)?;
    report.repository = borg.repository().to_owned();
    let waiting = |run: Option<&state::Run>| monitor.tell(Event::Waiting { run, wait: options.lock_wait });
    let (_lock, cleaned) =
        leftovers::make_way(!config.datasets_to_backup.is_empty(), options.lock_wait, &waiting)?;
    tell_cleaned(&cleaned, &**monitor);
    tell_selection(&plan, &**monitor);
    if identity.machine.is_none() {
        monitor.tell(Event::NoMachineId);
    }
    report.places = plan.places();
    let mark = Mark::new(identity.machine.clone(), identity.suffix.clone(), state::run_id(), &report.places);
    let (plan, borg, mark) = (&plan, &borg, &mark);
    let deleted = Vec::new();
    let mut run = Run { config, options, hooks, monitor, plan, borg, identity, mark, begun, report, deleted };
    // After a start of the machine the network may not be up yet.
    let reached = persistently(&**monitor, || borg.reach("back up", Need::Repository, false));
    let outcome = reached.and_then(|_reached| run.all());
    run.after(&outcome);
    outcome
}

/// What the configuration means on this machine now.
pub(super) fn plan(config: &Config) -> Result<Plan> {
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
    identity: &'a Identity,
    mark: &'a Mark,
    begun: DateTime<Local>,
    report: &'a mut Report,
    /// The names of archives that this run removed to make room for its own.
    deleted: Vec<String>,
}

impl<'a> Run<'a> {
    fn all(&mut self) -> Result<Outcome> {
        let repository = self.borg.repository();
        let (paths, volumes) = (self.plan.file_systems(), self.plan.volumes().count());
        self.tell(Event::Begun { repository, name: &self.report.name, paths, volumes });
        let before = persistently(&**self.monitor, || self.borg.listed(self.options.lock_wait))?;
        self.report.archives = Some(whose::ours(self.identity, &before));
        let there = whose::find(&before, &self.report.name).cloned();
        if let Some(there) = &there {
            whose::check(self.identity, there, repository)?;
        }
        match (self.options.if_exists, &there) {
            (IfExists::Fail, Some(_)) => return Err(exists_already(repository, &self.report.name)),
            (IfExists::Skip, Some(_)) if self.options.dry_run => return Ok(Outcome::Rehearsed),
            (IfExists::Skip, Some(there)) => return Ok(Outcome::Skipped(self.skip(there, &before))),
            _ => {}
        }
        self.before()?;
        let Some(archived) = self.archive_tree(&before, there.as_ref())? else {
            return Ok(Outcome::Rehearsed);
        };
        self.report.statistics = archived.statistics.unwrap_or_default();
        self.report.count(archived.warnings);
        self.report.caches = archived.caches;
        let origin = Origin::ours(identity::host(), self.mark.clone(), archived.warnings.unread);
        self.borg.remember(&archived.id, origin.clone());
        self.report.add(&archived, origin);
        self.tell_unfinished();
        Ok(Outcome::Made(self.prune(&before)))
    }

    /// Is content with today's archive as far as it holds what there is to back up.
    fn skip(&mut self, there: &Listed, before: &[Listed]) -> Result<Retention> {
        let lacks = there.origin.lacks(&self.report.places);
        let held = self.plan.held().into_iter();
        self.report.missing =
            held.filter(|(place, _)| lacks.contains(&&place[..])).map(|(_, name)| name).collect();
        self.report.is_unmarked = there.origin.mark.is_none();
        self.report.unread = there.origin.unread;
        self.prune(before)
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
    fn archive_tree(&mut self, before: &[Listed], there: Option<&Listed>) -> Result<Option<Archived>> {
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
            let archived = self.archive(&archiver, before, there)?;
            if let Some(statistics) = archived.statistics {
                history.remember(self.borg.repository(), statistics.original_size);
            }
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

    fn archiver(&self, staged: bool) -> Archiver<'a> {
        let device = |p: &Path| std::fs::symlink_metadata(p).ok().map(|m| m.dev());
        let roots = if staged { self.plan.roots() } else { self.plan.live_roots(device) };
        Archiver {
            borg: self.borg,
            plan: self.plan,
            tree: Path::new(if staged { stage::ROOT } else { "/" }),
            paths: roots.into_iter().map(|root| borg_argument(root).to_owned()).collect(),
            one_file_system: !staged,
            options: &self.options.borg_options,
            begun: self.begun.with_timezone(&Utc),
            mark: self.mark,
            tried: Cell::default(),
            lock_wait: self.options.lock_wait,
        }
    }

    /// When the line is cut, borg goes on from its last checkpoint: the tree is still the same. (The
    /// next prune removes what a checkpoint left.) It may also be cut when the archive is whole.
    fn make(&self, archiver: &Archiver<'_>, name: &str, monitor: &Arc<dyn Monitor>) -> Result<Archived> {
        let mut tries = 0;
        let made = persistently(&**self.monitor, || {
            tries += 1;
            match archiver.archive(name, Arc::clone(monitor)) {
                Err(error) if tries > 1 && error.kind() == Kind::Exists => archiver.find(name),
                Err(error) if matches!(error.kind(), Kind::Failed | Kind::Damaged) => {
                    self.whole_all_the_same(archiver, name, error)
                }
                archived => archived,
            }
        });
        match made {
            Err(error) if error.kind() == Kind::Exists => Err(self.came_between(name, error)),
            made => made,
        }
    }

    /// The archive after `error`, which may have come when it was whole: borg writes its cache last, to
    /// a disk that may be full, and looks at all archives for its figures, of which one may be damaged.
    fn whole_all_the_same(&self, archiver: &Archiver<'_>, name: &str, error: Error) -> Result<Archived> {
        let Ok(mut archived) = archiver.find_in_list(name) else { return Err(error) };
        let why = error.chain();
        self.tell(Event::Warning(&format!(
            "the archive {name} is whole; what borg did after it failed: {why}"
        )));
        error.hints().iter().for_each(|hint| self.tell(Event::Warning(hint)));
        archived.warnings.all += 1;
        Ok(archived)
    }

    /// The error for an archive that somebody made since we looked; `error` is borg's.
    fn came_between(&self, name: &str, error: Error) -> Error {
        let listed = self.borg.listed(self.options.lock_wait).unwrap_or_default();
        let there = whose::find(&listed, name);
        match there.map(|there| whose::check(self.identity, there, self.borg.repository())) {
            Some(Err(foreign)) => foreign,
            _ => error,
        }
    }

    fn prune(&mut self, before: &[Listed]) -> Result<Retention> {
        self.tell(Event::Pruning);
        let begun = Instant::now();
        let (day, wait) = (self.begun.day() as u8, self.options.lock_wait);
        let result = persistently(&**self.monitor, || {
            retention::prune(self.borg, self.config, self.identity, self.begun, day, wait)
        });
        self.report.pruning = begun.elapsed();
        let retention = result?;
        self.tell(Event::Pruned(&retention));
        self.report.warnings += u64::from(retention.is_a_warning());
        for name in retention.damaged() {
            self.tell(Event::NotRemovable { name });
            self.report.warnings += 1;
        }
        self.report.warnings += self.tell_unreadable(before);
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
    fn prune_bookmarks(&self, before: &[Listed], retention: &Retention) -> Result<()> {
        if self.config.datasets_to_backup.is_empty() || !zfs::is_here() {
            return Ok(());
        }
        let is_gone = |name: &str| retention.removed().iter().chain(&self.deleted).any(|gone| gone == name);
        let exists =
            |name: &str| name == self.report.name || whose::find(before, name).is_some() && !is_gone(name);
        bookmarks::prune(&self.tag(), &zfs::bookmarks()?, exists)
    }

    fn compact(&self) -> Result<()> {
        self.tell(Event::Compacting);
        // The server's progress shows that it works.
        let command = self.borg.command("compact", self.options.lock_wait)?.arg("--progress");
        self.borg.run(command.die_with_parent(), "give free space in the repository").map(drop)
    }

    /// Of archives that are named after a day; nothing touches them. How many there are.
    fn tell_unreadable(&self, before: &[Listed]) -> u64 {
        let is_dated = |l: &&Listed| self.identity.day_of(&l.archive.name).is_some();
        let mut unreadable = 0;
        for listed in before.iter().filter(is_dated).filter(|l| l.origin.is_unknown()) {
            self.tell(Event::Unreadable { name: &listed.archive.name });
            unreadable += 1;
        }
        unreadable
    }

    /// The other archives of ours that are not named after a day alone.
    fn tell_unfinished(&self) {
        let ours = self.report.archives.iter().flatten().map(|listed| listed.archive.name.as_str());
        for name in ours.filter(|name| *name != self.report.name) {
            let is_of_a_day = |of: &&str| self.identity.day_of(of).is_some();
            if is_in_the_making(name).filter(is_of_a_day).is_some() {
                self.tell(Event::Unfinished { name });
            }
            if let Some(of) = is_beside(name).filter(is_of_a_day) {
                self.tell(Event::StandsBeside { name, of });
            }
        }
    }

    fn tell(&self, event: Event<'_>) {
        self.monitor.tell(event);
    }
}

/// What is backed up, as the label of the archive's figures has it: what the configuration lists, without
/// what has no match.
fn label(config: &Config, plan: &Plan) -> String {
    let held: Vec<_> = plan.datasets().cloned().collect();
    let holds = |wanted: &&Dataset| matches(wanted, &held).is_ok_and(|found| !found.is_empty());
    let datasets = config.datasets_to_backup.iter().filter(holds).map(|wanted| wanted.name.clone());
    let paths = config.filesystems_to_backup.iter().map(|path| path.display().to_string());
    datasets.chain(paths).collect::<Vec<_>>().join(",")
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
