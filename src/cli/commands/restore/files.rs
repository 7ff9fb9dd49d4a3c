//! Files and directories of the archive into a directory.

use std::collections::HashSet;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::request::Request as Arguments;
use crate::archive::patterns::Patterns;
use crate::archives::open_archive::OpenArchive;
use crate::cli::confirm;
use crate::cli::console::{self, Console};
use crate::cli::exit::Exit;
use crate::cli::progress::Display;
use crate::cli::units::{self, count, size};
use crate::config::Config;
use crate::directories;
use crate::error::{Error, Kind, Result};
use crate::process::interrupt;
use crate::restore::files::{Deletion, Estimate, Plan, Protection, Report, Request, Survey};
use crate::tools::borg::Borg;

/// So many paths are shown.
const SHOWN: usize = 20;

/// Restores what the request names into the directory `to`, or says what that would take.
pub fn run(
    borg: &Borg,
    config: &Config,
    console: Console,
    arguments: &Arguments<'_>,
    archived: &OpenArchive,
    to: &Path,
) -> Result<Exit> {
    let options = arguments.options;
    let paths = arguments.paths.iter().map(|path| archived.path(path)).collect::<Result<Vec<_>>>()?;
    interrupt::heed()?;
    let request = Request {
        paths: &paths,
        to,
        overwrite: options.overwrite,
        delete: options.delete.then(|| protection(borg, config)).transpose()?,
        numeric_ids: options.numeric_ids,
        trust_times: options.trust_times,
        in_place: options.in_place,
        salvage: options.salvage,
        dry_run: options.dry_run,
        seeds: &options.seed,
    };
    let display = Display::new(console);
    let plan = Plan::new(request, archived, &display)?;
    let surveyed = Survey::of(&plan);
    display.clear();
    let mut survey = surveyed?;
    let conflicts = std::mem::take(&mut survey.conflicts);
    if !conflicts.is_empty() {
        return Err(conflicts.into_error(to));
    }
    if options.trust_times {
        console.say("files with the archive's size and time were not read");
    }
    let about = || json!({ "archive": archived.archive.name, "target": to.to_string_lossy() });
    if options.dry_run {
        let estimate = Estimate::of(&plan, &survey)?;
        list(console, &survey.deletions);
        return tell_estimate(&estimate, options.json, about(), archived, to);
    }
    if !survey.deletions.is_empty() {
        list(console, &survey.deletions);
        if !options.yes {
            let deletions = count(survey.deletions.len() as u64);
            confirm::ask(&format!("{deletions} of {} will be deleted. Go on?", to.display()))?;
        }
    }
    let report = plan.run(&survey);
    display.clear();
    tell(&report?, options.json, about(), console, to)
}

/// What `--delete` never deletes.
fn protection(borg: &Borg, config: &Config) -> Result<Protection> {
    let excluded = Patterns::parse(&config.exclude_patterns).map_err(|pattern| {
        Error::usage(format!("`--delete` cannot tell what the pattern {pattern} excludes"))
            .hint("without `--delete`, what the archive does not have stays")
    })?;
    let mut inodes = HashSet::new();
    let directories = [directories::cache_dir(), directories::state_dir()].into_iter().flatten();
    let files = borg.key_places().into_iter().chain(config.file.clone());
    for path in files.chain(directories).chain(borg.local().map(Path::to_owned)) {
        if let Ok(meta) = path.metadata() {
            inodes.insert((meta.dev(), meta.ino()));
        }
    }
    Ok(Protection { excluded, caches: config.exclude_caches, inodes })
}

fn list(console: Console, deletions: &[Deletion]) {
    for deletion in deletions.iter().take(SHOWN) {
        let slash = if deletion.is_directory { "/" } else { "" };
        console.say(&format!("delete {}{slash}", deletion.path.escape_ascii()));
    }
    if deletions.len() > SHOWN {
        console.say(&format!("and {} more", count((deletions.len() - SHOWN) as u64)));
    }
}

