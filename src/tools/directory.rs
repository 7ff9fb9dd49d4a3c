//! Operations on names in an open directory. Links are not followed, and no path is resolved twice.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{
    self, AtFlags, CWD, Dir, FileType, FlockOperation, Mode, OFlags, RenameFlags, ResolveFlags, Stat,
};
use rustix::io::Errno;

const DIRECTORY: OFlags = OFlags::DIRECTORY.union(OFlags::CLOEXEC);
/// Opening a FIFO or a terminal must not block.
const FILE: OFlags = OFlags::NOFOLLOW.union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);
const BENEATH: ResolveFlags =
    ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_MAGICLINKS);
/// How often the kernel is asked again after it could not be sure because something was renamed.
const TRIES: usize = 16;

/// An open directory.
pub struct Directory {
    fd: OwnedFd,
    /// The original mode of a directory that kept its own owner out. Dropping this restores it.
    closed: Option<Mode>,
}

impl Directory {
    /// Opens the directory `path`, which is resolved as usual.
    ///
    /// # Errors
    /// When it cannot be opened, or is not a directory.
    pub fn open(path: &Path) -> io::Result<Self> {
        let fd = fs::open(path, OFlags::RDONLY | DIRECTORY, Mode::empty())?;
        Ok(Directory { fd, closed: None })
    }

    /// Opens the directory `name` in this one. If its mode keeps us out although we own it, the
    /// mode is changed until this is dropped.
    ///
    /// # Errors
    /// When it does not exist, or is a link.
    pub fn child(&self, name: &CStr) -> io::Result<Self> {
        match self.beneath(name, OFlags::RDONLY | DIRECTORY) {
            Err(Errno::ACCESS) => self.open_up(name),
            opened => Ok(Directory { fd: opened?, closed: None }),
        }
    }

    /// As [`Directory::child`], for a directory in which names will be made.
    ///
    /// # Errors
    /// As [`Directory::child`].
    pub fn child_to_change(&self, name: &CStr) -> io::Result<Self> {
        let child = self.child(name)?;
        let is_open = |mode: u32| mode & 0o700 == 0o700;
        if child.closed.is_some()
            || rustix::process::geteuid().is_root()
            || is_open(fs::fstat(&child)?.st_mode)
        {
            return Ok(child);
        }
        match self.open_up(name) {
            // It belongs to somebody else: its group or everybody may be allowed to write to it.
            Err(e) if e.raw_os_error() == Some(Errno::ACCESS.raw_os_error()) => Ok(child),
            opened => opened,
        }
    }

    /// Keeps the present mode: the original one is not restored.
    pub fn keep_mode(&mut self) {
        self.closed = None;
    }

    fn open_up(&self, name: &CStr) -> io::Result<Self> {
        let place = self.beneath(name, OFlags::PATH | DIRECTORY)?;
        let stat = fs::fstat(&place)?;
        if stat.st_uid != rustix::process::geteuid().as_raw() {
            return Err(Errno::ACCESS.into());
        }
        let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
        fs::chmodat(CWD, path_of(place.as_fd()), mode | Mode::RWXU, AtFlags::empty())?;
        let fd = fs::openat(&place, c".", OFlags::RDONLY | DIRECTORY, Mode::empty())?;
        Ok(Directory { fd, closed: Some(mode) })
    }

