//! Makes a device of an image in an archive.
//!
//! ```text
//! archive (a FUSE mount, ours or one that is there) -> [changes (a FUSE of ours)] -> loop device
//!                                                       -> [mount | qube]
//! ```

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use borg_repository::ItemPath;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag, OpenHow, ResolveFlag, openat2};

use super::attachment::{Attachment, Lock, make_dir};
use super::detach;
use super::filesystem;
use super::filesystem::Mode;
use super::found_archive::{Find, Serve};
use super::origin::Origin;
use super::overlay::Overlay;
use super::writable::{self, MountedOverlay};
use crate::archive::choice::Wanted;
use crate::archive::naming;
use crate::archive::volumes;
use crate::archives::damage;
use crate::directories::{self, ARCHIVES_DIR};
use crate::error::{Error, Kind, Result};
use crate::process::interrupt;
use crate::progress::Monitor;
use crate::tools::background;
use crate::tools::borg::{Borg, Preflight};
use crate::tools::loopdev::{self, Setup};
use crate::tools::{mounts, qubes};

/// What to attach, and how.
#[derive(Debug, Clone)]
pub struct Request {
    pub archive: Wanted,
    /// The archive as the person wrote it.
    pub archive_argument: String,
    /// The image as `list` prints it, or the name of a volume.
    pub image: Vec<u8>,
    pub writable: bool,
    /// An absolute path.
    pub keep_changes: Option<PathBuf>,
    pub partition: Option<u32>,
    pub sector_size: Option<u32>,
    pub partscan: bool,
    pub then: Then,
    /// On Qubes OS: dom0's kernel may look into the image.
    pub in_host: bool,
}

/// What happens with the device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Then {
    Nothing,
    /// Its file system is mounted at this directory, an absolute path without links.
    Mount(PathBuf),
    /// Its file system is mounted in a private directory ([`Attachment::inside_dir`]), where nobody
    /// changes a file.
    LookInside,
    /// It is attached to this qube.
    Qube(String),
}

/// Attaches an image of an archive that `find` finds. `monitor` receives the number of entries of
/// the archive that were read. Must be called while there is only one thread. If this fails, it
/// removes what it made.
///
/// # Errors
/// When the user is not root, the archive or the image does not exist, or a step fails.
pub fn attach(borg: &Borg, request: &Request, find: Find<'_>, monitor: &dyn Monitor) -> Result<Attachment> {
    if !nix::unistd::geteuid().is_root() {
        return Err(Error::usage("only root can make a device of an image")
            .hint("without root, `mount` shows the image as a file, which can be copied"));
    }
    check_host(request)?;
    naming::candidates(&request.image)?;
    interrupt::heed()?;
    let new_changes = request.keep_changes.as_ref().filter(|file| !file.exists());
    let attachment = Attachment::begin(&request.archive_argument)?;
    let id = attachment.id.clone();
    build(attachment, borg, request, find, monitor).inspect_err(|_| {
        let left = Attachment::all().unwrap_or_default().into_iter().find(|a| a.id == id);
        if let Some(Err(e)) = left.map(|left| detach::take_down(&left)) {
            tracing::error!("{}; `borg-offsite-backup cleanup` tries again", e.chain());
        }
        if let Some(file) = new_changes {
            let _ = std::fs::remove_file(file);
        }
    })
}

fn check_host(request: &Request) -> Result<()> {
    let mounts = matches!(request.then, Then::Mount(_) | Then::LookInside);
    let looks = mounts || request.partition.is_some() || request.partscan;
    if looks && !request.in_host && qubes::is_admin() {
        return Err(Error::usage("on Qubes OS an image is looked into in a qube, not in dom0")
            .hint("`attach --to-qube VM` hands it over unread; in there, `mount` it")
            .hint("a file system that a qube has written can attack the kernel that mounts it: `--in-host` if it shall"));
    }
    Ok(())
}

fn build(
    attachment: Attachment,
    borg: &Borg,
    request: &Request,
    find: Find<'_>,
    monitor: &dyn Monitor,
) -> Result<Attachment> {
    let wait = |(serve, _preflight): (Serve, Preflight)| serve();
    let mut attachment = background::start(|| mount_archive(borg, request, attachment, find, monitor), wait)?;
    interrupt::check()?;
    let (path, mut file) = open_image(&attachment, &request.image)?;
    attachment.path = path.as_os_str().to_owned();
    if request.writable {
        attachment.writable = true;
        attachment.changes = request.keep_changes.clone().map(OsString::from);
        attachment.save()?;
        file = show_changes(&attachment, file)?;
        interrupt::check()?;
    }
    let setup = Setup {
        mark: &attachment.mark(),
        writable: request.writable,
        sector_size: request.sector_size,
        partscan: request.partscan,
    };
    let device = loopdev::attach(&file, setup)?;
    attachment.device = Some(device.clone().into());
    attachment.partition = request.partition;
    attachment.save()?;
    if let Some(number) = request.partition {
        let partition = filesystem::partition(&device, number)?;
        loopdev::limit(&device, partition.start, partition.size)?;
    }
    interrupt::check()?;
    hand_over(&mut attachment, &device, &request.then)?;
    interrupt::check()?;
    Ok(attachment)
}

