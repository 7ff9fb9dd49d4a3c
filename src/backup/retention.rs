//! Decides which older archives stay. borg's own `prune` knows archives only by their names. So we
//! apply borg's rules here, and delete archives by their exact names.

use std::time::Duration;

use chrono::{DateTime, Local, NaiveDateTime, TimeZone, Utc};

use crate::archive::identity::Identity;
use crate::archive::name::{Archive, as_date, is_checkpoint};
use crate::archive::origin::Listed;
use crate::config::Config;
use crate::error::{Kind, Result};
use crate::tools::borg::{Borg, archive_argument};

/// The number of archives that one call of borg deletes.
const AT_ONCE: usize = 500;

/// The result of pruning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Retention {
    /// The rules (`("daily", 7)`), and the archives that none of them keeps, the newest first:
    /// those that were removed, and those that are damaged, which borg cannot delete.
    Pruned { keeps: KeepRules, removed: Vec<String>, damaged: Vec<String> },
    /// Today is not one of `prune_on_days`.
    NotToday,
    /// All keep_* are 0. borg refuses this, and it hardly means "keep none".
    NoRules,
    /// This archive of ours was begun after this run, so the clock jumped. The newest date may not
    /// be the newest archive, and the rules would keep the wrong ones.
    ClockJumped { newer: String },
    /// This many archives have names like ours, but are not ours, for example this one by this
    /// maker; and there is no `archive_suffix` to distinguish them.
    Shared { others: usize, name: String, maker: String },
}

impl Retention {
    /// The archives that were removed.
    pub fn removed(&self) -> &[String] {
        match self {
            Retention::Pruned { removed, .. } => removed,
            _ => &[],
        }
    }

    /// The archives that no rule keeps, but that cannot be removed.
    pub fn damaged(&self) -> &[String] {
        match self {
            Retention::Pruned { damaged, .. } => damaged,
            _ => &[],
        }
    }

    /// Whether somebody should find out why nothing was pruned.
    pub fn is_a_warning(&self) -> bool {
        matches!(self, Retention::ClockJumped { .. } | Retention::Shared { .. })
    }
}

/// Removes those archives of ours named after a day that no rule keeps, and the remains of
/// incomplete ones. `begun` is when this run began. Today's archive is the newest, and therefore
/// kept.
///
/// # Errors
/// The failure of borg, explained.
pub fn prune(
    borg: &Borg,
    config: &Config,
    identity: &Identity,
    begun: DateTime<Local>,
    day: u8,
    lock_wait: Duration,
) -> Result<Retention> {
    if let Some(reason) = reason_not_to_look(config, day) {
        return Ok(reason);
    }
    // Another machine may have changed the repository since the run began.
    let listed = borg.listed(lock_wait)?;
    if let Some(reason) = reason_not_to(identity, &listed, begun.with_timezone(&Utc).naive_utc()) {
        return Ok(reason);
    }
    let (mut removed, mut damaged) = (Vec::new(), Vec::new());
    for names in superfluous(&rules(config), identity, &listed, &Local).chunks(AT_ONCE) {
        match delete(borg, names, lock_wait) {
            Err(e) if e.kind() == Kind::Damaged => {
                let (gone, stays) = delete_one_by_one(borg, names, lock_wait)?;
                removed.extend(gone);
                damaged.extend(stays);
            }
            result => {
                result?;
                removed.extend_from_slice(names);
            }
        }
    }
    Ok(Retention::Pruned { keeps: rules(config), removed, damaged })
}

/// Deletes all of them, or none.
fn delete(borg: &Borg, names: &[String], lock_wait: Duration) -> Result<()> {
    let command = borg.command("delete", lock_wait)?.arg(archive_argument(&names[0])).args(&names[1..]);
    borg.run(command.die_with_parent(), "remove the archives that are not to be kept").map(drop)
}

