//! Attachments: a directory in /run for each, with a record that is written before anything is
//! made. The record is believed only if the kernel confirms it.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

use crate::directories::{self, ARCHIVES_DIR, ATTACHED_DIR};
use crate::error::{Error, Result};
use crate::tools::{loopdev, mounts};

const RECORD: &str = "attachment.json";
const LOCK: &str = "attached.lock";
/// Subdirectories of an attachment: the mount point of its overlay, and the mount point of its file
/// system for copying files.
const CHANGES: &str = "changes";
const INSIDE: &str = "inside";

/// An image of an archive as a device, complete or in the making.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    pub id: String,
    /// The pid and the start time of the process that makes the attachment. The process ends when
    /// the attachment is complete.
    maker: (u32, u64),
    /// The archive as the person wrote it, such as `::latest`.
    #[serde(rename = "said")]
    pub archive_argument: String,
    pub archive: String,
    pub archive_id: String,
    pub repository: String,
    /// The image's path in the archive.
    pub path: OsString,
    /// The mount point of the archive.
    pub mount: OsString,
    /// The mount belongs to attachments only, and ends with the last one that uses it.
    pub private: bool,
    pub writable: bool,
    /// The file for kept changes.
    pub changes: Option<OsString>,
    pub device: Option<OsString>,
    pub partition: Option<u32>,
    /// The directory where we mounted its file system.
    pub mounted: Option<OsString>,
    pub qube: Option<String>,
}

/// The state of an attachment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttachmentState {
    Up,
    /// A running process is making it.
    Starting,
    /// Something that it needs is gone, so it can only be taken down.
    Dead(&'static str),
}

impl Attachment {
    /// Makes a new one with a directory of its own.
    ///
    /// # Errors
    /// When the directory cannot be made.
    pub fn begin(archive_argument: &str) -> Result<Attachment> {
        let dir = Path::new(ATTACHED_DIR);
        directories::make_private(dir)?;
        let made = tempfile::Builder::new().prefix("").rand_bytes(8).tempdir_in(dir);
        let made =
            made.map_err(|e| Error::failed(format!("cannot make a directory in {ATTACHED_DIR}")).because(e))?;
        let id = made.path().file_name().unwrap_or_default().to_string_lossy().into_owned();
        let maker = std::process::id();
        let attachment = Attachment {
            id,
            maker: (maker, started(maker).unwrap_or_default()),
            archive_argument: archive_argument.to_owned(),
            ..Attachment::default()
        };
        attachment.save()?;
        let _ = made.keep();
        Ok(attachment)
    }

    /// All attachments, sorted by device.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn all() -> Result<Vec<Attachment>> {
        let to_error = |e: std::io::Error| Error::failed(format!("cannot read {ATTACHED_DIR}")).because(e);
        let entries = match fs::read_dir(ATTACHED_DIR) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(to_error)?,
        };
        let mut all = Vec::new();
        for entry in entries {
            // An attachment without a record is just being made or removed.
            all.extend(Self::load(&entry.map_err(to_error)?.file_name().to_string_lossy()));
        }
        all.sort_by(|a, b| (&a.device, &a.id).cmp(&(&b.device, &b.id)));
        Ok(all)
    }

    fn load(id: &str) -> Option<Attachment> {
        let text = fs::read(Path::new(ATTACHED_DIR).join(id).join(RECORD)).ok()?;
        serde_json::from_slice(&text).ok().filter(|found: &Attachment| found.id == id)
    }

    /// Reads the record again.
    ///
    /// # Errors
    /// When the attachment is gone.
    pub fn again(&self) -> Result<Attachment> {
        Self::load(&self.id).ok_or_else(|| Error::failed("the attachment was ended meanwhile"))
    }

    /// Writes the record atomically.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn save(&self) -> Result<()> {
        let path = self.dir().join(RECORD);
        let to_error =
            |e: std::io::Error| Error::failed(format!("cannot write {}", path.display())).because(e);
        let text = serde_json::to_vec(self).map_err(|e| to_error(e.into()))?;
        let mut file = tempfile::NamedTempFile::new_in(self.dir()).map_err(to_error)?;
        file.write_all(&text).map_err(to_error)?;
        file.persist(&path).map(drop).map_err(|e| to_error(e.error))
    }

    pub fn dir(&self) -> PathBuf {
        Path::new(ATTACHED_DIR).join(&self.id)
    }

    /// The mount point of its overlay.
    pub fn changes_dir(&self) -> PathBuf {
        self.dir().join(CHANGES)
    }

    /// The mount point of its file system if only we look into it.
    pub fn inside_dir(&self) -> PathBuf {
        self.dir().join(INSIDE)
    }

    /// The mount point of its archive if it is not mounted elsewhere.
    pub fn archive_dir(&self) -> PathBuf {
        Path::new(ARCHIVES_DIR).join(&self.id)
    }

    /// The mark on its loop device.
    pub fn mark(&self) -> String {
        format!("{}{}", loopdev::OUR_MARKS, self.id)
    }

    /// The loop devices with the mark; normally one.
    pub fn devices(&self) -> Vec<PathBuf> {
        let mark = self.mark();
        loopdev::marked(&mark).into_iter().filter(|(_, found)| *found == mark).map(|(path, _)| path).collect()
    }

    pub fn state(&self) -> AttachmentState {
        if self.device.is_none() {
            let (pid, since) = self.maker;
            let alive = started(pid) == Some(since);
            return if alive {
                AttachmentState::Starting
            } else {
                AttachmentState::Dead("it was killed while it was made")
            };
        }
        if self.devices().is_empty() {
            return AttachmentState::Dead("its device is gone");
        }
        match self.stands_on().iter().all(|dir| is_live(dir)) {
            true => AttachmentState::Up,
            false => AttachmentState::Dead("the process that serves it was killed"),
        }
    }

    fn stands_on(&self) -> Vec<PathBuf> {
        let changes = self.writable.then(|| self.changes_dir());
        changes.into_iter().chain([PathBuf::from(&self.mount)]).collect()
    }
}

fn is_live(dir: &Path) -> bool {
    mounts::at(dir).ok().flatten().is_some_and(|m| m.kind == mounts::FUSE_TYPE && !m.is_dead())
}

/// The start time of the process, in the kernel's ticks; `None` if it is gone.
fn started(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

/// Makes a directory that only its owner can enter.
pub fn make_dir(dir: &Path) -> Result<()> {
    let made = DirBuilder::new().mode(0o700).create(dir);
    made.map_err(|e| Error::failed(format!("cannot make the directory {}", dir.display())).because(e))
}

/// Held while a decision is made about which mounts are in use.
pub struct Lock {
    _held: Flock<File>,
}

impl Lock {
    /// Waits for the lock, which nobody holds for long.
    ///
    /// # Errors
    /// When the lock file cannot be used.
    pub fn take() -> Result<Lock> {
        let path = directories::state_dir()?.join(LOCK);
        let to_error =
            |e: std::io::Error| Error::failed(format!("cannot lock {}", path.display())).because(e);
        let mut options = File::options();
        let options = options.write(true).create(true).truncate(false).mode(0o600);
        let file = options.custom_flags(libc::O_NOFOLLOW).open(&path).map_err(to_error)?;
        let locked = Flock::lock(file, FlockArg::LockExclusive);
        locked.map(|held| Lock { _held: held }).map_err(|(_, e)| to_error(e.into()))
    }
}
