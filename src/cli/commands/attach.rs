//! `attach`

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use clap::{ArgGroup, Args, ValueEnum};

use crate::archive::choice::Wanted;
use crate::archives::salvage::Salvage;
use crate::cli::archive_mount;
use crate::cli::attachments;
use crate::cli::console::{self, Console};
use crate::cli::exit::Exit;
use crate::cli::globals::Globals;
use crate::cli::progress::Display;
use crate::device::attach::{self, Request, Then};
use crate::device::attachment::Attachment;
use crate::device::detach;
use crate::device::filesystem::{self, Mode};
use crate::error::{Error, Result};
use crate::tools::blockdev;
use crate::tools::borg::Borg;
use crate::tools::mount_point;
use crate::tools::qubes;

/// Attach a disk image in an archive as a block device.
///
/// The image is not copied: each read of the device reads the archive. The device is read-only, and the
/// kernel does not scan it for partitions.
#[derive(Args)]
#[command(group(ArgGroup::new("looked_into").args(["mount", "partition", "partscan"]).multiple(true)))]
pub struct Attach {
    /// `::yyyy-mm-dd`, `::yesterday`, `::latest`, or any archive's name.
    #[arg(value_name = "::ARCHIVE")]
    archive: String,
    /// The image, as `list` prints it, or just the volume: tank/qubes/work/private.
    path: OsString,
    /// Make the device writable. Changes are kept beside the image, encrypted, and `detach` discards them.
    /// The archive is never written to.
    #[arg(long)]
    writable: bool,
    /// Keep the changes in FILE, unencrypted, for the next time.
    #[arg(long, value_name = "FILE", requires = "writable")]
    keep_changes: Option<PathBuf>,
    /// Mount its file system, too: nodev, nosuid, noexec, and without --writable read-only. A read-only mount
    /// does not replay the journal: the last writes before the backup may be missing.
    #[arg(long, value_name = "DIR")]
    mount: Option<PathBuf>,
    /// Attach only this partition of the image.
    #[arg(long, value_name = "N", conflicts_with_all = ["partscan", "to_qube"])]
    partition: Option<u32>,
    /// The size of a sector in bytes [default: 512].
    #[arg(long, value_name = "BYTES")]
    sector_size: Option<u32>,
    /// Let the kernel create a device for each partition.
    #[arg(long, conflicts_with = "to_qube")]
    partscan: bool,
    /// Attach an image that is damaged. Lost ranges read as errors (`eio`, the default) or as `zeros`.
    #[arg(
        long,
        value_enum,
        value_name = "HOW",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "eio"
    )]
    salvage: Option<SalvageArgument>,
    /// Attach the device to a running qube; dom0 does not read it.
    #[arg(long, value_name = "VM", conflicts_with = "mount")]
    to_qube: Option<String>,
    /// On Qubes OS: allow --mount, --partition and --partscan in dom0. The qube wrote the file system, and a
    /// malicious one can attack the kernel that mounts it; in dom0 that breaks the isolation of all qubes.
    /// Use --to-qube instead.
    #[arg(long, requires = "looked_into")]
    in_host: bool,
    /// Print what was attached as JSON on standard output, instead of the device alone.
    #[arg(long)]
    json: bool,
}

/// What lost ranges read as.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum SalvageArgument {
    /// Errors.
    Eio,
    /// Zeros.
    Zeros,
}

impl From<SalvageArgument> for Salvage {
    fn from(argument: SalvageArgument) -> Self {
        match argument {
            SalvageArgument::Eio => Salvage::Errors,
            SalvageArgument::Zeros => Salvage::Zeros,
        }
    }
}

