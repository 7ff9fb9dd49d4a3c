//! `attach`

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use clap::{ArgGroup, Args};

use crate::archive::choice::Wanted;
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
use crate::progress::{Monitor, Progress};
use crate::tools::blockdev;
use crate::tools::borg::Borg;
use crate::tools::mount_point;
use crate::tools::qubes;

/// Make a device of a disk image in an archive.
///
/// The image is not copied: what is read of the device is read from the archive, then. The device
/// is read-only, and the kernel does not look for partitions in it.
#[derive(Args)]
#[command(group(ArgGroup::new("looked_into").args(["mount", "partition", "partscan"]).multiple(true)))]
pub struct Attach {
    /// `::yyyy-mm-dd`, `::yesterday`, `::latest`, or any archive's name.
    #[arg(value_name = "::ARCHIVE")]
    archive: String,
    /// The image, as `list` prints it, or just the volume: tank/qubes/work/private.
    path: OsString,
    /// The device can be written to: changes lie over the image and are thrown away by `detach`. They
    /// are encrypted where they lie. The archive is never written to.
    #[arg(long)]
    writable: bool,
    /// The changes stay in FILE, unencrypted, and are there again the next time.
    #[arg(long, value_name = "FILE", requires = "writable")]
    keep_changes: Option<PathBuf>,
    /// Mount the file system in it, too: nodev, nosuid, noexec, and without --writable read-only. Then
    /// its journal is not replayed: what was written last before the backup may not be seen.
    #[arg(long, value_name = "DIR")]
    mount: Option<PathBuf>,
    /// The device is only this partition of the image.
    #[arg(long, value_name = "N", conflicts_with_all = ["partscan", "to_qube"])]
    partition: Option<u32>,
    /// Bytes of a sector: 512 unless it is said.
    #[arg(long, value_name = "BYTES")]
    sector_size: Option<u32>,
    /// The kernel makes a device of each partition.
    #[arg(long, conflicts_with = "to_qube")]
    partscan: bool,
    /// Hand the device to a running qube, unread by dom0.
    #[arg(long, value_name = "VM", conflicts_with = "mount")]
    to_qube: Option<String>,
    /// On Qubes OS: let --mount, --partition and --partscan be done in dom0. The file system was written by the qube, and can be
    /// made so that it attacks the kernel that mounts it; in dom0 that would be the end of the
    /// separation of all qubes. --to-qube is the way to go.
    #[arg(long, requires = "looked_into")]
    in_host: bool,
    /// Tell what was made as JSON, on standard output, instead of the device alone.
    #[arg(long)]
    json: bool,
}

impl Attach {
    pub fn run(&self, globals: &Globals) -> Result<Exit> {
        let config = globals.config()?;
        let borg = Borg::new(&config)?;
        let request = self.request(borg.local())?;
        let console = globals.console();
        let display = Display::new(console);
        let attachment =
            attach::attach(&borg, &request, &|entries| display.progress(Progress::entries("files", entries)));
        display.clear();
        let attachment = attachment?;
        let device = PathBuf::from(attachment.device.clone().unwrap_or_default());
        let made = match self.json {
            true => attachments::as_json(&attachment).to_string(),
            false => device.display().to_string(),
        };
        if let Err(e) = console::print(&made) {
            // Nobody would know of it.
            return Err(match detach::take_down(&attachment) {
                Ok(()) => e.hint("nothing is attached: nobody could be told the device"),
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
            said: self.archive.clone(),
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
        let of = &attachment.archive;
        let shown = device.display();
        let how = match (&self.keep_changes, self.writable) {
            (Some(file), _) => format!("writable, changes stay in {}", file.display()),
            (None, true) => "writable, changes are thrown away".to_owned(),
            (None, false) => "read-only".to_owned(),
        };
        console.say(&format!("{what} of {of} is at {shown} ({how})."));
        match (&self.mount, &self.to_qube) {
            (Some(dir), _) => {
                console.say(&format!("Its files:   {}", dir.display()));
                if !self.writable {
                    console.say("  What was written last before the backup may be in its journal only; `--writable` replays it");
                }
            }
            (None, Some(qube)) => console.say(&format!(
                "In {qube}:  sudo mount -o {} /dev/xvdi /mnt    (the next free of xvdi, xvdj, …)",
                if self.writable { "nosuid" } else { "ro,nosuid,noload" }
            )),
            (None, None) if qubes::is_admin() => {
                console.say("Look into it in a qube:  `attach --to-qube VM` does that in one step")
            }
            (None, None) => self.next_step(device).iter().for_each(|line| console.say(line)),
        }
        console.say(&format!("End it:      borg-offsite-backup detach {shown}"));
    }

    /// What one does with such a device; nothing when that cannot be seen.
    fn next_step(&self, device: &Path) -> Vec<String> {
        let Ok(content) = blockdev::content(device) else { return Vec::new() };
        let shown = device.display();
        match (content.kind, content.table) {
            (Some(kind), _) => match filesystem::how_to_go_on(&kind, device) {
                Some(how) => vec![format!("It holds {kind}: {how}")],
                None => {
                    let mode = if self.writable { Mode::Writable } else { Mode::ReadOnly };
                    let options = filesystem::options(&kind, mode);
                    vec![format!("Mount it:    mount -o {options} {shown} DIR")]
                }
            },
            (None, Some(table)) => {
                vec![format!("It has partitions ({table}): `--partition N --mount DIR` mounts one")]
            }
            (None, None) => Vec::new(),
        }
    }
}
