//! Takes down an attachment in any state.

use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::fcntl::{Flock, FlockArg};

use super::attachment::{Attachment, AttachmentState, Lock};
use crate::archive::choice::Wanted;
use crate::error::{Error, Kind, Result};
use crate::tools::{holders, loopdev, mount_point, mounts, qubes};

/// How long the last changes may take to reach the disk.
const PATIENCE: Duration = Duration::from_secs(300);
const LOOK: Duration = Duration::from_millis(20);

/// What the argument of `detach` names.
#[derive(Debug, Clone)]
pub enum Named {
    /// A device, or the directory where it is mounted.
    Place(PathBuf),
    /// All attachments of an archive: the argument, and the name if it gives one.
    Archive(String, Option<String>),
    All,
}

impl Named {
    /// Reads `DEVICE`, `DIR` or `::ARCHIVE`.
    ///
    /// # Errors
    /// When the archive's name is malformed.
    pub fn parse(argument: &Path, today: chrono::NaiveDate) -> Result<Named> {
        let Some(text) = argument.to_str().filter(|text| text.starts_with("::")) else {
            return match mount_point::absolute(argument) {
                Ok(place) => Ok(Named::Place(place)),
                Err(_) => Err(not_attached(&argument.display().to_string())),
            };
        };
        let name = match Wanted::parse(text)? {
            Wanted::Named(name) => Some(name),
            Wanted::Today => Some(crate::archive::name::date_name(today)),
            Wanted::Yesterday => today.pred_opt().map(crate::archive::name::date_name),
            Wanted::Latest(_) => None,
        };
        Ok(Named::Archive(text.to_owned(), name))
    }

    /// The attachments in `all` that are meant, except those in the making.
    ///
    /// # Errors
    /// [`Kind::NotFound`] when none is meant, except with [`Named::All`]; [`Kind::Usage`] when an archive's
    /// name means those of several repositories.
    pub fn of(&self, all: Vec<Attachment>) -> Result<Vec<Attachment>> {
        let is_at =
            |place: &Path, dir: &Option<std::ffi::OsString>| dir.as_deref() == Some(place.as_os_str());
        let meant = |a: &Attachment| match self {
            Named::Place(place) => is_at(place, &a.device) || is_at(place, &a.mounted),
            Named::Archive(argument, name) => match name {
                // A date may have meant an archive with another name.
                Some(name) => {
                    a.archive == *name || argument[2..] == **name && a.archive_argument == *argument
                }
                None => a.archive_argument == *argument,
            },
            Named::All => true,
        };
        let found: Vec<_> =
            all.into_iter().filter(|a| meant(a) && a.state() != AttachmentState::Starting).collect();
        match self {
            Named::Place(place) if found.is_empty() => Err(not_attached(&place.display().to_string())),
            Named::Archive(argument, _) if found.is_empty() => {
                Err(see_attached(format!("nothing of {argument} is attached")))
            }
            Named::Archive(argument, _) if found.iter().any(|a| a.repository != found[0].repository) => {
                Err(several_repositories(argument, &found))
            }
            _ => Ok(found),
        }
    }
}

/// Archives of different repositories may have the same name, and only one of them is meant.
fn several_repositories(argument: &str, found: &[Attachment]) -> Error {
    let error = Error::usage(format!("archives named {argument} are attached from several repositories"));
    found.iter().fold(error, |error, attachment| {
        let device = attachment.device.as_deref().unwrap_or_default();
        error.hint(format!("of {}: `borg-offsite-backup detach {}`", attachment.repository, device.display()))
    })
}

fn not_attached(place: &str) -> Error {
    see_attached(format!("{place} is no attachment of ours"))
}

fn see_attached(what: String) -> Error {
    Error::new(Kind::NotFound, what).hint("`borg-offsite-backup attached` shows what there is")
}

