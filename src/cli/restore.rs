//! `restore`

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::args::Globals;
use super::console::{self, Console, size};
use super::meter::Drawn;
use super::{Exit, SourceArg, confirm};
use crate::archive::name::Wanted;
use crate::archive::path::ItemPath;
use crate::error::{Error, Result};
use crate::image::archived::{Archived, Found, Image};
use crate::image::bill::{self, Bill};
use crate::image::restore::{self, Report};
use crate::image::target::{Kept, Place};
use crate::process::interrupt;
use crate::tools::borg::{Borg, Need};

/// Put a volume, a disk image or files of an archive back.
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
    #[arg(long, value_name = "TARGET")]
    to: PathBuf,
    /// Make the target, which does not exist yet.
    #[arg(long)]
    create: bool,
    /// Only tell what would be fetched and written, and how long it would take.
    #[arg(long)]
    dry_run: bool,
    /// Write everything, also what is there already.
    #[arg(long)]
    full: bool,
    /// Do not read back what was written.
    #[arg(long)]
    no_verify: bool,
    /// Do not ask.
    #[arg(long)]
    yes: bool,
    /// A file that is there may be replaced by one of another size.
    #[arg(long)]
    overwrite: bool,
    /// Where the bytes come from.
    #[arg(long, value_enum, default_value_t = SourceArg::Auto)]
    source: SourceArg,
    /// Tell what came of it as JSON, on standard output.
    #[arg(long)]
    json: bool,
}

impl Restore {
    pub fn run(&self, globals: &Globals) -> Result<Exit> {
        let wanted = Wanted::parse(&self.archive)?;
        if self.paths.iter().any(|path| memchr::memmem::find(path.as_bytes(), b":/").is_some()) {
            return self.inside();
        }
        if self.paths.len() > 1 || self.to.is_dir() || self.to.as_os_str().as_bytes().ends_with(b"/") {
            return self.files();
        }
        let config = globals.config()?;
        let borg = Borg::new(&config)?;
        let _reached = borg.reach("restore from it", Need::Repository, false)?;
        let archived = Archived::open(&borg, &wanted, self.source.into())?;
        match archived.find(self.paths[0].as_bytes())? {
            Found::Image(image) => self.image(&image, &borg, globals.console()),
            Found::Folder(_) => self.files(),
            Found::Other(path) => Err(not_restorable(&path)),
        }
    }

    /// `VOLUME:/path`: files out of the file system in an image.
    fn inside(&self) -> Result<Exit> {
        Err(Error::usage("a path inside of a volume cannot be restored yet")
            .hint("attach the volume, mount it, and copy: `borg-offsite-backup attach --help`"))
    }

    /// Files and folders of the archive into a folder.
    fn files(&self) -> Result<Exit> {
        Err(Error::usage("files cannot be restored to a folder yet")
            .hint("`borg-offsite-backup extract ::ARCHIVE PATH...` puts them into the folder you are in"))
    }

    /// An image onto a block device or into a file.
    fn image(&self, image: &Image, borg: &Borg, console: Console) -> Result<Exit> {
        if self.create {
            return Err(Error::usage("`--create` is not there yet")
                .hint("make the volume with `zfs create -V SIZE POOL/VOLUME`, or name a file"));
        }
        let place = Place::at(&self.to)?;
        place.is_outside(borg.local())?;
        place.check(image.size, self.overwrite)?;
        if self.dry_run {
            return self.bill(image, place, console);
        }
        self.ask(image, &place)?;
        interrupt::heed()?;
        let target = place.open(image.size)?;
        let request = restore::Request { may_differ: None, full: self.full, verify: !self.no_verify };
        let drawn = Drawn::new(console);
        let report = restore::restore(image, &target, &request, &|progress| drawn.tell(progress));
        drawn.end();
        let report = report?;
        if self.json {
            console::print(&json!({ "restored": report }).to_string())?;
        }
        console.say(&summary(image, target.place().shown(), &report));
        Ok(Exit::Done)
    }

    fn bill(&self, image: &Image, place: Place, console: Console) -> Result<Exit> {
        interrupt::heed()?;
        let target = place.shown().to_owned();
        let drawn = Drawn::new(console);
        let bill = bill::bill(image, place, None, self.full, &|progress| drawn.tell(progress));
        drawn.end();
        let bill = bill?;
        console::print(&match self.json {
            true => json!({ "bill": bill }).to_string(),
            false => bill_text(image, &target, &bill),
        })?;
        Ok(Exit::Done)
    }

    fn ask(&self, image: &Image, place: &Place) -> Result<()> {
        if self.yes || place.kept == Kept::New {
            return Ok(());
        }
        let (what, shown) = (size(place.size), place.shown());
        confirm::ask(&format!("All {what} on {shown} become {}. Go on?", image.name()))
    }
}

fn not_restorable(path: &ItemPath) -> Error {
    Error::usage(format!("{path} is neither a file nor a folder"))
        .hint("`borg-offsite-backup extract` restores links and devices")
}

fn summary(image: &Image, target: &str, report: &Report) -> String {
    let changed = report.written + report.zeroed;
    let took = console::duration(report.took);
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
        n => format!(", {} chunks", console::count(n)),
    };
    line("to fetch", format!("{}{chunks}", size(bill.to_fetch)));
    line("to write", format!("at most {}", size(bill.to_write)));
    line("to make zeros", size(bill.to_zero));
    line("space", format!("at most {} more", size(bill.space)));
    if let Some(seconds) = bill.seconds {
        let rate = bill.rate.map(|rate| format!(" (fetching {}/s, as just measured)", size(rate)));
        let about = console::duration(Duration::from_secs(seconds));
        line("time", format!("about {about}{}", rate.unwrap_or_default()));
    }
    lines.join("\n")
}