    /// Opens the directory at `path` below this one, name by name; this one for the empty path.
    ///
    /// # Errors
    /// As [`Directory::child`].
    pub fn below<'n>(&self, path: impl Iterator<Item = &'n [u8]>) -> io::Result<Self> {
        let mut directory = Directory { fd: self.fd.try_clone()?, closed: None };
        for name in path {
            directory = directory.child_to_change(&c_name(name)?)?;
        }
        Ok(directory)
    }

    fn beneath(&self, name: &CStr, flags: OFlags) -> Result<OwnedFd, Errno> {
        for _ in 0..TRIES {
            match fs::openat2(&self.fd, name, flags, Mode::empty(), BENEATH) {
                Err(Errno::AGAIN) => {}
                // For an older kernel, or a filter that does not know this system call. A single
                // name that is not a link cannot lead elsewhere.
                Err(Errno::NOSYS | Errno::PERM) => {
                    return fs::openat(&self.fd, name, flags | OFlags::NOFOLLOW, Mode::empty());
                }
                opened => return opened,
            }
        }
        Err(Errno::AGAIN)
    }

    /// The metadata of `name`; `None` if it does not exist.
    ///
    /// # Errors
    /// When the directory cannot be searched.
    pub fn stat(&self, name: &CStr) -> io::Result<Option<Stat>> {
        match fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => Ok(None),
            stat => Ok(Some(stat?)),
        }
    }

    /// The names in the directory.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn names(&self) -> io::Result<Vec<CString>> {
        let entries = Dir::read_from(&self.fd)?;
        let names = entries.map(|entry| Ok(entry?.file_name().to_owned()));
        let names: Vec<CString> = names.collect::<io::Result<_>>()?;
        Ok(names.into_iter().filter(|name| !matches!(name.to_bytes(), b"." | b"..")).collect())
    }

    /// Opens the file `name` for reading, even if its mode keeps its owner out.
    ///
    /// # Errors
    /// When it does not exist, or is a link.
    pub fn open_file(&self, name: &CStr) -> io::Result<File> {
        match self.beneath(name, OFlags::RDONLY | FILE) {
            Err(Errno::ACCESS) => self.open_with(name, OFlags::RDONLY, Mode::RUSR),
            opened => Ok(opened?.into()),
        }
    }

    /// Opens the file `name` for reading and writing.
    ///
    /// # Errors
    /// As [`Directory::open_file`].
    pub fn open_to_write(&self, name: &CStr) -> io::Result<File> {
        match self.beneath(name, OFlags::RDWR | FILE) {
            Err(Errno::ACCESS) => self.open_with(name, OFlags::RDWR, Mode::RUSR | Mode::WUSR),
            opened => Ok(opened?.into()),
        }
    }

    /// Opens a file of ours whose mode keeps us out. The descriptor stays valid after the mode is
    /// restored.
    fn open_with(&self, name: &CStr, flags: OFlags, needed: Mode) -> io::Result<File> {
        let place = self.place(name)?;
        let stat = fs::fstat(&place)?;
        let is_ours = stat.st_uid == rustix::process::geteuid().as_raw();
        if !is_ours || FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(Errno::ACCESS.into());
        }
        let (path, mode) = (path_of(place.as_fd()), Mode::from_raw_mode(stat.st_mode & 0o7777));
        fs::chmodat(CWD, &*path, mode | needed, AtFlags::empty())?;
        let opened = fs::open(&*path, flags | OFlags::CLOEXEC | OFlags::NONBLOCK, Mode::empty());
        fs::chmodat(CWD, &*path, mode, AtFlags::empty())?;
        Ok(opened?.into())
    }

    /// Opens `name` only as a path: its metadata can be read and changed, but not its contents.
    ///
    /// # Errors
    /// When it does not exist.
    pub fn place(&self, name: &CStr) -> io::Result<OwnedFd> {
        Ok(self.beneath(name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC)?)
    }

    /// Whether `name` itself, and not what it may lead to, has extended attributes or ACLs.
    ///
    /// # Errors
    /// When it does not exist.
    pub fn has_xattrs(&self, name: &CStr) -> io::Result<bool> {
        let path = [path_of(self.fd.as_fd()).as_bytes(), b"/", name.to_bytes()].concat();
        match fs::llistxattr(&*path, &mut [0u8; 256][..]) {
            Ok(length) => Ok(length > 0),
            Err(Errno::RANGE) => Ok(true),
            Err(Errno::OPNOTSUPP) => Ok(false),
            Err(e) => Err(e.into()),
        }
    }

    /// Makes the file `name`, which must not exist.
    ///
    /// # Errors
    /// When the name exists.
    pub fn create_file(&self, name: &CStr, mode: Mode) -> io::Result<File> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(fs::openat(&self.fd, name, flags, mode)?.into())
    }

    /// Makes the directory `name` for its owner only.
    ///
    /// # Errors
    /// When the name exists.
    pub fn make_directory(&self, name: &CStr) -> io::Result<()> {
        Ok(fs::mkdirat(&self.fd, name, Mode::RWXU)?)
    }

    /// # Errors
    /// When the name exists.
    pub fn make_symlink(&self, name: &CStr, target: &CStr) -> io::Result<()> {
        Ok(fs::symlinkat(target, &self.fd, name)?)
    }

    /// Makes a device, a FIFO or a socket for its owner only.
    ///
    /// # Errors
    /// When the name exists, or this user may not make one.
    pub fn make_node(&self, name: &CStr, kind: FileType, device: u64) -> io::Result<()> {
        Ok(fs::mknodat(&self.fd, name, kind, Mode::RUSR | Mode::WUSR, device)?)
    }

    /// Makes `to_name` in `to` a hard link to `name` in this one.
    ///
    /// # Errors
    /// When the name exists.
    pub fn link(&self, name: &CStr, to: &Directory, to_name: &CStr) -> io::Result<()> {
        Ok(fs::linkat(&self.fd, name, &to.fd, to_name, AtFlags::empty())?)
    }

    /// Renames `from` to `to`, which is replaced.
    ///
    /// # Errors
    /// When `to` is a directory.
    pub fn rename(&self, from: &CStr, to: &CStr) -> io::Result<()> {
        Ok(fs::renameat(&self.fd, from, &self.fd, to)?)
    }

    /// Renames `from` to `to`, which must not exist.
    ///
    /// # Errors
    /// When the name exists.
    pub fn rename_new(&self, from: &CStr, to: &CStr) -> io::Result<()> {
        Ok(fs::renameat_with(&self.fd, from, &self.fd, to, RenameFlags::NOREPLACE)?)
    }

    /// # Errors
    /// When `name` is a directory.
    pub fn remove(&self, name: &CStr) -> io::Result<()> {
        Ok(fs::unlinkat(&self.fd, name, AtFlags::empty())?)
    }

    /// # Errors
    /// When `name` is not a directory, or not empty.
    pub fn remove_directory(&self, name: &CStr) -> io::Result<()> {
        Ok(fs::unlinkat(&self.fd, name, AtFlags::REMOVEDIR)?)
    }

    /// The target of the link `name`.
    ///
    /// # Errors
    /// When it is not a link.
    pub fn read_link(&self, name: &CStr) -> io::Result<CString> {
        Ok(fs::readlinkat(&self.fd, name, Vec::new())?)
    }
}

