//! `create`

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::backup::{self, Hooks, Listener, Options, Outcome, Report, Telemetry};
use crate::cli::backup_events::BackupEvents;
use crate::cli::console::{self, Console};
use crate::cli::exit::Exit;
use crate::cli::globals::Globals;
use crate::cli::report;
use crate::cli::telemetry_file;
use crate::cli::units;
use crate::config::Config;
use crate::error::Result;
use crate::process::interrupt;

/// Back up what the configuration lists into an archive named after today, then prune older archives.
#[derive(Args)]
pub struct Create {
    /// What to do if an archive of today exists.
    #[arg(long, value_enum, default_value_t = IfExists::Fail, value_name = "WHAT")]
    if_exists: IfExists,
    /// Only list what would be backed up. Nothing is written and nothing is pruned.
    #[arg(long)]
    dry_run: bool,
    /// Write metrics in the text format of Prometheus to FILE, even if the backup fails. A bare name goes to
    /// the directory of the node exporter's textfile collector.
    #[arg(long, value_name = "FILE", conflicts_with = "dry_run")]
    telemetry_file: Option<PathBuf>,
    /// How long to wait for another `create` and for the repository's lock.
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    lock_wait: u32,
    /// Print the result as JSON on standard output.
    #[arg(long, conflicts_with = "dry_run")]
    json: bool,
    /// Options for `borg create`, passed on unchanged.
    #[arg(last = true, value_name = "BORG OPTIONS")]
    borg_options: Vec<OsString>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum IfExists {
    /// Fail.
    Fail,
    /// Keep it, and make no new one.
    Skip,
    /// Replace it; the old archive is removed when the new one is complete.
    Replace,
}

impl Create {
    pub fn run(&self, globals: &Globals) -> Result<Exit> {
        let console = globals.console();
        globals.file()?;
        let config = globals.config_to_create().inspect_err(|error| {
            self.leave(globals, |known| known.refused(Exit::from(error) as u8));
        })?;
        interrupt::heed()?;
        let hooks = Hooks::new(&config)?;
        let events = match self.json {
            true => BackupEvents::new(console).without_stdout(),
            false => BackupEvents::new(console),
        };
        let events = Arc::new(events);
        let listener: Arc<dyn Listener> = events.clone();
        let report = backup::create(&config, &self.options(), &hooks, &listener);
        events.end();
        let exit = exit(&report, &config);
        if !self.dry_run {
            self.leave(globals, |known| known.ran(&config, &report, exit as u8));
            if let Err(error) = hooks.notify(&report, exit as u8) {
                report::warning(console, &error);
            }
        }
        if self.json {
            console::print(&report.json(exit as u8).to_string())?;
        }
        tell(&report, console);
        report.outcome.map(|_| exit)
    }

    /// Saves what is known for monitoring and for later runs. A failure here does not fail the
    /// backup.
    fn leave(&self, globals: &Globals, add: impl FnOnce(&mut Telemetry)) {
        let mut known = Telemetry::load(&globals.config);
        add(&mut known);
        known.save();
        let written = self.telemetry_file.as_deref().map(|file| telemetry_file::write(&known, file));
        if let Some(Err(error)) = written {
            report::warning(globals.console(), &error);
        }
    }

