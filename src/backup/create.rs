//! A backup from beginning to end: planned, frozen, staged, archived, pruned.

use std::sync::Arc;
use std::time::Instant;

use chrono::Local;

use super::archived::Archived;
use super::archiver::exists_already;
use super::events::{Event, Listener};
use super::existing::Existing;
use super::frozen::Frozen;
use super::hooks::Hooks;
use super::job::{IfExists, Job, Options};
use super::leftovers;
use super::listed::keep_list;
use super::planned::{self, Planned};
use super::prune::{prune, tell_unfinished};
use super::report::{Outcome, Report};
use super::staged::Staged;
use super::state::{LockHolder, RunLock};
use super::whose;
use crate::archive::origin::{Listed, Origin};
use crate::config::Config;
use crate::error::Result;
use crate::process::interrupt;
use crate::tools::borg::Need;
use crate::tools::identity;

/// Makes today's archive. Must be called from the main thread, after [`interrupt::heed`].
pub fn create(config: &Config, options: &Options, hooks: &Hooks<'_>, listener: &Arc<dyn Listener>) -> Report {
    let (begun, clock) = (Local::now(), Instant::now());
    let identity = &identity::of(config);
    let mut report = Report::new(identity.name_on(begun.date_naive()));
    let job = Job { config, options, hooks, listener, identity, begun };
    report.outcome = attempt(&job, &mut report);
    report.total = clock.elapsed();
    report
}

fn attempt(job: &Job<'_>, report: &mut Report) -> Result<Outcome> {
    let plan = planned::plan(job.config)?;
    report.label = planned::label(job.config, &plan);
    let planned = Planned::new(job, plan)?;
    report.repository = planned.borg.repository().to_owned();
    let _lock = lock(job)?;
    planned.warn();
    report.places = planned.places.clone();
    let outcome = back_up(&planned, report);
    after_hook(job, report, &outcome);
    outcome
}

/// Waits for other runs, and removes what killed runs left.
fn lock(job: &Job<'_>) -> Result<RunLock> {
    let wait = job.options.lock_wait;
    let waiting = |run: Option<&LockHolder>| job.tell(Event::Waiting { run, wait });
    let has_datasets = !job.config.datasets_to_backup.is_empty();
    let (lock, cleaned) = leftovers::make_way(has_datasets, wait, &waiting)?;
    for leftover in &cleaned.removed {
        job.tell(Event::Removed(leftover));
    }
    for (leftover, error) in &cleaned.failed {
        job.tell(Event::NotRemoved(leftover, error));
    }
    Ok(lock)
}

fn back_up(planned: &Planned<'_>, report: &mut Report) -> Result<Outcome> {
    let Planned { job, plan, borg, .. } = planned;
    // After a boot, the network may not be up yet.
    let _preflight = job.retry(|| borg.preflight("back up", Need::Repository, false))?;
    let (paths, volumes) = (plan.file_systems(), plan.volumes().count());
    job.tell(Event::Begun { repository: borg.repository(), name: &report.name, paths, volumes });
    let mut existing = Existing::list(planned, &report.name)?;
    report.archives = Some(whose::ours(job.identity, &existing.listed));
    if let Some(today) = &existing.today {
        whose::check(job.identity, today, borg.repository())?;
        match job.options.if_exists {
            IfExists::Fail => return Err(exists_already(borg.repository(), &report.name)),
            IfExists::Skip if job.options.dry_run => return Ok(Outcome::Rehearsed),
            IfExists::Skip => {
                compare(planned, today, report);
                return Ok(Outcome::Skipped(prune(planned, &existing, report)));
            }
            IfExists::Replace => {}
        }
    }
    if job.options.dry_run {
        return rehearse(planned, report).map(|()| Outcome::Rehearsed);
    }
    before_hook(job, report)?;
    let archived = archive(planned, &mut existing, report)?;
    let origin = Origin::ours(identity::host(), planned.mark.clone(), archived.warnings.unread);
    borg.remember(&archived.id, origin.clone());
    report.add(&archived, origin);
    tell_unfinished(job, report);
    let pruned = prune(planned, &existing, report);
    keep_list(borg, &archived.id);
    Ok(Outcome::Made(pruned))
}

/// Notes which parts of the plan the existing archive does not hold.
fn compare(planned: &Planned<'_>, today: &Listed, report: &mut Report) {
    let lacks = today.origin.lacks(&report.places);
    let held = planned.plan.held().into_iter();
    report.missing = held.filter(|(place, _)| lacks.contains(&&place[..])).map(|(_, name)| name).collect();
    report.is_unmarked = today.origin.mark.is_none();
    report.unread = today.origin.unread;
}

fn rehearse(planned: &Planned<'_>, report: &mut Report) -> Result<()> {
    let clock = Instant::now();
    let staged = Staged::new(planned, None)?;
    report.staging = clock.elapsed();
    interrupt::check()?;
    let clock = Instant::now();
    report.count(staged.rehearse(&report.name)?);
    report.archiving = clock.elapsed();
    Ok(())
}

fn archive(planned: &Planned<'_>, existing: &mut Existing, report: &mut Report) -> Result<Archived> {
    let clock = Instant::now();
    let staged = Staged::new(planned, Frozen::take(planned, &report.name)?)?;
    report.staging = clock.elapsed();
    interrupt::check()?;
    let (placed, archived) = staged.archive(existing, &report.name);
    existing.forget(&placed.deleted);
    report.place(placed);
    let archived = archived?;
    report.describe(&archived);
    Ok(archived)
}

fn before_hook(job: &Job<'_>, report: &mut Report) -> Result<()> {
    let begun = Instant::now();
    let ran = job.hooks.before(report).map_err(|e| e.hint("nothing was backed up"));
    report.preparing = begun.elapsed();
    if ran? {
        job.tell(Event::Hook { key: "before", took: report.preparing });
    }
    Ok(())
}

/// Also if the run did not come as far as [`before_hook`], because an earlier run may have been
/// killed between the two.
fn after_hook(job: &Job<'_>, report: &Report, outcome: &Result<Outcome>) {
    if job.options.dry_run || matches!(outcome, Ok(Outcome::Skipped(_))) {
        return;
    }
    let begun = Instant::now();
    match job.hooks.after(report, outcome) {
        Ok(true) => job.tell(Event::Hook { key: "after", took: begun.elapsed() }),
        Ok(false) => {}
        Err(error) => job.tell(Event::HookFailed(&error)),
    }
}