impl AsFd for Directory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if let Some(mode) = self.closed {
            let _ = fs::fchmod(&self.fd, mode);
        }
    }
}

/// A name for system calls.
///
/// # Errors
/// When it contains a NUL or a `/`, or means another directory.
pub fn c_name(name: &[u8]) -> io::Result<CString> {
    if matches!(name, b"" | b"." | b"..") || name.contains(&b'/') {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    CString::new(name).map_err(io::Error::from)
}

/// Whether this process now holds the exclusive lock of `file`.
pub fn is_locked_by_us(file: &File) -> bool {
    fs::flock(file, FlockOperation::NonBlockingLockExclusive).is_ok()
}

/// A path to an open file.
pub fn path_of(fd: BorrowedFd<'_>) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_never_followed() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::create_dir(at("real")).unwrap();
        std::fs::write(at("real/file"), "x").unwrap();
        std::os::unix::fs::symlink("real", at("link")).unwrap();
        std::os::unix::fs::symlink("real/file", at("file")).unwrap();
        let open = Directory::open(dir.path()).unwrap();
        assert!(open.child(c"real").is_ok() && open.child(c"link").is_err());
        assert!(open.open_file(c"file").is_err() && open.open_to_write(c"file").is_err());
        assert!(open.below([&b"real"[..]].into_iter()).unwrap().open_file(c"file").is_ok());
        assert!(open.below([&b"link"[..]].into_iter()).is_err());
        assert_eq!(open.read_link(c"link").unwrap().as_bytes(), b"real");
        let place = open.place(c"link").unwrap();
        assert_eq!(FileType::from_raw_mode(fs::fstat(place).unwrap().st_mode), FileType::Symlink);
    }

    #[test]
    fn a_name_has_its_own_attributes_and_not_those_of_what_it_leads_to() {
        // On older kernels, tmpfs has no extended attributes for users.
        let dir = tempfile::tempdir_in("/var/tmp").unwrap();
        std::fs::write(dir.path().join("file"), "x").unwrap();
        std::os::unix::fs::symlink("file", dir.path().join("link")).unwrap();
        let open = Directory::open(dir.path()).unwrap();
        assert!(!open.has_xattrs(c"file").unwrap());
        let file = open.open_file(c"file").unwrap();
        fs::fsetxattr(&file, c"user.a", b"", fs::XattrFlags::empty()).unwrap();
        assert!(open.has_xattrs(c"file").unwrap() && !open.has_xattrs(c"link").unwrap());
        assert!(open.has_xattrs(c"none").is_err());
    }

    #[test]
    fn names_that_lead_elsewhere_are_none() {
        for name in [&b""[..], b".", b"..", b"a/b", b"a\0b"] {
            assert!(c_name(name).is_err(), "{}", name.escape_ascii());
        }
        assert_eq!(c_name(b"...").unwrap().as_bytes(), b"...");
    }

    #[test]
    fn nothing_that_is_there_is_replaced_unless_that_was_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let open = Directory::open(dir.path()).unwrap();
        open.create_file(c"a", Mode::RUSR).unwrap();
        open.make_directory(c"d").unwrap();
        assert!(open.create_file(c"a", Mode::RUSR).is_err());
        assert!(open.make_symlink(c"a", c"x").is_err() && open.make_directory(c"a").is_err());
        open.create_file(c"b", Mode::RUSR).unwrap();
        assert!(open.link(c"b", &open, c"a").is_err());
        assert!(open.rename(c"b", c"d").is_err());
        open.rename(c"b", c"a").unwrap();
        assert!(open.stat(c"b").unwrap().is_none());
        let mut names = open.names().unwrap();
        names.sort();
        assert_eq!(names, [c"a".to_owned(), c"d".to_owned()]);
    }
}
