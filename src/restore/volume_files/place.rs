//! Moving what was extracted to where it belongs: names in open directories, so that no link is followed.

use std::ffi::{CStr, CString, OsStr};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, RenameFlags, openat, renameat, renameat2};
use nix::sys::stat::{FchmodatFlags, FileStat, Mode, fchmodat, fstat, fstatat};
use nix::unistd::geteuid;

const DIRECTORY: OFlag = OFlag::O_DIRECTORY.union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);

/// What of `from` cannot be put into `to`, since something is there: a file, unless it is
/// overwritten, or a directory where there is a file, or the other way round.
pub fn in_the_way(from: &File, to: &File, overwrite: bool) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    walk(from, to, &mut |at, step| {
        match step {
            Step::Free(..) => {}
            Step::Replace(..) if overwrite => {}
            Step::Replace(..) | Step::Clash => found.push(at.to_owned()),
        }
        Ok(())
    })?;
    Ok(found)
}

/// Moves all that is in `from` into `to`. Directories that are there take what is in their namesakes.
pub fn put(from: &File, to: &File, overwrite: bool) -> io::Result<()> {
    walk(from, to, &mut |at, step| {
        let exists = || io::Error::new(io::ErrorKind::AlreadyExists, format!("{} is there", at.display()));
        match step {
            Step::Free(from, to, name) => Ok(move_new(from, to, name)?),
            Step::Replace(from, to, name) if overwrite => Ok(renameat(from, name, to, name)?),
            Step::Replace(..) | Step::Clash => Err(exists()),
        }
    })
}

/// What there is to do about one name: in which directory it is, and to which it goes.
enum Step<'a> {
    Free(&'a OwnedFd, &'a OwnedFd, &'a CStr),
    /// Neither is a directory.
    Replace(&'a OwnedFd, &'a OwnedFd, &'a CStr),
    /// One is a directory, and the other is not.
    Clash,
}

type Each<'a> = &'a mut dyn FnMut(&Path, Step<'_>) -> io::Result<()>;

fn walk(from: &File, to: &File, each: Each<'_>) -> io::Result<()> {
    let device = to.metadata()?.dev();
    descend(&from.try_clone()?.into(), &to.try_clone()?.into(), Path::new(""), device, each)
}

fn descend(from: &OwnedFd, to: &OwnedFd, at: &Path, device: u64, each: Each<'_>) -> io::Result<()> {
    for name in names(from)? {
        let name = name.as_c_str();
        let at = at.join(OsStr::from_bytes(name.to_bytes()));
        let new = fstatat(from, name, AtFlags::AT_SYMLINK_NOFOLLOW)?;
        let old = match fstatat(to, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Err(Errno::ENOENT) => {
                each(&at, Step::Free(from, to, name))?;
                continue;
            }
            old => old?,
        };
        match (is_directory(&new), is_directory(&old)) {
            (true, true) if old.st_dev != device => {
                let why = format!("{} is another file system: restore to it by itself", at.display());
                return Err(io::Error::new(io::ErrorKind::CrossesDevices, why));
            }
            (true, true) => {
                let from = open_ours(from, name)?;
                // Names in it are made and looked up, never listed: so it may be closed to readers.
                let to = openat(to, name, DIRECTORY | OFlag::O_PATH, Mode::empty())?;
                descend(&from, &to, &at, device, each)?;
            }
            (false, false) => each(&at, Step::Replace(from, to, name))?,
            _ => each(&at, Step::Clash)?,
        }
    }
    Ok(())
}

fn is_directory(stat: &FileStat) -> bool {
    stat.st_mode & libc::S_IFMT == libc::S_IFDIR
}

fn names(dir: &OwnedFd) -> nix::Result<Vec<CString>> {
    let mut dir = Dir::openat(dir, ".", DIRECTORY, Mode::empty())?;
    let names = dir.iter().map(|entry| entry.map(|entry| entry.file_name().to_owned()));
    let names: Vec<CString> = names.collect::<nix::Result<_>>()?;
    Ok(names.into_iter().filter(|name| !matches!(name.to_bytes(), b"." | b"..")).collect())
}

/// Never over anything, where the file system can promise that (ZFS 2.1 cannot).
fn move_new(from: &OwnedFd, to: &OwnedFd, name: &CStr) -> nix::Result<()> {
    match renameat2(from, name, to, name, RenameFlags::RENAME_NOREPLACE) {
        Err(Errno::EINVAL) => renameat(from, name, to, name),
        Err(Errno::EACCES) => move_directory(from, to, name),
        moved => moved,
    }
}

/// A directory that its owner may not write to goes elsewhere only while he may.
fn move_directory(from: &OwnedFd, to: &OwnedFd, name: &CStr) -> nix::Result<()> {
    let directory =
        openat(from, name, DIRECTORY | OFlag::O_PATH, Mode::empty()).map_err(|_| Errno::EACCES)?;
    let mode = fstat(&directory)?.st_mode & 0o7777;
    change_mode(&directory, mode | 0o700)?;
    let moved = match renameat2(from, name, to, name, RenameFlags::RENAME_NOREPLACE) {
        Err(Errno::EINVAL) => renameat(from, name, to, name),
        moved => moved,
    };
    moved.and(change_mode(&directory, mode))
}

/// A directory that was extracted, also where its mode keeps it from its owner. It is not kept: what is in it is
/// moved to its namesake.
fn open_ours(dir: &OwnedFd, name: &CStr) -> nix::Result<OwnedFd> {
    let opened = openat(dir, name, DIRECTORY, Mode::empty());
    let directory = match opened {
        Err(Errno::EACCES) => openat(dir, name, DIRECTORY | OFlag::O_PATH, Mode::empty())?,
        Ok(directory) if fstat(&directory)?.st_mode & 0o700 != 0o700 && !geteuid().is_root() => directory,
        opened => return opened,
    };
    change_mode(&directory, 0o700)?;
    openat(dir, name, DIRECTORY, Mode::empty())
}

/// Also of what is open as a mere place.
fn change_mode(directory: &OwnedFd, mode: u32) -> nix::Result<()> {
    let path = format!("/proc/self/fd/{}", directory.as_raw_fd());
    let mode = Mode::from_bits_truncate(mode);
    fchmodat(directory, path.as_str(), mode, FchmodatFlags::FollowSymlink)
}
