//! Where an image will be written, inspected but not yet changed. The target is opened once. Its
//! properties come from the open descriptor, and before anything is written, its path is checked
//! again.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirEntryExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;

use super::identity::Identity;
use super::in_use;
use super::open::{Target, TargetKind};
use crate::error::{Error, Kind, Result};
use crate::tools::blockdev;

/// A target that was inspected.
#[derive(Debug)]
pub struct Place {
    /// The target, open for reading; for a new file, its directory.
    file: File,
    identity: Identity,
    /// Without links: the device itself, and not its link in `/dev/zvol`.
    path: PathBuf,
    /// The path as the person wrote it.
    label: String,
    pub kind: TargetKind,
    /// The existing size in bytes.
    pub size: u64,
}

impl Place {
    /// Inspects `path`; changes nothing.
    ///
    /// # Errors
    /// [`Kind::Usage`] when it cannot be written to.
    pub fn at(path: &Path) -> Result<Self> {
        let label = path.display().to_string();
        let to_error = |e: io::Error| Error::usage(format!("cannot use the target {label}")).because(e);
        // First opened only as a path: opening some devices has effects.
        let found = match open(path, libc::O_PATH) {
            Err(e) if e.kind() == ErrorKind::NotFound && path.symlink_metadata().is_err() => {
                return Self::new(path, label);
            }
            found => found.map_err(to_error)?,
        };
        let kind = found.metadata().map_err(to_error)?.file_type();
        let kind = match (kind.is_block_device(), kind.is_file()) {
            (true, _) => TargetKind::Device,
            (_, true) => TargetKind::File,
            _ => {
                return Err(Error::usage(format!("the target {label} is neither a block device nor a file")));
            }
        };
        let path = name_of(&found).map_err(to_error)?;
        let file = again(&found, OpenOptions::new().read(true)).map_err(to_error)?;
        let identity = Identity::of(&file).map_err(to_error)?;
        let size = identity.size;
        Ok(Place { file, identity, path, label, kind, size })
    }

    fn new(path: &Path, label: String) -> Result<Self> {
        let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let to_error = |e: io::Error| {
            Error::usage(format!("cannot make the target {label}: its directory is not there")).because(e)
        };
        let directory = open(parent, libc::O_PATH | libc::O_DIRECTORY).map_err(to_error)?;
        let parent = name_of(&directory).map_err(to_error)?;
        if parent.starts_with("/dev") {
            // A mistyped device must not become a file in memory.
            return Err(
                Error::usage(format!("there is no device {label}")).hint("make it first, or see `--create`")
            );
        }
        let name = path.file_name();
        let name = name.ok_or_else(|| Error::usage(format!("the target {label} is no name of a file")))?;
        let identity = Identity::of(&directory).map_err(to_error)?;
        Ok(Place {
            file: directory,
            identity,
            path: parent.join(name),
            label,
            kind: TargetKind::New,
            size: 0,
        })
    }

    /// Checks that it is not part of the repository from which the image is read.
    ///
    /// # Errors
    /// [`Kind::Usage`] when it is.
    pub fn is_outside(&self, repository: Option<&Path>) -> Result<()> {
        let repository = repository.and_then(|dir| dir.canonicalize().ok());
        match repository.filter(|dir| self.path.starts_with(dir) || self.is_in(dir)) {
            Some(dir) => {
                let label = &self.label;
                Err(Error::usage(format!("the target {label} is inside the repository {}", dir.display())))
            }
            None => Ok(()),
        }
    }

