//! Files and directories of the archive into a directory.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use borg_repository::ItemPath;
use serde_json::json;

use super::request::Request as Arguments;
use crate::archives::archived::{Archived, Found};
use crate::archives::damage;
use crate::cli::console::{self, Console};
use crate::cli::exit::Exit;
use crate::cli::progress::Display;
use crate::cli::units::{self, count, size};
use crate::error::{Error, Kind, Result};
use crate::process::interrupt;
use crate::progress::{Monitor, Progress, Total};
use crate::restore::attributes;
use crate::restore::files::{self, Event, Report, Request};
use crate::tools::borg::{Borg, Need};
use crate::verify::data;

/// Restores what the request names into the directory `to`. With `strict`, warnings change the exit code.
pub fn run(
    borg: &Borg,
    console: Console,
    request: &Arguments<'_>,
    archived: &Archived,
    to: &Path,
    strict: bool,
) -> Result<Exit> {
    // Borg opens the repository itself, with a lock of its own.
    let _preflight = borg.preflight("restore from it", Need::Reading, false)?;
    let report = restore(borg, console, request, archived, to)?;
    if request.options.json {
        let (archive, target) = (&archived.archive.name, to.to_string_lossy());
        let result = json!({ "archive": archive, "target": target, "restored": report });
        console::print(&result.to_string())?;
    }
    let warned = report.missing > 0 || report.warnings > 0 && strict;
    Ok(if warned { Exit::Warned } else { Exit::Done })
}

fn restore(
    borg: &Borg,
    console: Console,
    arguments: &Arguments<'_>,
    archived: &Archived,
    to: &Path,
) -> Result<Report> {
    let paths =
        arguments.paths.iter().map(|said| Ok(path(archived.find(said)?))).collect::<Result<Vec<_>>>()?;
    interrupt::heed()?;
    let (overwrite, numeric_ids) = (arguments.options.overwrite, arguments.options.numeric_ids);
    let begun = Instant::now();
    let parents = attributes::above(&archived.tree, &paths, archived.archive.start_ns(), numeric_ids);
    let archive = archived.archive.name.as_str();
    let request = Request { archive, paths: &paths, parents: &parents, to, overwrite, numeric_ids };
    let display = Arc::new(Display::new(console));
    let shown = Arc::clone(&display);
    let report = files::restore(
        borg,
        &request,
        &(Arc::new(move |event: Event<'_>| match event {
            Event::Extracted { done, total } => {
                shown.progress(Progress::bytes("extract", done, Total::Exactly(total)));
            }
            Event::Warning(text) => {
                shown.clear();
                console.warn(text);
            }
        }) as files::Tell),
    );
    display.clear();
    let report = report.map_err(|e| with_damage(e, archived, &paths, console))?;
    if report.missing > 0 {
        console.warn(&format!("{} of what was asked for did not come", count(report.missing)));
    }
    console.say(&summary(to, &report, &units::duration(begun.elapsed())));
    Ok(report)
}

/// Which files are damaged, where that may be why `error` came: borg stops at the first.
fn with_damage(error: Error, archived: &Archived, paths: &[ItemPath], console: Console) -> Error {
    let Some(native) = archived.native().filter(|_| error.kind() == Kind::Damaged) else {
        return error;
    };
    let display = Display::new(console);
    let mut damaged = Vec::new();
    for path in paths {
        match data::by_chunks(archived, native, Some(path), None, &display) {
            Ok(reading) => damaged.extend(reading.damaged),
            Err(e) => tracing::warn!("cannot tell all that is damaged: {}", e.chain()),
        }
    }
    display.clear();
    damage::named(error, &damaged)
}

fn path(found: Found) -> ItemPath {
    match found {
        Found::Image(image) => image.path,
        Found::Directory(path) | Found::Other(path) => path,
    }
}

fn summary(to: &Path, report: &Report, took: &str) -> String {
    let entries =
        if report.entries == 1 { "1 entry".to_owned() } else { format!("{} entries", count(report.entries)) };
    let mut text = format!("{entries}, {}, restored to {} ({took})", size(report.bytes), to.display());
    match report.warnings {
        0 => {}
        1 => text.push_str(", with 1 warning (listed above)"),
        many => text.push_str(&format!(", with {} warnings (listed above)", count(many))),
    }
    text
}