/// The names of those that were deleted, and of those that are damaged.
fn delete_one_by_one(
    borg: &Borg,
    names: &[String],
    lock_wait: Duration,
) -> Result<(Vec<String>, Vec<String>)> {
    let (mut gone, mut damaged) = (Vec::new(), Vec::new());
    for name in names {
        match delete(borg, std::slice::from_ref(name), lock_wait) {
            Ok(()) => gone.push(name.clone()),
            Err(e) if e.kind() == Kind::Damaged => damaged.push(name.clone()),
            Err(e) => return Err(e),
        }
    }
    Ok((gone, damaged))
}

/// The rules `keep_*`, as in `borg prune --keep-*`.
pub type KeepRules = [(&'static str, i32); 3];

fn rules(config: &Config) -> KeepRules {
    [("daily", config.keep_daily), ("weekly", config.keep_weekly), ("monthly", config.keep_monthly)]
}

fn reason_not_to_look(config: &Config, day: u8) -> Option<Retention> {
    if config.prune_on_days.as_ref().is_some_and(|days| !days.contains(&day)) {
        return Some(Retention::NotToday);
    }
    rules(config).iter().all(|(_, keep)| *keep == 0).then_some(Retention::NoRules)
}

fn reason_not_to(identity: &Identity, listed: &[Listed], begun: NaiveDateTime) -> Option<Retention> {
    let others = |l: &&Listed| {
        as_date(&l.archive.name).is_some() && !identity.made(&l.origin) && !l.origin.is_unknown()
    };
    if identity.suffix.is_none()
        && let Some(other) = listed.iter().rfind(others)
    {
        return Some(Retention::Shared {
            others: listed.iter().filter(others).count(),
            name: other.archive.name.clone(),
            maker: identity.describe(&other.origin),
        });
    }
    let newer = listed.iter().rfind(|l| is_dated(identity, l) && start(&l.archive) > Some(begun))?;
    Some(Retention::ClockJumped { newer: newer.archive.name.clone() })
}

/// Whether it is ours, and named after a day.
fn is_dated(identity: &Identity, listed: &Listed) -> bool {
    identity.day_of(&listed.archive.name).is_some() && identity.made(&listed.origin)
}

/// The names of our archives that no rule keeps. Days, weeks and months begin at midnight in
/// `zone`.
fn superfluous<Z: TimeZone>(
    rules: &KeepRules,
    identity: &Identity,
    listed: &[Listed],
    zone: &Z,
) -> Vec<String>
where
    Z::Offset: std::fmt::Display,
{
    let mut ours: Vec<&Archive> =
        listed.iter().filter(|l| is_dated(identity, l)).map(|l| &l.archive).collect();
    ours.sort_by(|a, b| b.start.cmp(&a.start));
    let kept = kept(rules, &ours, zone);
    let unfinished = listed.iter().filter(|l| is_unfinished(identity, l)).map(|l| &l.archive);
    let removed = ours.into_iter().filter(|archive| !kept.contains(&archive.name.as_str()));
    removed.chain(unfinished).map(|archive| archive.name.clone()).collect()
}

/// Chooses like `borg prune` among `archives`, which are sorted, the newest first. (Like 1.2 and
/// later, it keeps the oldest as long as a rule finds fewer than it may keep.)
fn kept<'a, Z: TimeZone>(rules: &KeepRules, archives: &[&'a Archive], zone: &Z) -> Vec<&'a str>
where
    Z::Offset: std::fmt::Display,
{
    let mut kept: Vec<&str> = Vec::new();
    for (rule, number) in rules {
        let wanted = usize::try_from(*number).unwrap_or(usize::MAX);
        let (mut by_rule, mut last) = (0, None);
        for archive in archives {
            if by_rule == wanted {
                break;
            }
            let period = period(rule, archive, zone);
            if last.as_ref() != Some(&period) && !kept.contains(&archive.name.as_str()) {
                kept.push(&archive.name);
                by_rule += 1;
            }
            last = Some(period);
        }
        if let Some(oldest) = archives.last()
            && *number > 0
            && by_rule < wanted
            && !kept.contains(&oldest.name.as_str())
        {
            kept.push(&oldest.name);
        }
    }
    kept
}

