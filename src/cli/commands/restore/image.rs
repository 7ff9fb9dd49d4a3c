//! An image onto a block device or into a file.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use serde_json::{Value, json};

use super::answer::about;
use super::estimate;
use super::known::{Known, since};
use super::options::Options;
use super::request::Request;
use crate::archive::volumes;
use crate::archives::damage::Damaged;
use crate::archives::open_archive::{Image, OpenArchive};
use crate::cli::confirm;
use crate::cli::console::{self, Console};
use crate::cli::exit::Exit;
use crate::cli::progress::Display;
use crate::cli::units::{self, size};
use crate::error::{Error, Result};
use crate::process::interrupt;
use crate::restore::attributes::Attributes;
use crate::restore::image::{self as put_back, Report, Unfinished};
use crate::restore::image_seeds::ImageSeeds;
use crate::restore::new_volume::NewVolume;
use crate::tools::borg::Borg;
use crate::tools::target::open::{Target, TargetKind};
use crate::tools::target::place::Place;

/// Writes the image to `to`, or says what that would take.
pub fn run(
    borg: &Borg,
    console: Console,
    request: &Request<'_>,
    archived: &OpenArchive,
    image: &Image,
    to: &Path,
) -> Result<Exit> {
    interrupt::heed()?;
    let options = request.options;
    let seeds = ImageSeeds::open(&options.seed, &image.path)?;
    // Dropped after the target, which it may have to destroy.
    let mut new = options.create.then(|| new_volume(to, archived, image)).transpose()?;
    let place = Place::at(new.as_ref().map_or(to, |new| new.device()))?;
    place.is_outside(borg.local())?;
    place.check(image.size, options.overwrite)?;
    refuse_owners(options, &place, image)?;
    if options.dry_run {
        return estimate::run(archived, image, place, options, &seeds, console);
    }
    if new.is_none() {
        ask(options, image, &place)?;
        // The target may have changed while the question stood.
        place.check(image.size, options.overwrite)?;
    }
    let is_new_file = place.kind == TargetKind::New;
    let is_file = place.kind != TargetKind::Device;
    let target = place.open(image.size)?;
    let target = if new.is_some() { target.new_volume() } else { target };
    let known = match new {
        None if !options.full => since(archived, image, &target, console)?,
        _ => Known::default(),
    };
    let report = write(options, image, &target, &known, seeds, console);
    if let Some(new) = &mut new
        && (report.is_ok() || target.is_touched())
    {
        new.keep();
    }
    let about = about(archived, image, target.label());
    let mut report = report.map_err(|unfinished| failed(options, unfinished, about.clone()))?;
    if is_new_file && !volumes::is_volume(&image.path) {
        Attributes::give(&archived.tree, &image.path, options.numeric_ids, &target)?;
    }
    report.read += known.read;
    report.sampled += known.sampled;
    tell(options, image, target.label(), &report, about, console)?;
    match &report.damaged {
        None => Ok(Exit::Done),
        Some(damaged) => salvaged(to, &place_of(image), damaged, is_file, console),
    }
}

fn refuse_owners(options: &Options, place: &Place, image: &Image) -> Result<()> {
    if options.numeric_ids && (place.kind != TargetKind::New || volumes::is_volume(&image.path)) {
        return Err(Error::usage("`--numeric-ids` is for files that a restore makes")
            .hint(format!("{} keeps its owner, or is a volume's, which has none", place.label())));
    }
    Ok(())
}

fn write(
    options: &Options,
    image: &Image,
    target: &Target,
    known: &Known,
    seeds: ImageSeeds,
    console: Console,
) -> Result<Report, Unfinished> {
    let request = put_back::Request {
        may_differ: known.may_differ.clone(),
        witnesses: known.witnesses.clone(),
        full: options.full,
        verify: !options.no_verify,
        salvage: options.salvage,
        seeds,
    };
    let display = Display::new(console);
    let report = put_back::restore(image, target, &request, &display);
    display.clear();
    report
}

fn tell(
    options: &Options,
    image: &Image,
    target: &str,
    report: &Report,
    mut about: Value,
    console: Console,
) -> Result<()> {
    if report.misled {
        console.warn("ZFS reported bytes as unchanged that differ; therefore the whole target was compared");
    }
    if options.json {
        about["restored"] = json!(report);
        if let Some(damaged) = &report.damaged {
            about["damaged"] = json!([damaged]);
        }
        console::print(&about.to_string())?;
    }
    console.say(&summary(image, target, report));
    Ok(())
}

/// Says what zeros stand for, and leaves a list of it: beside a file, or, of a device, in the current directory.
fn salvaged(to: &Path, name: &str, damaged: &Damaged, is_file: bool, console: Console) -> Result<Exit> {
    console.warn(&format!("zeros stand for what is lost: {}", damaged.message()));
    let list = match is_file {
        true => [to.as_os_str().as_bytes(), b".damage.txt"].concat(),
        false => format!("{name}.damage.txt").into_bytes(),
    };
    let list = Path::new(OsStr::from_bytes(&list));
    let ranges = damaged.ranges.iter().map(|range| format!("{} {}\n", range.start, range.end));
    let text = format!(
        "# Bytes that are lost: first, and after the last. {}\n{}",
        damaged.why,
        ranges.collect::<String>()
    );
    std::fs::write(list, text)
        .map_err(|e| Error::failed(format!("cannot write {}", list.display())).because(e))?;
    console.say(&format!("{} lists the ranges", list.display()));
    Ok(Exit::Warned)
}

/// `tank-qubes-work-private`
fn place_of(image: &Image) -> String {
    let name = volumes::name_of(image.path.as_bytes()).unwrap_or(image.path.as_bytes());
    String::from_utf8_lossy(name).replace('/', "-")
}

/// What is lost goes to standard output, too; `about` is what it is of.
fn failed(options: &Options, unfinished: Unfinished, mut about: Value) -> Error {
    let Unfinished { error, damaged } = unfinished;
    if let (true, Some(file)) = (options.json, damaged) {
        about["damaged"] = json!([file]);
        if let Err(e) = console::print(&about.to_string()) {
            return e;
        }
    }
    error
}

fn ask(options: &Options, image: &Image, place: &Place) -> Result<()> {
    if options.yes || place.kind == TargetKind::New {
        return Ok(());
    }
    let (what, label) = (size(place.size), place.label());
    let names = match place.names() {
        1 => String::new(),
        names => format!(" (a file with {names} names: all are it)"),
    };
    confirm::ask(&format!("All {what} on {label}{names} become {}. Go on?", image.name()))
}

fn new_volume(to: &Path, archived: &OpenArchive, image: &Image) -> Result<NewVolume> {
    let datasets = archived.datasets()?;
    let described = datasets.as_ref().and_then(|datasets| datasets.volume(&image.path));
    let described = described.ok_or_else(|| {
        Error::usage(format!("{} does not tell what volume it was", image.name()))
            .hint(format!("make one by hand: `zfs create -s -V {} POOL/VOLUME`", image.size))
    })?;
    NewVolume::make(to, described)
}

fn summary(image: &Image, target: &str, report: &Report) -> String {
    let changed = report.written + report.zeroed;
    let took = units::duration(report.took);
    let name = image.name();
    if changed == 0 {
        return format!("{target} already was {name}: all {} are right ({took})", size(report.size));
    }
    let checked = if report.verified > 0 { ", read back and right" } else { ", not read back" };
    format!(
        "{target} is {name} now: {} of {} written{checked}, {} fetched ({took})",
        size(changed),
        size(report.size),
        size(report.fetched)
    )
}
