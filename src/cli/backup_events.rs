//! Reports a running backup: its steps, its progress and its warnings; only warnings when quiet.

use parking_lot::{Mutex, MutexGuard};

use super::console::{self, Console};
use super::leftovers::{could_not_remove, leftover};
use super::progress::Display;
use super::{report, units};
use crate::backup::{Beside, Event, LeftOut, Listener, Retention};
use crate::escape;
use crate::progress::{self, Monitor as _, Total};
use crate::tools::borg::Progress;

/// The number of warnings that are shown; the rest is counted.
const SHOWN_WARNINGS: u64 = 20;

/// Reports the events of a backup on the console.
pub struct BackupEvents {
    console: Console,
    display: Display,
    state: Mutex<ReportState>,
    has_stdout: bool,
}

struct ReportState {
    /// In bytes.
    expected: Option<u64>,
    warnings: u64,
}

impl BackupEvents {
    pub fn new(console: Console) -> Self {
        let state = Mutex::new(ReportState { expected: None, warnings: 0 });
        BackupEvents { console, display: Display::new(console), state, has_stdout: true }
    }

    /// Reserves standard output for something other than borg's list of files.
    pub fn without_stdout(self) -> Self {
        BackupEvents { has_stdout: false, ..self }
    }

    /// Removes the progress bar and reports how many warnings were not shown.
    pub fn end(&self) {
        self.display.clear();
        let state = self.state();
        if let Some(hidden) = state.warnings.checked_sub(SHOWN_WARNINGS + 1) {
            self.console.warn(&format!("and {} more like these", units::count(hidden + 1)));
        }
    }

    fn state(&self) -> MutexGuard<'_, ReportState> {
        self.state.lock()
    }

    fn step(&self, label: &str, text: &str) {
        self.console.step(label, text);
    }

    fn progress(&self, state: &ReportState, progress: &Progress) {
        let total = state.expected.map_or(Total::Unknown, Total::About);
        let report = progress::Progress::bytes("archive", progress.original_size, total);
        self.display.progress(report.with_subject(&progress.path));
    }

    fn warn(&self, state: &mut ReportState, text: &str) {
        state.warnings += 1;
        if state.warnings <= SHOWN_WARNINGS {
            self.console.warn(text);
        }
    }
}

impl Listener for BackupEvents {
    fn tell(&self, event: Event<'_>) {
        let state = &mut *self.state();
        if let Event::Progress(progress) = event {
            return self.progress(state, progress);
        }
        self.display.clear();
        match event {
            Event::Waiting { run, wait } => {
                let run = run.map(|run| format!(" ({run})")).unwrap_or_default();
                let wait = units::duration(wait);
                self.console
                    .say(&format!("Another `create` is running{run}; waiting for it, {wait} at most"));
            }
            Event::Removed(left) => self.console.say(&format!("Removed {}", leftover(left))),
            Event::NotRemoved(left, error) => self.console.warn(&could_not_remove(left, error)),
            Event::Begun { repository, name, paths, volumes } => {
                self.console.say(&format!("Backing up {} to {repository}::{name}", sources(paths, volumes)));
            }
            Event::Unmatched(glob) => {
                self.warn(state, &format!("{glob} in datasets_to_backup matches no dataset"))
            }
            Event::LeftOut(left_out) => self.warn(state, &left_out_text(left_out)),
            Event::Hook { key, took } => self.step(key, &units::duration(took)),
            Event::HookFailed(error) => report::warning(self.console, error),
            Event::Snapshots { pools, took } => {
                self.step("snapshots", &format!("{}   {}", in_pools(&pools), units::duration(took)));
            }
            Event::Volumes { size, read } => {
                let (size, read) = (units::size(size), units::size(read));
                self.step("volumes", &format!("{read} of {size} had to be read"));
            }
            Event::Compacting => self.step("compact", "gives free space in the repository"),
            Event::Live => self.step("stage", "not as root: borg reads the live tree"),
            Event::Staged { took } => self.step("stage", &units::duration(took)),
            Event::Archiving { expected, .. } => {
                state.expected = expected;
                self.display.restart();
                if !self.console.is_interactive() {
                    let about = expected.map(|bytes| format!(", about {}", units::size(bytes)));
                    self.step("archive", &format!("begins{}", about.unwrap_or_default()));
                }
            }
            Event::File { status, path } => {
                let line = format!("{status} {}", escape::line(path));
                match self.has_stdout {
                    // A reader who closed the list still wants the backup.
                    true => drop(console::print(&line)),
                    false => self.console.say(&line),
                }
            }
            Event::Disconnected { error, pause } => {
                self.console.warn(&format!("{}; trying again in {} s", error.chain(), pause.as_secs()));
            }
            Event::Warning(text) => self.warn(state, text),
            Event::Deleting { name } => self.step("delete", name),
            Event::Unfinished { name } => self.console.warn(&format!(
                "{name} is a whole archive that a `create --if-exists replace` left which could not finish; \
                 keep it, or `borg-offsite-backup delete ::{name}`"
            )),
            Event::Unreadable { name } => self.console.warn(&format!(
                "the archive {name} cannot be read, so it is left as it is; `borg-offsite-backup check` shows \
                 what is damaged"
            )),
            Event::NotRemovable { name } => self.console.warn(&format!(
                "the archive {name} is not to be kept and cannot be removed, since it is damaged; \
                 `borg-offsite-backup check --repair` mends what can be, and lets it be deleted"
            )),
            Event::NoMachineId => self.console.warn(
                "/etc/machine-id cannot be read: archives of this machine are known by its host name alone; \
                 `systemd-machine-id-setup` makes one",
            ),
            Event::Beside { name, existing, why } => self.console.warn(&beside(name, existing, why)),
            Event::Misnamed { name, due } => self.console.warn(&format!(
                "{name} is the backup of today: it holds everything, while {due} could not be made again, since \
                 not everything could be read the second time"
            )),
            Event::StandsBeside { name, daily } => {
                self.step(
                    "kept",
                    &format!("{name}, beside {daily}; `borg-offsite-backup delete` removes either"),
                );
            }
            Event::Pruned(retention) if retention.is_a_warning() => {
                self.console.warn(&format!("nothing was pruned: {}", not_pruned(retention)));
            }
            Event::Pruned(retention) => self.step("prune", &pruned(retention)),
            Event::Pruning => self.display.activity("prune"),
            Event::Progress(_) => {}
        }
    }
}

