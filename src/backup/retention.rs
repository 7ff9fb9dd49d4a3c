//! Which of the older archives stay.

use std::time::Duration;

use crate::archive::name::{Archive, as_date};
use crate::config::Config;
use crate::error::Result;
use crate::tools::borg::{Borg, Level, Line};

/// Names that are dates, and none of ours in the making (`2026-11-24.new`) nor anybody else's.
const DATES: &str = "[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]";

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Retention {
    /// The rules (`("daily", 7)`), and the archives that none of them keeps, the newest first.
    Pruned { keeps: Rules, removed: Vec<String> },
    /// It is none of the days of `prune_on_days`.
    NotToday,
    /// All keep_* are 0: borg refuses that, and nobody means "keep none".
    NoRules,
    /// This archive was started after the one just made, so the clock jumped: the newest by date
    /// may not be the newest that was made, and the rules would keep the wrong ones.
    ClockJumped { newer: String },
}

impl Retention {
    /// The archives that are gone.
    pub fn removed(&self) -> &[String] {
        match self {
            Retention::Pruned { removed, .. } => removed,
            _ => &[],
        }
    }
}

/// Removes the dated archives that no rule keeps. `made` is the start of today's archive, which
/// is the newest and therefore kept by every rule; `before` are the archives that were there when
/// it was begun; `day` is the day of the month.
///
/// # Errors
/// What borg said, explained.
pub fn prune(
    borg: &Borg,
    config: &Config,
    made: &str,
    before: &[Archive],
    day: u8,
    lock_wait: Duration,
) -> Result<Retention> {
    if let Some(reason) = reason_not_to(config, made, before, day) {
        return Ok(reason);
    }
    let mut command = borg.command("prune", lock_wait)?.args(["--list", "--glob-archives", DATES]);
    for (rule, keep) in rules(config) {
        command = command.arg(format!("--keep-{rule}={keep}"));
    }
    // Days, weeks and months begin when they do for the user.
    command = match std::env::var_os("TZ") {
        Some(zone) => command.env("TZ", zone),
        None => command.env_remove("TZ"),
    };
    let output = borg.run(command.die_with_parent(), "remove the archives that are not to be kept")?;
    Ok(Retention::Pruned { keeps: rules(config), removed: removed(&output.stderr) })
}

/// `keep_*`, as `borg prune --keep-*` takes it.
pub type Rules = [(&'static str, i32); 3];

fn rules(config: &Config) -> Rules {
    [("daily", config.keep_daily), ("weekly", config.keep_weekly), ("monthly", config.keep_monthly)]
}

fn reason_not_to(config: &Config, made: &str, before: &[Archive], day: u8) -> Option<Retention> {
    if config.prune_on_days.as_ref().is_some_and(|days| !days.contains(&day)) {
        return Some(Retention::NotToday);
    }
    if rules(config).iter().all(|(_, keep)| *keep == 0) {
        return Some(Retention::NoRules);
    }
    let newer = before.iter().find(|a| as_date(&a.name).is_some() && a.start.as_str() > made)?;
    Some(Retention::ClockJumped { newer: newer.name.clone() })
}

/// The names in lines like `Pruning archive (1/2):   2026-01-02   Fri, 2026-01-02 10:00:00 [08f4…]`.
fn removed(lines: &[Vec<u8>]) -> Vec<String> {
    let name = |line: &Vec<u8>| {
        let Line::Message { level: Level::Info, text, .. } = Line::parse(line) else { return None };
        let rest = text.strip_prefix("Pruning archive")?.split_once(':')?.1;
        rest.split_whitespace().next().map(str::to_owned)
    };
    lines.iter().filter_map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backup::plan::tests::config;

    fn archive(name: &str, start: &str) -> Archive {
        Archive { name: name.into(), id: String::new(), start: start.into() }
    }

    #[test]
    fn what_was_removed_is_read_from_both_borgs() {
        let line = |message: &str| {
            serde_json::json!({"type": "log_message", "levelname": "INFO", "name": "borg.output.list",
                "message": message})
            .to_string()
            .into_bytes()
        };
        let lines = [
            line("Keeping archive (rule: daily #1):        2026-01-03       Sat, 2026-01-03 10:00:00 [510e]"),
            line("Pruning archive (1/2):                   2026-01-02       Fri, 2026-01-02 10:00:00 [08f4]"),
            line("Pruning archive (2/2):                       2026-01-01   Thu, 2026-01-01 10:00:00 [fa96]"),
        ];
        assert_eq!(removed(&lines), ["2026-01-02", "2026-01-01"]);
    }

    #[test]
    fn a_dated_archive_from_the_future_stops_it_and_others_do_not() {
        let before = [
            archive("2026-11-23", "2026-11-23T10:00:00.000000"),
            archive("notes", "2099-01-01T00:00:00.000000"),
        ];
        let config = config(&["/boot"]);
        assert_eq!(reason_not_to(&config, "2026-11-24T10:00:00.000000", &before, 24), None);
        let reason = reason_not_to(&config, "2026-11-22T10:00:00.000000", &before, 22);
        assert_eq!(reason, Some(Retention::ClockJumped { newer: "2026-11-23".into() }));
    }

    #[test]
    fn it_runs_on_the_days_of_the_month_that_are_listed() {
        let mut config = config(&["/boot"]);
        config.prune_on_days = Some(vec![1, 15]);
        assert_eq!(reason_not_to(&config, "", &[], 14), Some(Retention::NotToday));
        assert_eq!(reason_not_to(&config, "", &[], 15), None);
    }

    #[test]
    fn no_rule_at_all_removes_nothing() {
        let mut config = config(&["/boot"]);
        (config.keep_daily, config.keep_weekly, config.keep_monthly) = (0, 0, 0);
        assert_eq!(reason_not_to(&config, "", &[], 1), Some(Retention::NoRules));
    }
}