fn tell_estimate(
    estimate: &Estimate,
    is_json: bool,
    mut about: Value,
    archived: &OpenArchive,
    to: &Path,
) -> Result<Exit> {
    about["estimate"] = json!(estimate);
    let text = match is_json {
        true => about.to_string(),
        false => estimate_text(estimate, &archived.archive.name, to),
    };
    console::print(&text)?;
    Ok(Exit::Done)
}

fn estimate_text(estimate: &Estimate, archive: &str, to: &Path) -> String {
    let mut lines = vec![format!(
        "::{archive} into {}, {} entries, {}; nothing was written:",
        to.display(),
        count(estimate.entries),
        size(estimate.size)
    )];
    let mut line = |label: &str, text: String| lines.push(format!("  {label:<13}  {text}"));
    line("right already", count(estimate.right));
    line("to make", count(estimate.to_make));
    line("to replace", count(estimate.to_replace));
    line("to delete", count(estimate.to_delete));
    let chunks = count(estimate.chunks_to_fetch);
    line("to fetch", format!("{} as stored, {chunks} chunks", size(estimate.to_fetch)));
    line("on this machine", size(estimate.local));
    line("to write", format!("at most {}", size(estimate.to_write)));
    line("free there", size(estimate.free));
    if let (Some(seconds), Some(rate)) = (estimate.seconds, estimate.rate) {
        let about = units::duration(Duration::from_secs(seconds));
        line("time", format!("about {about} (fetching {}/s, as just measured)", size(rate)));
    }
    lines.join("\n")
}

fn tell(report: &Report, is_json: bool, mut about: Value, console: Console, to: &Path) -> Result<Exit> {
    for problem in report.problems.iter().take(SHOWN) {
        console.warn(&format!("{}: {}", problem.path.escape_ascii(), problem.why));
    }
    for file in report.damaged.iter().take(SHOWN) {
        console.warn(&format!("damaged: {}", file.message()));
    }
    let more = report.problems.len().saturating_sub(SHOWN) + report.damaged.len().saturating_sub(SHOWN);
    if more > 0 {
        console.warn(&format!("and {} more", count(more as u64)));
    }
    if is_json {
        about["restored"] = json!(report);
        if !report.damaged.is_empty() {
            about["damaged"] = json!(report.damaged);
        }
        console::print(&about.to_string())?;
    }
    if report.missing > 0 {
        console.warn(&format!("{} of what was asked for did not come", count(report.missing)));
    }
    if report.missing > 0 && report.missing >= report.files {
        let kind = if report.damaged_files > 0 { Kind::Damaged } else { Kind::Failed };
        return Err(Error::new(kind, format!("nothing was restored to {}", to.display())));
    }
    console.say(&summary(report, to));
    let is_whole = report.missing == 0 && report.warnings == 0 && report.damaged_files == 0;
    Ok(if is_whole { Exit::Done } else { Exit::Warned })
}

fn summary(report: &Report, to: &Path) -> String {
    let entries =
        if report.entries == 1 { "1 entry".to_owned() } else { format!("{} entries", count(report.entries)) };
    let took = units::duration(report.took);
    let mut parts = Vec::new();
    let mut part = |number: u64, what: &str| {
        if number > 0 {
            parts.push(format!("{} {what}", count(number)));
        }
    };
    part(report.made, "made");
    part(report.replaced, "replaced");
    part(report.repaired, "got their attributes");
    part(report.right, "were right already");
    part(report.deleted, "deleted");
    let bytes = |number: u64, what: &str| match number {
        0 => String::new(),
        number => format!(", {} {what}", size(number)),
    };
    let (fetched, local) = (bytes(report.fetched, "fetched"), bytes(report.local, "from this machine"));
    format!(
        "{entries}, {}, restored to {}: {}{fetched}{local} ({took})",
        size(report.bytes),
        to.display(),
        parts.join(", ")
    )
}
