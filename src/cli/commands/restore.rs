//! `restore`

use std::ffi::OsString;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use super::inside::{self, Act};
use super::restore_files::{self, Wish};
use crate::archive::choice::Wanted;
use crate::archive::path::ItemPath;
use crate::archive::ranges;
use crate::archives::archived::{self, Archived, Found, Image};
use crate::cli::confirm;
use crate::cli::console::{self, Console};
use crate::cli::exit::Exit;
use crate::cli::globals::Globals;
use crate::cli::meter::Drawn;
use crate::cli::source::Source;
use crate::cli::units::{self, size};
use crate::error::{Error, Result};
use crate::process::interrupt;
use crate::restore::attributes::Attributes;
use crate::restore::bookmark::{self, Since};
use crate::restore::estimate::{self, Bill};
use crate::restore::image::{self as put_back, Report, Unfinished};
use crate::restore::new_volume::NewVolume;
use crate::restore::request;
use crate::tools::borg::{Borg, Need};
use crate::tools::target::open::{Kept, Target};
use crate::tools::target::place::Place;

/// Put a volume, a disk image or files of an archive back, or files out of a volume (VOLUME:/PATH).
#[derive(Args)]
#[command(override_usage = "borg-offsite-backup restore [OPTIONS] ::ARCHIVE PATH... --to TARGET")]
pub struct Restore {
    /// The archive.
    #[arg(value_name = "::ARCHIVE")]
    archive: String,
    /// Paths as `list` prints them; of a volume its name is enough.
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<OsString>,
    /// Where it goes: for an image a block device or a file, for files a folder.
    #[arg(long, value_name = "TARGET", required_unless_present = "list")]
    to: Option<PathBuf>,
    /// Of VOLUME:/PATH, only show what is there.
    #[arg(long, conflicts_with = "to")]
    list: bool,
    #[command(flatten)]
    inside: inside::Options,
    /// Make the volume of ZFS that TARGET names, like the one that was archived.
    #[arg(long, conflicts_with = "dry_run")]
    create: bool,
    /// Only tell what would be fetched and written, and how long it would take.
    #[arg(long)]
    dry_run: bool,
    /// Write everything, also what is there already.
    #[arg(long)]
    full: bool,
    /// Do not read back what was written.
    #[arg(long, conflicts_with = "dry_run")]
    no_verify: bool,
    /// Do not ask.
    #[arg(long)]
    yes: bool,
    /// Files that are there may be replaced; without it an image may only replace one of its size.
    #[arg(long)]
    overwrite: bool,
    /// Of files, take owners by number and not by name.
    #[arg(long)]
    numeric_ids: bool,
    /// Where the bytes come from.
    #[arg(long, value_enum, default_value_t = Source::Auto)]
    source: Source,
    /// Tell what came of it as JSON, on standard output.
    #[arg(long)]
    json: bool,
}

impl Restore {
    pub fn run(&self, globals: &Globals) -> Result<Exit> {
        let wanted = Wanted::parse(&self.archive)?;
        let config = globals.config()?;
        let borg = Borg::new(&config)?;
        let words: Vec<Vec<u8>> = self.paths.iter().map(|path| path.as_bytes().to_vec()).collect();
        // A name may have a colon, too: the archive knows.
        if words.iter().any(|word| memchr::memmem::find(word, b":/").is_some()) {
            let places = request::places(&borg, &wanted, self.source.into(), &words)?;
            if places.iter().any(|place| matches!(place, archived::Place::Volume { .. })) {
                self.refuse_options_of_images("a path in a volume")?;
                self.refuse_options_of_archives()?;
                let act = match &self.to {
                    Some(dir) => Act::Copy(dir, self.overwrite),
                    None => Act::List,
                };
                return inside::run(&borg, globals.console(), &self.archive, places, &self.inside, &act);
            }
        }
        if self.inside.partition.is_some() || self.inside.in_host {
            return Err(Error::usage(
                "`--partition` and `--in-host` are for paths in a volume: VOLUME:/PATH",
            ));
        }
        let Some(to) = &self.to else {
            return Err(Error::usage("`--list` is for paths in a volume: VOLUME:/PATH")
                .hint("`borg-offsite-backup list ::ARCHIVE PATH` shows what is in an archive"));
        };
        let _reached = borg.reach("restore from it", Need::Repository, false)?;
        let archived = Archived::open(&borg, &wanted, self.source.into())?;
        let files = || self.files(&borg, &archived, to, globals.console(), config.fail_on_warnings);
        if self.paths.len() > 1 || to.is_dir() || to.as_os_str().as_bytes().ends_with(b"/") {
            return files();
        }
        match archived.find(self.paths[0].as_bytes())? {
            Found::Image(image) => self.image(&archived, &image, to, &borg, globals.console()),
            Found::Folder(_) => files(),
            Found::Other(path) => Err(not_restorable(&path)),
        }
    }