    fn options(&self) -> Options {
        Options {
            if_exists: match self.if_exists {
                IfExists::Fail => backup::IfExists::Fail,
                IfExists::Skip => backup::IfExists::Skip,
                IfExists::Replace => backup::IfExists::Replace,
            },
            dry_run: self.dry_run,
            lock_wait: Duration::from_secs(self.lock_wait.into()),
            borg_options: self.borg_options.clone(),
        }
    }
}

fn exit(report: &Report, config: &Config) -> Exit {
    match &report.outcome {
        Err(error) => Exit::from(error),
        Ok(Outcome::Made(Err(_)) | Outcome::Skipped(Err(_))) => Exit::Failed,
        Ok(_) if report.is_incomplete() => Exit::Warned,
        Ok(_) if report.warnings > 0 && config.fail_on_warnings => Exit::Warned,
        Ok(_) => Exit::Done,
    }
}

/// Reports the outcome of a run that did not fail as a whole.
fn tell(report: &Report, console: Console) {
    let Ok(outcome) = &report.outcome else { return };
    console.say(&summary(report, outcome));
    for missing in missing(report) {
        console.warn(&missing);
    }
    if let Outcome::Made(Err(error)) | Outcome::Skipped(Err(error)) = outcome {
        report::error(console, error);
        console.warn(&format!("the backup itself is complete: {}", report.name));
    }
}

/// What was asked for and is missing in the archive.
fn missing(report: &Report) -> Vec<String> {
    let name = &report.name;
    let mut missing = Vec::new();
    if report.unread > 0 {
        let what = counted(report.unread, "file or directory", "files and directories");
        missing.push(format!("{name} lacks {what} that could not be read"));
    }
    if !report.missing.is_empty() {
        let what = report.missing.join(", ");
        let lacks = match report.is_unmarked {
            true => "was made without this version, so it does not say whether it holds",
            false => "does not hold",
        };
        missing.push(format!(
            "{name} {lacks} {what}, which the configuration lists; `create --if-exists replace` makes it again"
        ));
    }
    if let Some(kept) = &report.kept {
        missing.push(format!(
            "the new archive is {name}; to go on without {kept}, `borg-offsite-backup delete ::{kept}`"
        ));
    }
    if let Some(due) = &report.misnamed {
        missing.push(format!("the archive is {name}; the next `create` of this day makes it as {due}"));
    }
    missing
}

fn counted(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", units::count(number), if number == 1 { one } else { many })
}

/// The outcome in one line.
fn summary(report: &Report, outcome: &Outcome) -> String {
    let name = &report.name;
    let took = units::duration(report.total);
    let done = match outcome {
        Outcome::Made(Ok(_)) => format!("Done in {took}"),
        // The error is reported after this line.
        Outcome::Made(Err(_)) => format!("{name} was made in {took}"),
        Outcome::Skipped(Ok(retention)) if !retention.removed().is_empty() => {
            return format!("There is an archive {name} already; older ones were pruned");
        }
        Outcome::Skipped(_) if report.is_incomplete() => {
            return format!("There is an archive {name} already, in which something is missing");
        }
        Outcome::Skipped(_) => return format!("There is an archive {name} already; nothing was done"),
        Outcome::Rehearsed => return "Nothing was written: this was a dry run".to_owned(),
    };
    let sizes = report.statistics;
    let mut text = done;
    if report.made.as_ref().is_none_or(|made| made.statistics.is_some()) {
        let (all, new) = (units::size(sizes.original_size), units::size(sizes.deduplicated_size));
        text.push_str(&format!(": {all} looked at, {new} new"));
    }
    for (number, one, many) in [
        (report.changed, "file changed while read", "files changed while read"),
        (report.unread, "file or directory not read", "files and directories not read"),
        (report.warnings.saturating_sub(report.changed + report.unread), "warning", "warnings"),
    ] {
        if number > 0 {
            text.push_str(&format!(", {}", counted(number, one, many)));
        }
    }
    if report.warnings > 0 {
        text.push_str(" (listed above)");
    }
    if report.caches > 0 {
        let noun = if report.caches == 1 { "directory" } else { "directories" };
        text.push_str(&format!("; {} {noun} left out as caches", units::count(report.caches)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backup::{Retention, Statistics};

    fn report() -> Report {
        let statistics = Statistics {
            original_size: 96_100_000_000,
            compressed_size: 50_000_000_000,
            deduplicated_size: 1_300_000_000,
            files: 200_000,
        };
        Report { statistics, total: Duration::from_secs(372), ..Report::new("2026-11-24".into()) }
    }

    #[test]
    fn the_last_line_tells_how_much_and_what_was_odd() {
        let mut report = report();
        let made = Outcome::Made(Ok(Retention::NotToday));
        let text = summary(&report, &made);
        assert_eq!(text, "Done in 6 min 12 s: 96.1 GB looked at, 1.3 GB new");
        (report.warnings, report.changed) = (3, 2);
        assert!(missing(&report).is_empty());
        let text = summary(&report, &made);
        assert_eq!(
            text,
            "Done in 6 min 12 s: 96.1 GB looked at, 1.3 GB new, 2 files changed while read, 1 warning (listed above)"
        );
        report.caches = 1;
        let text = summary(&report, &made);
        assert!(text.ends_with("(listed above); 1 directory left out as caches"), "{text}");
        (report.unread, report.caches) = (1, 0);
        assert!(
            summary(&report, &made)
                .ends_with(", 2 files changed while read, 1 file or directory not read (listed above)")
        );
        assert_eq!(missing(&report), ["2026-11-24 lacks 1 file or directory that could not be read"]);
        (report.unread, report.missing, report.is_unmarked) = (0, vec!["tank/v".into()], true);
        let text = missing(&report).concat();
        assert!(text.starts_with("2026-11-24 was made without this version"), "{text}");
        report.is_unmarked = false;
        assert!(missing(&report).concat().starts_with("2026-11-24 does not hold tank/v"));
    }
}