impl Attach {
    pub fn run(&self, globals: &Globals) -> Result<Exit> {
        let config = globals.config()?;
        let borg = Borg::new(&config)?;
        let request = self.request(borg.local())?;
        let console = globals.console();
        let display = Display::new(console);
        let salvage = self.salvage.map(Salvage::from);
        let find = |borg: &Borg, wanted: &Wanted| archive_mount::find(borg, wanted, salvage);
        let attachment = attach::attach(&borg, &request, &find, &display);
        display.clear();
        let attachment = attachment?;
        let device = PathBuf::from(attachment.device.clone().unwrap_or_default());
        let made = match self.json {
            true => attachments::as_json(&attachment).to_string(),
            false => device.display().to_string(),
        };
        if let Err(e) = console::print(&made) {
            // Otherwise nobody would know of the attachment.
            return Err(match detach::take_down(&attachment) {
                Ok(()) => e.hint("nothing is attached, because the device could not be printed"),
                Err(left) => e.hint(format!("{} is still attached: {}", device.display(), left.chain())),
            });
        }
        self.tell(console, &attachment, &device);
        Ok(Exit::Done)
    }

    fn request(&self, repository: Option<&Path>) -> Result<Request> {
        let then = match (&self.mount, &self.to_qube) {
            (Some(dir), _) => Then::Mount(mount_point::mount_point(dir, repository)?),
            (None, Some(qube)) => Then::Qube(qube.clone()),
            (None, None) => Then::Nothing,
        };
        let keep_changes = match &self.keep_changes {
            Some(file) => Some(std::path::absolute(file).map_err(|e| {
                Error::usage(format!("cannot use {} for changes", file.display())).because(e)
            })?),
            None => None,
        };
        Ok(Request {
            archive: Wanted::parse(&self.archive)?,
            archive_argument: self.archive.clone(),
            image: self.path.as_bytes().to_vec(),
            writable: self.writable,
            keep_changes,
            partition: self.partition,
            sector_size: self.sector_size,
            partscan: self.partscan,
            then,
            in_host: self.in_host,
        })
    }

    fn tell(&self, console: Console, attachment: &Attachment, device: &Path) {
        let what = self.path.display();
        let archive = &attachment.archive;
        let label = device.display();
        let how = match (&self.keep_changes, self.writable) {
            (Some(file), _) => format!("writable, changes stay in {}", file.display()),
            (None, true) => "writable, changes are thrown away".to_owned(),
            (None, false) => "read-only".to_owned(),
        };
        console.say(&format!("{what} of {archive} is at {label} ({how})."));
        if let Some(salvage) = self.salvage {
            let lost = if salvage == SalvageArgument::Zeros { "as zeros" } else { "as errors" };
            console.say(&format!(
                "Lost ranges read {lost}: `borg-offsite-backup verify {} {what}` names them",
                self.archive
            ));
        }
        match (&self.mount, &self.to_qube) {
            (Some(dir), _) => {
                console.say(&format!("Its files:   {}", dir.display()));
                if !self.writable {
                    console.say("  The last writes before the backup may be only in its journal; `--writable` replays it");
                }
            }
            (None, Some(qube)) => console.say(&format!(
                "In {qube}:  sudo mount -o {} /dev/xvdi /mnt    (the next free of xvdi, xvdj, …)",
                if self.writable { "nosuid" } else { "ro,nosuid,noload" }
            )),
            (None, None) if qubes::is_admin() => {
                console.say("To open it in a qube, use `attach --to-qube VM`")
            }
            (None, None) => self.next_step(device).iter().for_each(|line| console.say(line)),
        }
        console.say(&format!("Detach it:   borg-offsite-backup detach {label}"));
    }

    /// Suggests what to do with such a device; nothing if its content is unknown.
    fn next_step(&self, device: &Path) -> Vec<String> {
        let Ok(content) = blockdev::content(device) else { return Vec::new() };
        let label = device.display();
        match (content.kind, content.table) {
            (Some(kind), _) => match filesystem::how_to_go_on(&kind, device) {
                Some(how) => vec![format!("It holds {kind}: {how}")],
                None => {
                    let mode = if self.writable { Mode::Writable } else { Mode::ReadOnly };
                    let options = filesystem::options(&kind, mode);
                    vec![format!("Mount it:    mount -o {options} {label} DIR")]
                }
            },
            (None, Some(table)) => {
                vec![format!("It has partitions ({table}): `--partition N --mount DIR` mounts one")]
            }
            (None, None) => Vec::new(),
        }
    }
}
