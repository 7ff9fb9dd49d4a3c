//! The mount table, `/proc/self/mountinfo`; mounting and unmounting.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, umount2};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::error::{Error, Kind, Result};
use crate::process::{Command, Ended};

/// The type of our own mounts in the mount table.
pub const FUSE_TYPE: &str = "fuse.borg-offsite-backup";
/// A hidden link in the root of a mount that shows a whole archive. Its target is the archive's id.
pub const MARK: &str = ".borg-offsite-backup-archive";
/// The inode number of the link, which nothing in an archive has.
pub const MARK_INO: u64 = 1 << 63;

/// MS_NOSYMFOLLOW, since Linux 5.10.
pub const NOSYMFOLLOW: MsFlags = MsFlags::from_bits_retain(1 << 8);

/// A line of the mount table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    pub dir: PathBuf,
    /// `ext4`, `fuse.borg-offsite-backup`, …
    pub kind: String,
    pub source: OsString,
    /// The device number of the file system.
    pub device: u64,
    /// Those of this mount, not of the file system.
    pub options: String,
    /// The user who mounted it, if it is a FUSE file system.
    pub user: Option<u32>,
}

impl Mount {
    /// Whether its server is gone. Then every call fails with "Transport endpoint is not connected"
    /// until it is unmounted.
    pub fn is_dead(&self) -> bool {
        // Not stat, which the kernel would answer from its cache.
        let answer = nix::sys::statvfs::statvfs(&self.dir);
        // The second error occurs for a moment, while the kernel cleans up after the process.
        matches!(answer, Err(Errno::ENOTCONN | Errno::ECONNABORTED))
    }
}

/// All mounts that this process sees, in the order of mounting.
///
/// # Errors
/// When `/proc` is not there.
pub fn list() -> Result<Vec<Mount>> {
    let table = std::fs::read("/proc/self/mountinfo")
        .map_err(|e| Error::failed("cannot read the mount table /proc/self/mountinfo").because(e))?;
    Ok(parse(&table))
}

/// The topmost mount with the mount point `dir`, which must be absolute and without links.
///
/// # Errors
/// As [`list`].
pub fn at(dir: &Path) -> Result<Option<Mount>> {
    Ok(list()?.into_iter().rev().find(|m| m.dir == dir))
}

/// Watches the mount table for changes.
pub struct Watch(File);

impl Watch {
    /// # Errors
    /// When `/proc` is not there.
    pub fn new() -> io::Result<Self> {
        File::open("/proc/self/mountinfo").map(Watch)
    }

    /// Whether it has changed since the last call.
    pub fn has_changed(&self) -> bool {
        let mut fds = [PollFd::new(self.0.as_fd(), PollFlags::POLLPRI)];
        matches!(poll(&mut fds, PollTimeout::ZERO), Ok(n) if n > 0)
    }
}

/// Whether the file system with this device number is anywhere in the mount table.
///
/// # Errors
/// As [`list`].
pub fn is_shown(device: u64) -> Result<bool> {
    Ok(list()?.iter().any(|mount| mount.device == device))
}

fn parse(table: &[u8]) -> Vec<Mount> {
    let line = |line: &[u8]| {
        let mut fields = line.split(|b| *b == b' ');
        let (major, minor) = std::str::from_utf8(fields.nth(2)?).ok()?.split_once(':')?;
        let device = libc::makedev(major.parse().ok()?, minor.parse().ok()?);
        let dir = unescape(fields.nth(1)?);
        let own = String::from_utf8_lossy(fields.next()?).into_owned();
        let mut rest = fields.skip_while(|f| *f != b"-").skip(1);
        let kind = String::from_utf8_lossy(rest.next()?).into_owned();
        let source = OsString::from_vec(unescape(rest.next()?));
        let options = String::from_utf8_lossy(rest.next().unwrap_or_default()).into_owned();
        let user = options.split(',').find_map(|option| option.strip_prefix("user_id=")?.parse().ok());
        let dir = PathBuf::from(OsString::from_vec(dir));
        Some(Mount { dir, kind, source, device, options: own, user })
    };
    table.split(|b| *b == b'\n').filter_map(line).collect()
}