    /// Files and folders of the archive into a folder.
    fn files(
        &self,
        borg: &Borg,
        archived: &Archived,
        to: &Path,
        console: Console,
        strict: bool,
    ) -> Result<Exit> {
        self.refuse_options_of_images(&to.display().to_string())?;
        let _reached = borg.reach("restore from it", Need::Reading, false)?;
        let said = self.paths.iter().map(|path| path.as_bytes());
        let wish = Wish { to, overwrite: self.overwrite, numeric_ids: self.numeric_ids };
        let report = restore_files::restore(borg, archived, said, &wish, console)?;
        if self.json {
            let told = json!({ "archive": archived.archive.name, "target": to.to_string_lossy(), "restored": report });
            console::print(&told.to_string())?;
        }
        let warned = report.missing > 0 || report.warnings > 0 && strict;
        Ok(if warned { Exit::Warned } else { Exit::Done })
    }

    fn refuse_options_of_images(&self, what: &str) -> Result<()> {
        let of_images = [
            ("--create", self.create),
            ("--dry-run", self.dry_run),
            ("--full", self.full),
            ("--no-verify", self.no_verify),
        ];
        match of_images.iter().find(|(_, given)| *given) {
            Some((option, _)) => Err(Error::usage(format!("`{option}` is for images, and {what} is none"))),
            None => Ok(()),
        }
    }

    /// What a path in a volume has no use for: the file system's files are copied as they are.
    fn refuse_options_of_archives(&self) -> Result<()> {
        let given = [
            ("--numeric-ids", self.numeric_ids),
            ("--source", self.source != Source::Auto),
            ("--json", self.json),
            ("--overwrite", self.overwrite && self.list),
        ];
        match given.iter().find(|(_, is_given)| *is_given) {
            Some((option, _)) => Err(Error::usage(format!("`{option}` does nothing for paths in a volume"))
                .hint(
                    "leave it out; owners are restored by number, and bytes come from where they can be had",
                )),
            None => Ok(()),
        }
    }

    /// An image onto a block device or into a file.
    fn image(
        &self,
        archived: &Archived,
        image: &Image,
        to: &Path,
        borg: &Borg,
        console: Console,
    ) -> Result<Exit> {
        interrupt::heed()?;
        // Dropped after the target, which it may have to destroy.
        let mut new = self.create.then(|| new_volume(to, archived, image)).transpose()?;
        let place = Place::at(new.as_ref().map_or(to, |new| new.device()))?;
        place.is_outside(borg.local())?;
        place.check(image.size, self.overwrite)?;
        if self.numeric_ids && (place.kept != Kept::New || image.path.is_volume()) {
            return Err(Error::usage("`--numeric-ids` is for files that a restore makes")
                .hint(format!("{} keeps its owner, or is a volume's, which has none", place.shown())));
        }
        if self.dry_run {
            return self.bill(archived, image, place, console);
        }
        if new.is_none() {
            self.ask(image, &place)?;
            // Who answers may have taken his time.
            place.check(image.size, self.overwrite)?;
        }
        let is_new_file = place.kept == Kept::New;
        let target = place.open(image.size)?;
        let target = if new.is_some() { target.new_volume() } else { target };
        let known = match new {
            None if !self.full => since(archived, image, &target, console)?,
            _ => Known::default(),
        };
        let Known { may_differ, witnesses, .. } = known;
        let request = put_back::Request { may_differ, witnesses, full: self.full, verify: !self.no_verify };
        let drawn = Drawn::new(console);
        let report = put_back::restore(image, &target, &request, &|progress| drawn.tell(progress));
        drawn.end();
        if let Some(new) = &mut new
            && (report.is_ok() || target.is_touched())
        {
            new.keep();
        }
        let mut report =
            report.map_err(|unfinished| self.told(unfinished, about(archived, image, target.shown())))?;
        if is_new_file && !image.path.is_volume() {
            Attributes::give(&archived.tree, &image.path, self.numeric_ids, &target)?;
        }
        report.read += known.read;
        report.sampled += known.sampled;
        if report.misled {
            console.warn("ZFS said that bytes were unchanged that differ: so all of the target was compared");
        }
        if self.json {
            let mut told = about(archived, image, target.shown());
            told["restored"] = json!(report);
            console::print(&told.to_string())?;
        }
        console.say(&summary(image, target.shown(), &report));
        Ok(Exit::Done)
    }

