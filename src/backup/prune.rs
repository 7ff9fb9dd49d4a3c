//! The last step of a run: removes older archives that no rule keeps, and their bookmarks.

use std::time::Instant;

use chrono::Datelike;

use super::bookmarks;
use super::events::Event;
use super::existing::Existing;
use super::job::Job;
use super::planned::Planned;
use super::report::Report;
use super::retention::{self, Retention};
use crate::archive::name::{is_beside, is_in_the_making};
use crate::error::Result;
use crate::tools::zfs;

/// Prunes by the rules of the configuration. `report` gets the result even if a later part fails.
///
/// # Errors
/// The failure of borg or ZFS, explained.
pub fn prune(planned: &Planned<'_>, existing: &Existing, report: &mut Report) -> Result<Retention> {
    let Planned { job, borg, .. } = planned;
    job.tell(Event::Pruning);
    let begun = Instant::now();
    let (day, wait) = (job.begun.day() as u8, job.options.lock_wait);
    let result = job.retry(|| retention::prune(borg, job.config, job.identity, job.begun, day, wait));
    report.pruning = begun.elapsed();
    let retention = result?;
    job.tell(Event::Pruned(&retention));
    report.warnings += u64::from(retention.is_a_warning()) + warn_of_unreadable(job, existing);
    for name in retention.damaged() {
        job.tell(Event::NotRemovable { name });
        report.warnings += 1;
    }
    report.forget(retention.removed());
    prune_bookmarks(planned, existing, &retention, &report.name)?;
    // After a skipped backup there is space to free only if something was pruned.
    let is_due = report.made.is_some() || !retention.removed().is_empty();
    if job.config.compact_after_prune && is_due && matches!(retention, Retention::Pruned { .. }) {
        compact(planned)?;
    }
    Ok(retention)
}

/// Also removes the bookmarks of archives that somebody deleted in the meantime.
fn prune_bookmarks(
    planned: &Planned<'_>,
    existing: &Existing,
    retention: &Retention,
    today: &str,
) -> Result<()> {
    if planned.job.config.datasets_to_backup.is_empty() || !zfs::is_here() {
        return Ok(());
    }
    let is_pruned = |name: &str| retention.removed().iter().any(|removed| removed == name);
    let exists = |name: &str| name == today || existing.find(name).is_some() && !is_pruned(name);
    bookmarks::prune(&planned.tag(), &zfs::bookmarks()?, exists)
}

fn compact(planned: &Planned<'_>) -> Result<()> {
    planned.job.tell(Event::Compacting);
    // The server's progress messages show that it works.
    let command = planned.borg.command("compact", planned.job.options.lock_wait)?.arg("--progress");
    planned.borg.run(command.die_with_parent(), "give free space in the repository").map(drop)
}

/// Warns of archives that are named after a day and cannot be read; nothing touches them. Returns
/// their number.
fn warn_of_unreadable(job: &Job<'_>, existing: &Existing) -> u64 {
    let is_dated = |name: &str| job.identity.day_of(name).is_some();
    let unreadable = existing.listed.iter().filter(|l| is_dated(&l.archive.name) && l.origin.is_unknown());
    unreadable.map(|listed| job.tell(Event::Unreadable { name: &listed.archive.name })).count() as u64
}

/// Reports archives of ours whose names are a date with a suffix.
pub fn tell_unfinished(job: &Job<'_>, report: &Report) {
    let ours = report.archives.iter().flatten().map(|listed| listed.archive.name.as_str());
    for name in ours.filter(|name| *name != report.name) {
        let is_of_a_day = |name: &&str| job.identity.day_of(name).is_some();
        if is_in_the_making(name).filter(is_of_a_day).is_some() {
            job.tell(Event::Unfinished { name });
        }
        if let Some(daily) = is_beside(name).filter(is_of_a_day) {
            job.tell(Event::StandsBeside { name, daily });
        }
    }
}
