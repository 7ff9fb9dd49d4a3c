//! The attributes of an open file of any type.

use std::ffi::CString;
use std::io;
use std::os::fd::BorrowedFd;

use rustix::buffer::spare_capacity;
use rustix::fs::{self, AtFlags, CWD, Gid, IFlags, Mode, Stat, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

use super::directory::path_of;

const NANOS: i64 = 1_000_000_000;
/// The number of a flag in BSD, as in borg, and in Linux.
const FLAGS: [(u32, IFlags); 4] =
    [(0x01, IFlags::NODUMP), (0x02, IFlags::IMMUTABLE), (0x04, IFlags::APPEND), (0x20, IFlags::COMPRESSED)];
/// The longest list of names, and the longest value, in bytes (xattr(7)).
const LONGEST: usize = 64 << 10;

/// An open file of any type.
#[derive(Clone, Copy)]
pub enum Inode<'f> {
    /// A file or a directory.
    Open(BorrowedFd<'f>),
    /// Opened only as a path (O_PATH): also a link, or a device that must not be opened.
    Place(BorrowedFd<'f>),
}

impl<'f> Inode<'f> {
    fn fd(self) -> BorrowedFd<'f> {
        match self {
            Inode::Open(fd) | Inode::Place(fd) => fd,
        }
    }

    /// # Errors
    /// When the file system fails.
    pub fn stat(self) -> io::Result<Stat> {
        Ok(fs::fstat(self.fd())?)
    }

    /// # Errors
    /// When this user may not change the owner.
    pub fn set_owner(self, uid: u32, gid: u32) -> io::Result<()> {
        let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
        let done = match self {
            Inode::Open(fd) => fs::fchown(fd, uid, gid),
            Inode::Place(fd) => fs::chownat(fd, c"", uid, gid, AtFlags::EMPTY_PATH),
        };
        Ok(done?)
    }

    /// # Errors
    /// When the file system does not support this mode.
    pub fn set_mode(self, mode: u32) -> io::Result<()> {
        let mode = Mode::from_raw_mode(mode & 0o7777);
        let done = match self {
            Inode::Open(fd) => fs::fchmod(fd, mode),
            Inode::Place(fd) => fs::chmodat(CWD, path_of(fd), mode, AtFlags::empty()),
        };
        Ok(done?)
    }

    /// In nanoseconds since 1970.
    ///
    /// # Errors
    /// When the file system does not support these times.
    pub fn set_times(self, accessed: i64, modified: i64) -> io::Result<()> {
        let time = |ns: i64| Timespec { tv_sec: ns.div_euclid(NANOS), tv_nsec: ns.rem_euclid(NANOS) };
        let times = Timestamps { last_access: time(accessed), last_modification: time(modified) };
        let done = match self {
            Inode::Open(fd) => fs::futimens(fd, &times),
            Inode::Place(fd) => fs::utimensat(CWD, path_of(fd), &times, AtFlags::empty()),
        };
        Ok(done?)
    }

    /// The names of its extended attributes; none if the file system does not support them.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn xattr_names(self) -> io::Result<Vec<CString>> {
        let mut list = [0; 256];
        let length = match self.list_xattrs(&mut list) {
            Ok(length) => return Ok(split(&list[..length])),
            Err(Errno::OPNOTSUPP) => 0,
            Err(Errno::RANGE) => LONGEST,
            Err(e) => return Err(e.into()),
        };
        let mut list = vec![0; length];
        let length = if length == 0 { 0 } else { self.list_xattrs(&mut list)? };
        Ok(split(&list[..length]))
    }

    fn list_xattrs(self, list: &mut [u8]) -> Result<usize, Errno> {
        match self {
            Inode::Open(fd) => fs::flistxattr(fd, list),
            Inode::Place(fd) => fs::listxattr(path_of(fd), list),
        }
    }

    /// `None` if there is no attribute with this name.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn xattr(self, name: &[u8]) -> io::Result<Option<Vec<u8>>> {
        let mut value = Vec::with_capacity(LONGEST);
        let got = match self {
            Inode::Open(fd) => fs::fgetxattr(fd, name, spare_capacity(&mut value)),
            Inode::Place(fd) => fs::getxattr(path_of(fd), name, spare_capacity(&mut value)),
        };
        match got {
            Ok(_) => Ok(Some(value)),
            Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    /// # Errors
    /// When the file system does not support it, or this user may not set it.
    pub fn set_xattr(self, name: &[u8], value: &[u8]) -> io::Result<()> {
        let flags = XattrFlags::empty();
        let done = match self {
            Inode::Open(fd) => fs::fsetxattr(fd, name, value, flags),
            Inode::Place(fd) => fs::setxattr(path_of(fd), name, value, flags),
        };
        Ok(done?)
    }

    /// # Errors
    /// When this user may not remove it. A missing attribute is not an error.
    pub fn remove_xattr(self, name: &[u8]) -> io::Result<()> {
        let removed = match self {
            Inode::Open(fd) => fs::fremovexattr(fd, name),
            Inode::Place(fd) => fs::removexattr(path_of(fd), name),
        };
        match removed {
            Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(()),
            removed => Ok(removed?),
        }
    }

    /// Its flags, with BSD's numbers; none if the file system does not support them.
    pub fn flags(self) -> u32 {
        let Inode::Open(fd) = self else { return 0 };
        let flags = fs::ioctl_getflags(fd).unwrap_or(IFlags::empty());
        FLAGS.iter().filter(|(_, flag)| flags.contains(*flag)).map(|(number, _)| number).sum()
    }

    /// Sets these flags, with BSD's numbers, and clears all others that borg stores. Only files and
    /// directories have flags.
    ///
    /// # Errors
    /// When the file system does not support them, or this user may not set them.
    pub fn set_flags(self, wanted: u32) -> io::Result<()> {
        let Inode::Open(fd) = self else { return Ok(()) };
        let old = fs::ioctl_getflags(fd)?;
        let mut new = old;
        for (number, flag) in FLAGS {
            new.set(flag, wanted & number != 0);
        }
        if new != old {
            fs::ioctl_setflags(fd, new)?;
        }
        Ok(())
    }
}

fn split(list: &[u8]) -> Vec<CString> {
    let names = list.split(|byte| *byte == 0).filter(|name| !name.is_empty());
    names.filter_map(|name| CString::new(name).ok()).collect()
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::os::unix::fs::MetadataExt;

    use super::*;
    use crate::tools::directory::Directory;

    #[test]
    fn a_link_gets_its_own_attributes_and_what_it_leads_to_keeps_its() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("file"), "x").unwrap();
        std::os::unix::fs::symlink("file", dir.path().join("link")).unwrap();
        let before = std::fs::metadata(dir.path().join("file")).unwrap();
        let open = Directory::open(dir.path()).unwrap();
        let place = open.place(c"link").unwrap();
        let link = Inode::Place(place.as_fd());
        link.set_times(5, -1_500_000_000).unwrap();
        let meta = std::fs::symlink_metadata(dir.path().join("link")).unwrap();
        assert_eq!((meta.atime_nsec(), meta.mtime(), meta.mtime_nsec()), (5, -2, 500_000_000));
        let after = std::fs::metadata(dir.path().join("file")).unwrap();
        assert_eq!((after.mtime(), after.ctime_nsec()), (before.mtime(), before.ctime_nsec()));
    }

    #[test]
    fn attributes_are_set_asked_and_removed_both_ways() {
        // On older kernels, tmpfs has no extended attributes for users.
        let dir = tempfile::tempdir_in("/var/tmp").unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, "x").unwrap();
        let open = Directory::open(dir.path()).unwrap();
        let (file, place) = (open.open_file(c"file").unwrap(), open.place(c"file").unwrap());
        for inode in [Inode::Open(file.as_fd()), Inode::Place(place.as_fd())] {
            assert_eq!(inode.xattr(b"user.a").unwrap(), None);
            for name in [&b"user.a"[..], &[&b"user."[..], &[b'b'; 250]].concat()] {
                inode.set_xattr(name, b"\0\xff").unwrap();
                assert_eq!(inode.xattr(name).unwrap().as_deref(), Some(&b"\0\xff"[..]));
            }
            assert_eq!(inode.xattr_names().unwrap().len(), 2);
            for name in inode.xattr_names().unwrap() {
                inode.remove_xattr(name.as_bytes()).unwrap();
                inode.remove_xattr(name.as_bytes()).unwrap();
            }
            assert!(inode.xattr_names().unwrap().is_empty());
            inode.set_mode(0o640).unwrap();
            assert_eq!(inode.stat().unwrap().st_mode & 0o7777, 0o640);
        }
    }
}