    /// Whether the file, or the directory of a new one, is also in `dir`, under another name or
    /// through another mount.
    fn is_in(&self, dir: &Path) -> bool {
        let wanted = (self.identity.device, self.identity.inode);
        let is_it =
            |path: &Path| path.symlink_metadata().is_ok_and(|meta| (meta.dev(), meta.ino()) == wanted);
        let mut open = vec![dir.to_owned()];
        while let Some(dir) = open.pop().filter(|_| self.kind != TargetKind::Device) {
            if is_it(&dir) {
                return true;
            }
            for entry in std::fs::read_dir(&dir).into_iter().flatten().flatten() {
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    open.push(entry.path());
                } else if entry.ino() == wanted.1 && is_it(&entry.path()) {
                    return true;
                }
            }
        }
        false
    }

    #[cfg(test)]
    pub fn path(&self) -> &Path {
        &self.path
    }

    #[cfg(test)]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The path as the person wrote it.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// How many names a file has; all of them show the image.
    pub fn names(&self) -> u64 {
        if self.kind == TargetKind::File { self.identity.names } else { 1 }
    }

    /// Checks that an image of `size` bytes fits exactly, and that nobody uses the target. A file
    /// may have another size if it may be overwritten.
    ///
    /// # Errors
    /// [`Kind::Usage`] when it does not fit, [`Kind::Busy`] when it is in use. Nothing was changed.
    pub fn check(&self, size: u64, overwrite: bool) -> Result<()> {
        let label = &self.label;
        let wrong = |how: &str| {
            Error::usage(format!("the target {label} has {} bytes, {how} the image's {size}", self.size))
                .hint(format!("nothing was written to {label}"))
        };
        match self.kind {
            TargetKind::New => return Ok(()),
            TargetKind::Device if self.size < size => {
                return Err(wrong("less than").hint("make it larger: `zfs set volsize=`, `lvextend`"));
            }
            TargetKind::Device if self.size > size => {
                return Err(
                    wrong("more than").hint("its end would stay as it is; take one of exactly this size")
                );
            }
            TargetKind::File if self.size != size && !overwrite => {
                return Err(wrong("and not").hint("`--overwrite` replaces it"));
            }
            TargetKind::Device | TargetKind::File => {}
        }
        if self.kind == TargetKind::Device && blockdev::is_read_only(&self.file) {
            return Err(Error::usage(format!("the target {label} is read-only")));
        }
        let uses = in_use::wait(&self.path, &self.identity);
        if uses.is_empty() {
            return Ok(());
        }
        let error =
            Error::new(Kind::Busy, format!("the target {label} is in use; nothing was written to it"));
        Err(uses.into_iter().fold(error, |error, by| error.hint(format!("held by: {by}"))))
    }

    /// Opens it for a comparison with an image.
    ///
    /// # Errors
    /// When it does not exist, or cannot be read.
    pub fn open_to_read(&self) -> Result<Target> {
        let label = &self.label;
        let to_error = |e: io::Error| Error::usage(format!("cannot read the target {label}")).because(e);
        if self.kind == TargetKind::New {
            return Err(to_error(ErrorKind::NotFound.into()));
        }
        let file = self.file.try_clone().map_err(to_error)?;
        Ok(self.target(file, self.size, false))
    }

    /// Opens it exclusively for writing: a device cannot be mounted until it is closed. A new file
    /// is made for its owner only; a file of another size is emptied and resized.
    ///
    /// # Errors
    /// [`Kind::Busy`] when someone else uses it, or it changed since it was inspected;
    /// [`Kind::Failed`] when it cannot be written to.
    pub fn open(self, size: u64) -> Result<Target> {
        let label = &self.label;
        let to_error = |e: io::Error| match e.raw_os_error() {
            Some(libc::EBUSY | libc::EWOULDBLOCK) => {
                Error::new(Kind::Busy, format!("the target {label} is in use; nothing was written to it"))
                    .because(e)
                    .hint("the kernel holds it: a mount elsewhere, a ZFS pool, a qube's disk")
            }
            _ => Error::failed(format!("cannot write to the target {label}")).because(e),
        };
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        let file = match self.kind {
            TargetKind::Device => again(&self.file, options.custom_flags(libc::O_EXCL)),
            TargetKind::File => again(&self.file, &options),
            TargetKind::New => self.make(),
        };
        let file = file.map_err(to_error)?;
        if self.kind != TargetKind::Device {
            file.try_lock().map_err(|e| to_error(e.into()))?;
        }
        self.is_still_there(&file).map_err(to_error)?;
        let blank = self.kind != TargetKind::Device && self.size != size;
        if blank {
            file.set_len(0).and_then(|()| file.set_len(size)).map_err(to_error)?;
        }
        let size = if self.kind == TargetKind::Device { self.size } else { size };
        Ok(self.target(file, size, blank))
    }

    fn make(&self) -> io::Result<File> {
        let name = self.path.file_name().unwrap_or_default();
        let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        Ok(File::from(openat(&self.file, name, flags, Mode::S_IRUSR | Mode::S_IWUSR)?))
    }

    /// Whether `file` is what was inspected, and its path still leads there.
    fn is_still_there(&self, file: &File) -> io::Result<()> {
        let changed = || io::Error::other("it became another one since it was looked at");
        if self.kind == TargetKind::New {
            return Ok(());
        }
        if Identity::of(file)? != self.identity {
            return Err(changed());
        }
        let found = open(&self.path, libc::O_PATH | libc::O_NOFOLLOW).map_err(|_| changed())?.metadata()?;
        let same = match self.identity.rdev {
            Some(rdev) => found.file_type().is_block_device() && found.rdev() == rdev,
            None => (found.dev(), found.ino()) == (self.identity.device, self.identity.inode),
        };
        if same { Ok(()) } else { Err(changed()) }
    }

    fn target(&self, file: File, size: u64, blank: bool) -> Target {
        // If this is impossible, reads go through the cache.
        let direct = match self.kind {
            TargetKind::Device => {
                again(&file, OpenOptions::new().read(true).custom_flags(libc::O_DIRECT)).ok()
            }
            TargetKind::File | TargetKind::New => None,
        };
        Target::new(file, direct, self.kind, self.label.clone(), size, blank)
    }
}

fn open(path: &Path, flags: libc::c_int) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(flags).open(path)
}

/// Reopens what is open, in another mode.
fn again(file: &File, options: &OpenOptions) -> io::Result<File> {
    options.open(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

/// The path of what is open, without links.
fn name_of(file: &File) -> io::Result<PathBuf> {
    std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()))
}