    /// What is lost goes to standard output, too; `told` is what it is of.
    fn told(&self, unfinished: Unfinished, mut told: Value) -> Error {
        let Unfinished { error, damaged } = unfinished;
        if let (true, Some(file)) = (self.json, damaged) {
            told["damaged"] = json!([file]);
            if let Err(e) = console::print(&told.to_string()) {
                return e;
            }
        }
        error
    }

    fn bill(&self, archived: &Archived, image: &Image, place: Place, console: Console) -> Result<Exit> {
        let target = place.shown().to_owned();
        let may_differ = match place.kept {
            Kept::Device if !self.full => since(archived, image, &place.open_to_read()?, console)?.may_differ,
            _ => None,
        };
        let drawn = Drawn::new(console);
        let bill =
            estimate::bill(image, place, may_differ.as_deref(), self.full, &|progress| drawn.tell(progress));
        drawn.end();
        let bill = bill?;
        console::print(&match self.json {
            true => {
                let mut told = about(archived, image, &target);
                told["bill"] = json!(bill);
                told.to_string()
            }
            false => bill_text(image, &target, &bill),
        })?;
        Ok(Exit::Done)
    }

    fn ask(&self, image: &Image, place: &Place) -> Result<()> {
        if self.yes || place.kept == Kept::New {
            return Ok(());
        }
        let (what, shown) = (size(place.size), place.shown());
        let names = match place.names() {
            1 => String::new(),
            names => format!(" (a file with {names} names: all are it)"),
        };
        confirm::ask(&format!("All {what} on {shown}{names} become {}. Go on?", image.name()))
    }
}

/// What every answer in JSON begins with.
fn about(archived: &Archived, image: &Image, target: &str) -> Value {
    json!({ "archive": archived.archive.name, "path": image.path.to_string(), "target": target })
}

fn new_volume(to: &Path, archived: &Archived, image: &Image) -> Result<NewVolume> {
    let datasets = archived.datasets()?;
    let described = datasets.as_ref().and_then(|datasets| datasets.volume(&image.path));
    let described = described.ok_or_else(|| {
        Error::usage(format!("{} does not tell what volume it was", image.name()))
            .hint(format!("make one by hand: `zfs create -s -V {} POOL/VOLUME`", image.size))
    })?;
    NewVolume::make(to, described)
}

/// What ZFS knows of the target. Bytes.
#[derive(Default)]
struct Known {
    may_differ: Option<Vec<Range<u64>>>,
    /// Read to tell.
    read: u64,
    /// Read to see whether ZFS is right, and still to be.
    sampled: u64,
    witnesses: Vec<Range<u64>>,
}

fn since(archived: &Archived, image: &Image, target: &Target, console: Console) -> Result<Known> {
    let shown = target.shown();
    match bookmark::changed_since(archived, image, target)? {
        Since::MayDiffer { ranges, read, sampled, witnesses } => {
            let changed = size(ranges::length(&ranges));
            let looked = if sampled > 0 {
                format!("; {} of the rest were compared", size(sampled))
            } else {
                String::new()
            };
            console.say(&format!("ZFS knows what changed on {shown} since then: {changed} at most{looked}"));
            Ok(Known { may_differ: Some(ranges), read, sampled, witnesses })
        }
        Since::NotProven(why) => {
            console
                .say(&format!("All of {shown} is read, since ZFS cannot tell what changed: {}", why.chain()));
            Ok(Known::default())
        }
        Since::NoVolume => Ok(Known::default()),
    }
}

fn not_restorable(path: &ItemPath) -> Error {
    Error::usage(format!("{path} is neither a file nor a folder"))
        .hint("`borg-offsite-backup extract` restores links and devices")
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

fn bill_text(image: &Image, target: &str, bill: &Bill) -> String {
    let mut lines =
        vec![format!("{} onto {target}, {}; nothing was written:", image.name(), size(bill.size))];
    let mut line = |label: &str, text: String| lines.push(format!("  {label:<13}  {text}"));
    match bill.right {
        Some(right) => line("right already", size(right)),
        None => line("right already", "only a stream of all bytes would tell".to_owned()),
    }
    let chunks = match bill.chunks_to_fetch {
        0 => String::new(),
        n => format!(", {} chunks", units::count(n)),
    };
    line("to fetch", format!("{}{chunks}", size(bill.to_fetch)));
    line("to write", format!("at most {}", size(bill.to_write)));
    line("to make zeros", size(bill.to_zero));
    line("space", format!("at most {} more", size(bill.space)));
    if let Some(seconds) = bill.seconds {
        let rate = bill.rate.map(|rate| format!(" (fetching {}/s, as just measured)", size(rate)));
        let about = units::duration(Duration::from_secs(seconds));
        line("time", format!("about {about}{}", rate.unwrap_or_default()));
    }
    lines.join("\n")
}