/// Resolves escapes such as `\040`, which stand for bytes that would break the table.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, tail)) = rest.split_first() {
        let octal = tail.get(..3).filter(|d| *first == b'\\' && d.iter().all(|b| (b'0'..=b'7').contains(b)));
        match octal {
            Some(d) => {
                bytes.push(d.iter().fold(0u8, |n, b| n.wrapping_mul(8).wrapping_add(b - b'0')));
                rest = &tail[3..];
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    bytes
}

/// Unmounts `dir`; with `detach`, even while something is open in it. Uses fusermount3 for users
/// other than root.
///
/// # Errors
/// [`Kind::Busy`] when something is open in it, and other errors of the kernel.
pub fn unmount(dir: &Path, detach: bool) -> Result<()> {
    let flags = if detach { MntFlags::MNT_DETACH } else { MntFlags::empty() };
    let to_error = |kind| Error::new(kind, format!("cannot unmount {}", dir.display()));
    match umount2(dir, flags) {
        Ok(()) => Ok(()),
        Err(Errno::EBUSY) => Err(to_error(Kind::Busy).because(Errno::EBUSY)),
        Err(Errno::EPERM) if !nix::unistd::geteuid().is_root() => {
            let mut command = Command::new("fusermount3").arg("-u");
            if detach {
                command = command.arg("-z");
            }
            let output = command.arg("--").arg(dir).output()?;
            if output.ended == Ended::Code(0) {
                return Ok(());
            }
            let message = output.stderr.join(&b' ');
            let message = String::from_utf8_lossy(&message).into_owned();
            let kind = if message.contains("busy") { Kind::Busy } else { Kind::Failed };
            Err(to_error(kind).because(message))
        }
        Err(e) => Err(to_error(Kind::Failed).because(e)),
    }
}

/// Which of `noexec` and `nosymfollow` are set on the mount at `dir`.
///
/// # Errors
/// As [`list`].
pub fn guards(dir: &Path) -> Result<Vec<&'static str>> {
    let options = at(dir)?.map(|mount| mount.options).unwrap_or_default();
    let is_set = |name: &&str| options.split(',').any(|option| option == *name);
    Ok(["noexec", "nosymfollow"].into_iter().filter(is_set).collect())
}

/// Sets these flags on the mount at `dir`, which stays read-only, nodev and nosuid.
///
/// # Errors
/// When the kernel refuses.
pub fn remount(dir: &Path, flags: MsFlags) -> Result<()> {
    let flags = flags | MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    let again = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | flags;
    nix::mount::mount(None::<&str>, dir, None::<&str>, again, None::<&str>)
        .map_err(|e| Error::failed(format!("cannot change the mount at {}", dir.display())).because(e))
}

/// Mounts the file system of type `kind` on `device` at `dir`.
///
/// # Errors
/// The message of mount(8).
pub fn mount_device(device: &Path, kind: &str, options: &str, dir: &Path) -> Result<()> {
    let command = Command::new("mount").args(["-t", kind, "-o", options, "--"]).arg(device).arg(dir);
    let output = command.output()?;
    if output.ended == Ended::Code(0) {
        return Ok(());
    }
    let message = String::from_utf8_lossy(&output.stderr.join(&b' ')).trim().to_owned();
    Err(Error::failed(format!("cannot mount the {kind} on {} at {}", device.display(), dir.display()))
        .because(message))
}

/// The id of the archive that our mount at `dir` shows, if it shows the whole archive.
pub fn archive_at(dir: &Path) -> Option<String> {
    let mark = dir.join(MARK);
    let is_ours = std::fs::symlink_metadata(&mark).is_ok_and(|meta| meta.ino() == MARK_INO);
    std::fs::read_link(mark).ok().filter(|_| is_ours)?.into_os_string().into_string().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_with_spaces_and_raw_bytes_are_read() {
        let table = b"36 35 98:0 / /mnt/a\\040b\xff rw,noatime master:1 - ext4 /dev/root rw\n\
            40 36 0:55 / /mnt/c ro - fuse.borg-offsite-backup /srv/r::x\\134y ro,user_id=0\n";
        let mounts = parse(table);
        assert_eq!(mounts[0].options, "rw,noatime");
        assert_eq!(mounts[0].dir.as_os_str().as_encoded_bytes(), b"/mnt/a b\xff");
        assert_eq!((&*mounts[0].kind, mounts[0].user), ("ext4", None));
        assert_eq!(mounts[1].user, Some(0));
        assert_eq!(mounts[1].kind, FUSE_TYPE);
        assert_eq!(mounts[1].source, "/srv/r::x\\y");
    }
}