/// `2 file systems and 1 volume`
fn sources(file_systems: usize, volumes: usize) -> String {
    let count = |n: usize, noun: &str| match n {
        0 => None,
        1 => Some(format!("1 {noun}")),
        n => Some(format!("{n} {noun}s")),
    };
    let parts = [count(file_systems, "file system"), count(volumes, "volume")];
    parts.into_iter().flatten().collect::<Vec<_>>().join(" and ")
}

/// The reason why a selected dataset is not in the archive.
fn left_out_text(left_out: &LeftOut) -> String {
    format!("{} is not backed up: {}", left_out.name, left_out.why)
}

/// `tank (5 datasets), second (1)`
fn in_pools(pools: &[(String, usize)]) -> String {
    let text = pools.iter().enumerate().map(|(i, (pool, count))| match (i, count) {
        (0, 1) => format!("{pool} (1 dataset)"),
        (0, n) => format!("{pool} ({n} datasets)"),
        (_, n) => format!("{pool} ({n})"),
    });
    text.collect::<Vec<_>>().join(", ")
}

fn pruned(retention: &Retention) -> String {
    match retention {
        Retention::Pruned { keeps, removed, .. } => {
            let removed = if removed.is_empty() { "nothing".to_owned() } else { removed.join(", ") };
            let keeps: Vec<String> = keeps.iter().map(|(rule, n)| format!("{n} {rule}")).collect();
            format!("keeps {}; removed {removed}", keeps.join(", "))
        }
        Retention::NotToday => "not today (prune_on_days)".to_owned(),
        Retention::NoRules => "nothing: every keep_* is 0".to_owned(),
        Retention::ClockJumped { .. } | Retention::Shared { .. } => not_pruned(retention),
    }
}

/// Why nothing was pruned, and what to do about it.
fn not_pruned(retention: &Retention) -> String {
    match retention {
        Retention::ClockJumped { newer } => format!(
            "{newer} was made later than now, so the clock must have jumped; if it is right now, \
             `borg-offsite-backup delete ::{newer}`, or rename it to what is no date"
        ),
        Retention::Shared { others, name, maker } => {
            let count = if *others == 1 { "1 archive".to_owned() } else { format!("{others} archives") };
            format!(
                "{count} named after a day, such as {name} by {maker}, {} not of this machine; a repository for \
                 each machine, or `archive_suffix` in the configuration, lets it prune its own",
                if *others == 1 { "is" } else { "are" }
            )
        }
        _ => String::new(),
    }
}

fn beside(name: &str, existing: &str, why: Beside<'_>) -> String {
    match why {
        Beside::Holds(what) => format!(
            "{existing} is not replaced, since it holds {}, which this backup does not; the new archive is {name}",
            what.join(", ")
        ),
        Beside::Unread => {
            format!(
                "{existing} is not replaced, since not everything could be read; the new archive is {name}"
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pruning_tells_the_rules_and_what_went() {
        let removed = vec!["2026-10-24".to_owned()];
        let (keeps, damaged) = ([("daily", 7), ("weekly", 4), ("monthly", 12)], Vec::new());
        let retention = Retention::Pruned { keeps, removed, damaged };
        assert_eq!(pruned(&retention), "keeps 7 daily, 4 weekly, 12 monthly; removed 2026-10-24");
    }
}