/// The day, week or month of its start. A start that cannot be read is a period of its own, so the
/// archive stays as long as possible.
fn period<Z: TimeZone>(rule: &str, archive: &Archive, zone: &Z) -> String
where
    Z::Offset: std::fmt::Display,
{
    let format = match rule {
        "daily" => "%Y-%m-%d",
        "weekly" => "%G-%V",
        _ => "%Y-%m",
    };
    match start(archive) {
        Some(start) => zone.from_utc_datetime(&start).format(format).to_string(),
        None => archive.start.clone(),
    }
}

/// Whether it is the remains of an interrupted archive of ours. Its successor is complete.
fn is_unfinished(identity: &Identity, listed: &Listed) -> bool {
    let name = &listed.archive.name;
    let finished = name.split(".checkpoint").next().unwrap_or_default();
    let day = finished.split('.').next().unwrap_or_default();
    is_checkpoint(name) && identity.day_of(day).is_some() && identity.made(&listed.origin)
}

/// In UTC.
fn start(archive: &Archive) -> Option<NaiveDateTime> {
    archive.start.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::mark::Mark;
    use crate::archive::origin::Origin;
    use crate::backup::plan::tests::config;

    fn archive(name: &str, start: &str) -> Archive {
        Archive { name: name.into(), id: String::new(), start: format!("{start}.000000") }
    }

    fn us() -> Identity {
        Identity { machine: Some("0f".into()), hosts: vec!["us".into()], ..Identity::default() }
    }

    fn by(host: &str, name: &str, start: &str) -> Listed {
        Listed { archive: archive(name, start), origin: Origin::new(host.into(), "", &[]) }
    }

    fn marked(machine: &str, suffix: Option<&str>, name: &str, start: &str) -> Listed {
        let mark = Mark::new(Some(machine.into()), suffix.map(str::to_owned), String::new(), &[]);
        Listed { archive: archive(name, start), origin: Origin::ours("us".into(), mark, 0) }
    }

    fn at(text: &str) -> NaiveDateTime {
        text.parse().unwrap()
    }

    #[test]
    fn a_dated_archive_of_ours_from_the_future_stops_it_and_others_do_not() {
        let listed = [
            by("us", "2026-11-23", "2026-11-23T10:00:00"),
            by("us", "notes", "2099-01-01T00:00:00"),
            by("them", "2099-01-01-media", "2099-01-01T00:00:00"),
        ];
        assert_eq!(reason_not_to(&us(), &listed, at("2026-11-24T10:00:00")), None);
        let reason = reason_not_to(&us(), &listed, at("2026-11-22T10:00:00")).unwrap();
        assert_eq!(reason, Retention::ClockJumped { newer: "2026-11-23".into() });
        assert!(reason.is_a_warning());
    }

    #[test]
    fn dated_archives_of_others_stop_it_unless_a_suffix_tells_ours_from_them() {
        let listed = [
            by("us", "2026-11-22", "2026-11-22T10:00:00"),
            by("them", "2026-11-23", "2026-11-23T10:00:00"),
            marked("1e", None, "2026-11-24", "2026-11-24T10:00:00"),
        ];
        let now = at("2026-11-25T10:00:00");
        let reason = reason_not_to(&us(), &listed, now).unwrap();
        let maker = "host us (machine 1e)".to_owned();
        assert_eq!(reason, Retention::Shared { others: 2, name: "2026-11-24".into(), maker });
        assert!(reason.is_a_warning());
        let suffixed = Identity { suffix: Some("media".into()), ..us() };
        assert_eq!(reason_not_to(&suffixed, &listed, now), None);
        let damaged = Listed { origin: Origin::default(), ..by("", "2026-11-23", "2026-11-23T10:00:00") };
        assert_eq!(reason_not_to(&us(), &[damaged], now), None);
        assert_eq!(reason_not_to(&us(), &[by("them", "host-1", "2026-11-23T10:00:00")], now), None);
    }

    #[test]
    fn it_runs_on_the_days_of_the_month_that_are_listed() {
        let mut config = config(&["/boot"]);
        config.prune_on_days = Some(vec![1, 15]);
        assert_eq!(reason_not_to_look(&config, 14), Some(Retention::NotToday));
        assert_eq!(reason_not_to_look(&config, 15), None);
    }

    #[test]
    fn no_rule_at_all_removes_nothing() {
        let mut config = config(&["/boot"]);
        (config.keep_daily, config.keep_weekly, config.keep_monthly) = (0, 0, 0);
        assert_eq!(reason_not_to_look(&config, 1), Some(Retention::NoRules));
    }

    fn gone(rules: [i32; 3], identity: &Identity, listed: &[Listed]) -> Vec<String> {
        let rules = [("daily", rules[0]), ("weekly", rules[1]), ("monthly", rules[2])];
        superfluous(&rules, identity, listed, &Utc)
    }

    #[test]
    fn nothing_goes_that_is_not_ours_or_not_of_a_day() {
        let suffix = Some("media");
        let listed = [
            by("us", "2026-01-01", "2026-01-01T10:00:00"),
            by("them", "2026-01-02", "2026-01-02T10:00:00"),
            marked("1e", None, "2026-01-03", "2026-01-03T10:00:00"),
            by("us", "2026-01-04.new", "2026-01-04T10:00:00"),
            by("us", "2026-01-04.beside", "2026-01-04T10:00:00"),
            by("us", "before-2026-01-04", "2026-01-04T10:00:00"),
            marked("0f", suffix, "2026-01-05-media", "2026-01-05T10:00:00"),
            marked("0f", None, "2026-01-06", "2026-01-06T10:00:00"),
            marked("0f", suffix, "2026-01-06-media", "2026-01-06T10:00:00"),
        ];
        assert_eq!(gone([1, 0, 0], &us(), &listed), ["2026-01-01"]);
        let media = Identity { suffix: Some("media".into()), ..us() };
        assert_eq!(gone([1, 0, 0], &media, &listed), ["2026-01-05-media"]);
    }

    #[test]
    fn what_borg_left_of_our_archives_goes_and_that_of_others_stays() {
        let listed = [
            by("us", "2026-01-01.checkpoint", "2026-01-01T10:00:00"),
            by("us", "2026-01-02.new.checkpoint.1", "2026-01-02T10:00:00"),
            by("us", "notes.checkpoint", "2026-01-02T10:00:00"),
            by("them", "2026-01-02.checkpoint", "2026-01-02T10:00:00"),
            marked("0f", None, "2026-01-03", "2026-01-03T10:00:00"),
        ];
        let expected = ["2026-01-01.checkpoint", "2026-01-02.new.checkpoint.1"];
        assert_eq!(gone([1, 0, 0], &us(), &listed), expected);
    }

    #[test]
    fn each_rule_keeps_the_newest_of_so_many_periods_and_the_oldest_while_it_has_room() {
        let day = |n: i64| {
            let start = at("2026-03-31T10:00:00") - chrono::TimeDelta::days(n);
            by("us", &start.format("%Y-%m-%d").to_string(), &start.format("%Y-%m-%dT%H:%M:%S").to_string())
        };
        let listed: Vec<Listed> = (0..60).rev().map(day).collect();
        let kept = |rules| {
            let gone = gone(rules, &us(), &listed);
            let kept =
                listed.iter().rev().map(|l| l.archive.name.clone()).filter(|name| !gone.contains(name));
            kept.collect::<Vec<_>>()
        };
        assert_eq!(kept([2, 0, 0]), ["2026-03-31", "2026-03-30"]);
        assert_eq!(kept([0, 3, 0]), ["2026-03-31", "2026-03-29", "2026-03-22"]);
        assert_eq!(kept([1, 0, 9]), ["2026-03-31", "2026-02-28", "2026-01-31"]);
        assert_eq!(kept([-1, 0, 0]).len(), 60);
        assert_eq!(gone([1, 0, 0], &us(), &[day(3)]), [""; 0]);
    }
}
