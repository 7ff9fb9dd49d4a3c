//! Identifies a file or a block device, whatever its path.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The identity of a file or a block device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileId {
    /// The number of a block device.
    Device(u64),
    /// The device number of the file system, and the inode.
    File(u64, u64),
}

impl FileId {
    /// The identity of `path`, as far as this machine knows it. No server is asked, because it
    /// might not answer.
    pub fn at(path: &Path) -> Option<FileId> {
        let path = CString::new(path.as_os_str().as_bytes()).ok()?;
        // SAFETY: all zeros is a statx, and the kernel fills it; the path ends with a NUL.
        let (done, stat) = unsafe {
            let mut stat: libc::statx = std::mem::zeroed();
            let mask = libc::STATX_TYPE | libc::STATX_INO;
            (libc::statx(libc::AT_FDCWD, path.as_ptr(), libc::AT_STATX_DONT_SYNC, mask, &mut stat), stat)
        };
        if done != 0 {
            return None;
        }
        Some(match u32::from(stat.stx_mode) & libc::S_IFMT == libc::S_IFBLK {
            true => FileId::Device(libc::makedev(stat.stx_rdev_major, stat.stx_rdev_minor)),
            false => FileId::File(libc::makedev(stat.stx_dev_major, stat.stx_dev_minor), stat.stx_ino),
        })
    }
}