/// Takes it down from the top. Steps that were done before are skipped, so a failed call can be
/// repeated.
///
/// # Errors
/// [`Kind::Busy`] when it is in use, with the users; everything below stays as it is.
pub fn take_down(attachment: &Attachment) -> Result<()> {
    let devices = attachment.devices();
    let from_qube = attachment
        .qube
        .as_ref()
        .map(|qube| devices.iter().try_for_each(|device| qubes::detach_block(qube, device)));
    if let Some(dir) = &attachment.mounted {
        unmount_of(Path::new(dir), &devices)?;
    }
    if let Some(file) = attachment.changes.as_ref().filter(|_| attachment.state() == AttachmentState::Up) {
        flush(&devices, Path::new(file))?;
    }
    for device in &devices {
        loopdev::detach(device).map_err(|e| match &from_qube {
            Some(Err(why)) => e.hint(why.chain()),
            _ => e,
        })?;
    }
    if attachment.writable {
        let stood = end_fuse(&attachment.changes_dir())?;
        // If it did not stand, whoever holds the file belongs to another attachment.
        if let Some(file) = attachment.changes.as_ref().filter(|_| stood) {
            wait_for(Path::new(file))?;
        }
    }
    let _lock = Lock::take()?;
    let others = Attachment::all()?;
    let used = others.iter().any(|other| other.id != attachment.id && other.mount == attachment.mount);
    if attachment.private && !used {
        end_fuse(Path::new(&attachment.mount))?;
        remove_dir(Path::new(&attachment.mount))?;
    }
    let to_error =
        |e: std::io::Error| Error::failed(format!("cannot remove {}", attachment.dir().display())).because(e);
    // remove_dir never removes anything below a mount that is still there.
    for dir in [attachment.inside_dir(), attachment.changes_dir()] {
        remove_dir(&dir)?;
    }
    std::fs::remove_dir_all(attachment.dir()).map_err(to_error)
}

/// Writes the last changes to their file, while a full disk can still be reported. A failed disk is
/// only logged, because another attempt would not help.
fn flush(devices: &[PathBuf], changes: &Path) -> Result<()> {
    for device in devices {
        let flushed = File::options().write(true).open(device).and_then(|device| device.sync_all());
        let Err(e) = flushed else { continue };
        let full = e.raw_os_error() == Some(libc::ENOSPC);
        let error = Error::failed(format!("the last changes are not in {}", changes.display())).because(e);
        if full {
            return Err(error.hint("make room there, and detach again"));
        }
        tracing::error!("{}", error.chain());
    }
    Ok(())
}

/// Unmounts `dir` if one of `devices` is mounted there.
fn unmount_of(dir: &Path, devices: &[PathBuf]) -> Result<()> {
    match mounts::at(dir)? {
        Some(mount) if devices.iter().any(|device| mount.source == device.as_os_str()) => unmount(dir, false),
        _ => Ok(()),
    }
}

/// Returns whether it was mounted.
fn end_fuse(dir: &Path) -> Result<bool> {
    match mounts::at(dir)? {
        Some(mount) => unmount(dir, mount.is_dead()).map(|()| true),
        None => Ok(false),
    }
}

/// Retries for a moment, because udev and others look into new devices.
fn unmount(dir: &Path, detach: bool) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(2);
    loop {
        match mounts::unmount(dir, detach) {
            Err(e) if e.kind() == Kind::Busy && Instant::now() < deadline => std::thread::sleep(LOOK),
            Err(e) if e.kind() == Kind::Busy => {
                return Err(holders::below(dir)
                    .into_iter()
                    .fold(e, |e, user| e.hint(format!("held by: {user}"))));
            }
            result => return result,
        }
    }
}

fn remove_dir(dir: &Path) -> Result<()> {
    match std::fs::remove_dir(dir) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::failed(format!("cannot remove the directory {}", dir.display())).because(e))
        }
        _ => Ok(()),
    }
}

/// Waits until the process that kept the changes has written the last of them and ended.
fn wait_for(changes: &Path) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    // If the file is gone, nobody writes to it.
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    while let Ok(file) = File::options().read(true).custom_flags(flags).open(changes) {
        if Flock::lock(file, FlockArg::LockSharedNonblock).is_ok() {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(Error::failed(format!(
                "the changes are still being written to {}",
                changes.display()
            )));
        }
        std::thread::sleep(LOOK);
    }
    Ok(())
}

/// Takes down what is dead; with `dry_run`, only returns it. Does not touch what is alive.
///
/// # Errors
/// When the records cannot be read. Each attachment comes with the error of taking it down.
pub fn clear_dead(dry_run: bool) -> Result<Vec<(Attachment, Result<()>)>> {
    if !nix::unistd::geteuid().is_root() {
        return Ok(Vec::new());
    }
    let dead = Attachment::all()?.into_iter().filter(|a| matches!(a.state(), AttachmentState::Dead(_)));
    Ok(dead
        .map(|a| {
            if dry_run {
                (a, Ok(()))
            } else {
                let done = take_down(&a);
                (a, done)
            }
        })
        .collect())
}
