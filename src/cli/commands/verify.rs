//! `verify`

use std::ffi::OsString;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use borg_repository::ItemPath;
use clap::Args;
use serde_json::{Value, json};

use crate::archive::choice::Wanted;
use crate::archives::open_archive::{Found, Image, OpenArchive};
use crate::cli::console::{self, Console};
use crate::cli::exit::Exit;
use crate::cli::globals::Globals;
use crate::cli::progress::Display;
use crate::cli::source::SourceArgument;
use crate::cli::units::{self, count, size};
use crate::error::{Error, Kind, Result};
use crate::process::interrupt;
use crate::tools::borg::Borg;
use crate::tools::target::open::TargetKind;
use crate::tools::target::place::Place;
use crate::verify::compare::{self, Comparison};
use crate::verify::data::{self, Reading};

const DOING: &str = "verify it";
/// The number of ranges and files that are shown; the rest is counted.
const SHOWN: usize = 20;
/// The most ranges in JSON.
const MOST_RANGES: usize = 10_000;

/// Verify an archive's data, or compare a device with its volume in an archive.
#[derive(Args)]
pub struct Verify {
    /// The archive.
    #[arg(value_name = "::ARCHIVE")]
    archive: String,
    /// A path in it, as `list` prints it; for a volume, its name is enough [default: everything].
    #[arg(value_name = "PATH")]
    path: Option<OsString>,
    /// Compare this device or file with the archive, without fetching data.
    #[arg(long, value_name = "TARGET", requires = "path")]
    against: Option<PathBuf>,
    /// Read only this part of the data, and each time another part until everything was read.
    #[arg(long, value_name = "N%", value_parser = percent, conflicts_with = "against")]
    sample: Option<f64>,
    /// How to read the archive.
    #[arg(long, value_enum, default_value_t = SourceArgument::Auto)]
    source: SourceArgument,
    /// Print the result as JSON on standard output.
    #[arg(long)]
    json: bool,
}

impl Verify {
    pub fn run(&self, globals: &Globals) -> Result<Exit> {
        let wanted = Wanted::parse(&self.archive)?;
        let config = globals.config()?;
        let borg = Borg::new(&config)?;
        interrupt::heed()?;
        let _reached = borg.reach(DOING)?;
        let archived = OpenArchive::open(&borg, &wanted, self.source.into(), DOING)?;
        let console = globals.console();
        match (&self.path, &self.against) {
            (Some(path), Some(target)) => match archived.find(path.as_bytes())? {
                Found::Image(image) => self.compare(&archived, &image, target, console),
                Found::Directory(path) | Found::Other(path) => Err(Error::usage(format!(
                    "{path} is no file in the archive, so no target can be held against it"
                ))),
            },
            (path, _) => {
                let path = path.as_ref().map(|path| archived.find(path.as_bytes())).transpose()?;
                let path = path.map(|found| match found {
                    Found::Image(Image { path, .. }) | Found::Directory(path) | Found::Other(path) => path,
                });
                self.read(&borg, &archived, path.as_ref(), console)
            }
        }
    }

    fn compare(
        &self,
        archived: &OpenArchive,
        image: &Image,
        target: &Path,
        console: Console,
    ) -> Result<Exit> {
        let place = Place::at(target)?;
        if place.kind == TargetKind::New {
            return Err(Error::usage(format!("there is no {}", place.label())));
        }
        let target = place.open_to_read()?;
        let (start, display) = (Instant::now(), Display::new(console));
        let comparison = compare::compare(image, &target, &display);
        display.clear();
        let comparison = comparison?;
        if self.json {
            let mut message = told_of(archived, Some(&image.path), json_of(&comparison));
            message["target"] = json!(target.label());
            console::print(&message.to_string())?;
        }
        let (label, name) = (target.label(), image.name());
        if comparison.is_equal() {
            let took = units::duration(start.elapsed());
            console.say(&format!("{label} equals {name}: all {} ({took})", size(image.size)));
            return Ok(Exit::Done);
        }
        if !self.json {
            let lines = comparison.differing.iter().map(|range| format!("differs: {}", in_bytes(range)));
            show(lines, comparison.differing.len())?;
        }
        Err(differs(label, &name, &comparison))
    }

