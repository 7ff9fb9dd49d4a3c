//! Files in a volume. The volume is attached with changes that are discarded, so that its journal
//! can be replayed; its file system is mounted read-only, and taken down afterwards.

use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};

use super::attach::{self, Request, Then};
use super::attachment::Attachment;
use super::detach;
use super::found_archive::Find;
use crate::archive::choice::Wanted;
use crate::error::{Error, Kind, Result};
use crate::progress::Monitor;
use crate::tools::borg::Borg;

/// A volume, and the partition that is meant.
#[derive(Debug, Clone)]
pub struct Volume {
    pub archive: Wanted,
    /// The archive as the person wrote it.
    pub archive_argument: String,
    /// The image as `list` prints it, or the name of a volume.
    pub image: Vec<u8>,
    pub partition: Option<u32>,
    /// On Qubes OS: dom0's kernel may look into the volume.
    pub in_host: bool,
}

/// An entry of a directory, or the file that was named.
#[derive(Debug, Clone)]
pub struct VolumeEntry {
    pub name: OsString,
    pub metadata: Metadata,
}

/// The files of a volume. Dropping it takes the attachment down.
pub struct Inside {
    attachment: Option<Attachment>,
    root: PathBuf,
}

impl Inside {
    /// Attaches the volume and mounts it in a private place. `monitor` receives the number of
    /// entries of the archive that were read. Must be called while there is only one thread.
    ///
    /// # Errors
    /// As [`attach::attach`].
    pub fn open(borg: &Borg, volume: &Volume, find: Find<'_>, monitor: &dyn Monitor) -> Result<Inside> {
        let request = Request {
            archive: volume.archive.clone(),
            archive_argument: volume.archive_argument.clone(),
            image: volume.image.clone(),
            // With the journal replayed, no synced file is missing.
            writable: true,
            keep_changes: None,
            partition: volume.partition,
            sector_size: None,
            partscan: false,
            then: Then::LookInside,
            in_host: volume.in_host,
        };
        let attachment = attach::attach(borg, &request, find, monitor)?;
        let root = attachment.inside_dir();
        Ok(Inside { attachment: Some(attachment), root })
    }

    /// The entries of the directory `path`, sorted by name. If `path` is a file, the file.
    ///
    /// # Errors
    /// [`Kind::NotFound`] when `path` does not exist.
    pub fn list(&self, path: &[u8]) -> Result<Vec<VolumeEntry>> {
        let found = self.find(path)?;
        let to_error = |e: std::io::Error| to_error("list", path, e);
        let metadata = found.symlink_metadata().map_err(to_error)?;
        if !metadata.is_dir() {
            return Ok(vec![VolumeEntry {
                name: found.file_name().unwrap_or_default().to_owned(),
                metadata,
            }]);
        }
        let mut entries = Vec::new();
        for entry in std::fs::read_dir(&found).map_err(to_error)? {
            let entry = entry.map_err(to_error)?;
            entries
                .push(VolumeEntry { name: entry.file_name(), metadata: entry.metadata().map_err(to_error)? });
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    /// The size of all files in `path`, as listed.
    ///
    /// # Errors
    /// As [`Inside::list`].
    pub fn size(&self, path: &[u8]) -> Result<u64> {
        let to_error = |e: std::io::Error| to_error("look into", path, e);
        let mut open = vec![self.find(path)?];
        let mut bytes = 0;
        while let Some(next) = open.pop() {
            let metadata = next.symlink_metadata().map_err(to_error)?;
            if metadata.is_file() {
                bytes += metadata.len();
            } else if metadata.is_dir() {
                for entry in std::fs::read_dir(&next).map_err(to_error)? {
                    open.push(entry.map_err(to_error)?.path());
                }
            }
        }
        Ok(bytes)
    }

    /// The position of `path` on this machine: its directory, and its name there. For `/`, the root
    /// and `.`.
    ///
    /// # Errors
    /// As [`Inside::list`].
    pub fn place(&self, path: &[u8]) -> Result<(PathBuf, OsString)> {
        let found = self.find(path)?;
        Ok(match (found.parent(), found.file_name()) {
            (Some(parent), Some(name)) if found != self.root => (parent.to_owned(), name.to_owned()),
            _ => (self.root.clone(), OsString::from(".")),
        })
    }

    /// Takes the attachment down.
    ///
    /// # Errors
    /// As [`detach::take_down`].
    pub fn close(mut self) -> Result<()> {
        self.end()
    }

    fn end(&mut self) -> Result<()> {
        self.attachment.take().map_or(Ok(()), |attachment| detach::take_down(&attachment))
    }

    /// Resolves `path`. Links on the way are resolved inside the volume and never lead out of it. A
    /// link at the end is not followed.
    fn find(&self, path: &[u8]) -> Result<PathBuf> {
        let path = Path::new(OsStr::from_bytes(path));
        let relative = path.strip_prefix("/").unwrap_or(path);
        if relative.as_os_str().is_empty() {
            return Ok(self.root.clone());
        }
        let bytes = relative.as_os_str().as_bytes();
        let root = File::open(&self.root).map_err(|e| to_error("open", bytes, e))?;
        let how = OpenHow::new()
            .flags(OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        let found = openat2(&root, relative, how).map_err(|e| match e {
            Errno::ENOENT | Errno::ENOTDIR => {
                Error::new(Kind::NotFound, format!("there is no /{} in the volume", bytes.escape_ascii()))
                    .hint("`--list` shows what is in a directory")
            }
            e => to_error("open", bytes, e.into()),
        })?;
        // The path stays valid: the volume is read-only, or nobody else writes to it.
        let link = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&found));
        std::fs::read_link(link).map_err(|e| to_error("open", bytes, e))
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        if let Err(e) = self.end() {
            tracing::error!("{}", e.chain());
        }
    }
}

fn to_error(what: &str, path: &[u8], e: std::io::Error) -> Error {
    Error::failed(format!("cannot {what} {} in the volume", path.escape_ascii())).because(e)
}