/// The record names each resource before it is made.
fn hand_over(attachment: &mut Attachment, device: &Path, then: &Then) -> Result<()> {
    let dir = match then {
        Then::Nothing => return Ok(()),
        Then::Qube(qube) => {
            attachment.qube = Some(qube.clone());
            attachment.save()?;
            return qubes::attach_block(qube, device, attachment.writable);
        }
        Then::Mount(dir) => dir.clone(),
        Then::LookInside => {
            make_dir(&attachment.inside_dir())?;
            attachment.inside_dir()
        }
    };
    let mode = match (then, attachment.writable) {
        (_, false) => Mode::ReadOnly,
        (Then::LookInside, true) => Mode::Replayed,
        (_, true) => Mode::Writable,
    };
    attachment.mounted = Some(dir.clone().into());
    attachment.save()?;
    filesystem::mount(device, &dir, mode)
}

/// Finds the archive, and mounts it unless it is mounted already. Runs in the process that serves
/// the mount.
fn mount_archive(
    borg: &Borg,
    request: &Request,
    mut attachment: Attachment,
    find: Find<'_>,
    monitor: &dyn Monitor,
) -> Result<(Attachment, Option<(Serve, Preflight)>)> {
    let reached = borg.reach("attach an image of it")?;
    let found = find(borg, &request.archive)?;
    if let Some(archive) = found.archive() {
        attachment.archive = archive.name.clone();
        attachment.archive_id = archive.id.clone();
    }
    attachment.repository = borg.repository().to_owned();
    {
        // Under the lock, nobody unmounts it before the record says that it is in use.
        let _lock = Lock::take()?;
        if let Some(dir) = live_mount(found.mount_name(), &attachment.archive_id)? {
            attachment.private = dir.starts_with(ARCHIVES_DIR);
            attachment.mount = dir.into();
            attachment.save()?;
            return Ok((attachment, None));
        }
    }
    let mount = found.read(monitor)?;
    interrupt::check()?;
    let dir = attachment.archive_dir();
    directories::make_private(Path::new(ARCHIVES_DIR))?;
    attachment.mount = dir.clone().into();
    attachment.private = true;
    attachment.save()?;
    make_dir(&dir)?;
    let serve = mount(&dir)?;
    Ok((attachment, Some((serve, reached))))
}

/// A mount of the whole archive that root made. The mount of another user could return anything.
fn live_mount(name: &str, archive_id: &str) -> Result<Option<PathBuf>> {
    let fits = |m: &mounts::Mount| {
        m.kind == mounts::FUSE_TYPE && m.user == Some(0) && m.source == OsStr::new(name) && !m.is_dead()
    };
    let dirs = mounts::list()?.into_iter().filter(fits).map(|m| m.dir);
    Ok(dirs.into_iter().find(|dir| mounts::archive_at(dir).as_deref() == Some(archive_id)))
}

/// Opens the image, and returns its path in the archive. Does not follow links in the archive,
/// because they could lead to a file of this machine.
fn open_image(attachment: &Attachment, wanted: &[u8]) -> Result<(ItemPath, File)> {
    let mount = Path::new(&attachment.mount);
    let root = File::open(mount)
        .map_err(|e| Error::failed(format!("cannot look into {}", mount.display())).because(e))?;
    let how = OpenHow::new()
        .flags(OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS);
    let label = wanted.escape_ascii();
    let archive = &attachment.archive;
    for path in naming::candidates(wanted)? {
        let to_error =
            |e: std::io::Error| Error::failed(format!("cannot open {path} of {archive}")).because(e);
        let file = match openat2(&root, path.as_os_str(), how) {
            Ok(fd) => File::from(fd),
            Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => continue,
            // A mount does not open a file that is known to be damaged.
            Err(e @ Errno::EIO) => {
                return Err(to_error(e.into())
                    .hint(damage::REPAIRED)
                    .hint("`attach --salvage` attaches what is left of it")
                    .hint(format!(
                        "`borg-offsite-backup verify {} {path}` names the bytes",
                        attachment.archive_argument
                    )));
            }
            Err(e) => return Err(to_error(e.into())),
        };
        if file.metadata().map_err(to_error)?.is_file() {
            return Ok((path, file));
        }
        let error = Error::usage(format!("{path} of {archive} is no file"));
        return Err(volumes_in(mount).into_iter().fold(error, Error::hint));
    }
    let error = Error::new(Kind::NotFound, format!("there is no image {label} in {archive}"));
    Err(volumes_in(mount).into_iter().fold(error, Error::hint))
}