    fn read(
        &self,
        borg: &Borg,
        archived: &OpenArchive,
        path: Option<&ItemPath>,
        console: Console,
    ) -> Result<Exit> {
        let name = name(archived, path);
        let start = Instant::now();
        let Some(native) = archived.native() else {
            if self.sample.is_some() {
                return Err(Error::usage("`--sample` needs the native source, which cannot read this"));
            }
            data::by_borg(borg, archived, path)?;
            if self.json {
                let message = told_of(archived, path, json!({ "right": true }));
                console::print(&message.to_string())?;
            }
            console.say(&format!("{name} is right, says borg ({})", units::duration(start.elapsed())));
            return Ok(Exit::Done);
        };
        let display = Display::new(console);
        let reading = data::by_chunks(archived, native, path, self.sample, &display);
        display.clear();
        let reading = reading?;
        if self.json {
            console::print(&told_of(archived, path, json_of_reading(&reading)).to_string())?;
        }
        if reading.damaged_files == 0 {
            console.say(&message(&name, &reading, &units::duration(start.elapsed())));
            return Ok(Exit::Done);
        }
        if !self.json {
            let lines = reading.damaged.iter().map(|file| format!("damaged: {}", file.message()));
            show(lines, reading.damaged_files as usize)?;
        }
        let files = count(reading.damaged_files);
        let message = format!("{name} is damaged: {files} of its files cannot be read as they were");
        Err(Error::new(Kind::Differs, message).hint(
            "`borg-offsite-backup check` tells what of the repository is wrong; other archives may have them",
        ))
    }
}

fn percent(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').unwrap_or(text).parse::<f64>();
    match number {
        Ok(percent) if percent > 0.0 && percent <= 100.0 => Ok(percent),
        _ => Err("a part is written as 5%, up to 100%".into()),
    }
}

fn name(archived: &OpenArchive, path: Option<&ItemPath>) -> String {
    let name = &archived.archive.name;
    path.map_or_else(|| format!("::{name}"), |path| format!("::{name} {path}"))
}

fn message(name: &str, reading: &Reading, took: &str) -> String {
    let (read, total) = (size(reading.read), size(reading.total));
    if reading.read == reading.total {
        return format!("{name} is right: all {total} were read ({took})");
    }
    let rest = if reading.is_last { "; all has been read now" } else { "; the next look goes on after them" };
    format!("{name} is right in the {read} of {total} that were read{rest} ({took})")
}

fn differs(target: &str, name: &str, comparison: &Comparison) -> Error {
    let Comparison { size: listed, target_size, differing } = comparison;
    let message = format!(
        "{target} differs from {name}: {} in {}",
        size(comparison.bytes()),
        if differing.len() == 1 {
            "one range".into()
        } else {
            format!("{} ranges", count(differing.len() as u64))
        }
    );
    let error = Error::new(Kind::Differs, message);
    let error = match listed == target_size {
        true => error,
        false => error.hint(format!("{target} has {target_size} bytes, the archive's {listed}")),
    };
    error.hint("`borg-offsite-backup restore --dry-run` tells what it takes to make them equal")
}

/// Prints up to [`SHOWN`] lines, and the number of the others.
fn show(lines: impl Iterator<Item = String>, all: usize) -> Result<()> {
    let mut lines: Vec<String> = lines.take(SHOWN).collect();
    if let Some(more) = all.checked_sub(lines.len()).filter(|more| *more > 0) {
        lines.push(format!("and {} more", count(more as u64)));
    }
    console::print(&lines.join("\n"))
}

fn in_bytes(range: &Range<u64>) -> String {
    format!("bytes {} to {} ({})", range.start, range.end, size(range.end - range.start))
}

fn pairs(ranges: &[Range<u64>]) -> Value {
    ranges.iter().take(MOST_RANGES).map(|range| json!([range.start, range.end])).collect()
}

/// A result as JSON, with its subject.
fn told_of(archived: &OpenArchive, path: Option<&ItemPath>, mut answer: Value) -> Value {
    answer["archive"] = json!(archived.archive.name);
    answer["path"] = json!(path.map(ToString::to_string));
    answer
}

fn json_of(comparison: &Comparison) -> Value {
    json!({
        "equal": comparison.is_equal(),
        "size": comparison.size,
        "target_size": comparison.target_size,
        "differing_bytes": comparison.bytes(),
        "differing_ranges": comparison.differing.len(),
        "ranges": pairs(&comparison.differing),
    })
}

fn json_of_reading(reading: &Reading) -> Value {
    json!({
        "right": reading.damaged_files == 0,
        "size": reading.total,
        "read": reading.read,
        "chunks": reading.chunks,
        "all_read": reading.is_last,
        "damaged_files": reading.damaged_files,
        "damaged": reading.damaged,
    })
}