/// A hint for each of the first volumes in the archive.
fn volumes_in(mount: &Path) -> Vec<String> {
    const SHOWN: usize = 8;
    let top = mount.join(OsStr::from_bytes(volumes::DIRECTORY));
    let mut open = vec![top.clone()];
    let mut found = Vec::new();
    while let Some(dir) = open.pop() {
        let mut entries: Vec<_> = std::fs::read_dir(&dir).into_iter().flatten().flatten().collect();
        entries.sort_by_key(|entry| std::cmp::Reverse(entry.file_name()));
        for entry in entries {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => open.push(entry.path()),
                Ok(kind) if kind.is_file() && entry.file_name() != volumes::DATASET_LIST => {
                    found.push(entry.path())
                }
                _ => {}
            }
        }
    }
    found.sort();
    let names = found.iter().filter_map(|path| path.strip_prefix(&top).ok());
    let mut hints: Vec<String> = names.take(SHOWN).map(|name| format!("it has {}", name.display())).collect();
    match found.len() {
        0 => hints.push("`borg-offsite-backup list` shows what is in it".into()),
        len if len > SHOWN => hints.push(format!("and {} more volumes", len - SHOWN)),
        _ => {}
    }
    hints
}

/// Mounts the overlay over the image, and opens its file.
fn show_changes(attachment: &Attachment, base: File) -> Result<File> {
    let dir = attachment.changes_dir();
    make_dir(&dir)?;
    let mount = || Ok(((), Some(MountedOverlay::new(overlay(attachment, base)?, &dir)?)));
    background::start(mount, MountedOverlay::wait)?;
    let path = dir.join(writable::NAME);
    let opened = File::options().read(true).write(true).open(&path);
    opened.map_err(|e| Error::failed(format!("cannot open {}", path.display())).because(e))
}

fn overlay(attachment: &Attachment, base: File) -> Result<Overlay> {
    let to_error = |e: std::io::Error| Error::failed("cannot read the size of the image").because(e);
    let size = base.metadata().map_err(to_error)?.len();
    let Some(kept) = &attachment.changes else {
        let dir = directories::cache_dir()?;
        directories::make_private(&dir)?;
        let store = tempfile::tempfile_in(&dir)
            .map_err(|e| Error::failed(format!("cannot make a file in {}", dir.display())).because(e))?;
        return Overlay::thrown_away(base, size, store);
    };
    let label = Path::new(kept).display().to_string();
    let file = lock_changes(Path::new(kept))?;
    let origin = Origin::new(&attachment.archive_id, attachment.path.as_bytes(), size);
    Overlay::kept(base, size, file, &origin).map_err(|e| {
        let again = Error::new(e.kind(), format!("cannot keep changes in {label}"));
        let again = e.hints().iter().fold(again, |again, hint| again.hint(hint));
        again.because(e).hint("name another file, or none")
    })
}

/// Opens the file for kept changes, and locks it for the life of this process.
fn lock_changes(path: &Path) -> Result<File> {
    let to_error = |e: std::io::Error| Error::failed(format!("cannot use {}", path.display())).because(e);
    let mut options = File::options();
    let options = options.read(true).write(true).create(true).truncate(false).mode(0o600);
    let file = options.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path).map_err(to_error)?;
    let meta = file.metadata().map_err(to_error)?;
    if !meta.is_file() || meta.nlink() != 1 {
        // In the directory of another account, it could be a hard link to one of our files.
        return Err(to_error(std::io::Error::other("it is no file, or one with several names")));
    }
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(locked) => {
            let file = locked.try_clone().map_err(to_error)?;
            // The clone shares the lock, which dropping the guard would release.
            std::mem::forget(locked);
            Ok(file)
        }
        Err((_, Errno::EWOULDBLOCK)) => {
            Err(Error::new(Kind::Busy, format!("the changes in {} are in use", path.display()))
                .hint("`borg-offsite-backup attached` shows by what"))
        }
        Err((_, e)) => Err(to_error(e.into())),
    }
}
