//! The kernel's information about its loop devices.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::file_id::FileId;

/// The prefix of the marks on our loop devices.
pub const OUR_MARKS: &str = "borg-offsite-backup:";
pub const NAME_LEN: usize = 64;

/// `struct loop_info64` of linux/loop.h.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Info {
    device: u64,
    inode: u64,
    rdevice: u64,
    pub offset: u64,
    pub size_limit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    pub flags: u32,
    pub file_name: [u8; NAME_LEN],
    crypt_name: [u8; NAME_LEN],
    encrypt_key: [u8; 32],
    init: [u64; 2],
}

nix::ioctl_read_bad!(get_status, 0x4c05, Info);

impl Info {
    pub fn zeroed() -> Info {
        Info {
            device: 0,
            inode: 0,
            rdevice: 0,
            offset: 0,
            size_limit: 0,
            number: 0,
            encrypt_type: 0,
            encrypt_key_size: 0,
            flags: 0,
            file_name: [0; NAME_LEN],
            crypt_name: [0; NAME_LEN],
            encrypt_key: [0; 32],
            init: [0; 2],
        }
    }
}

/// The mark of the device ([`super::loopdev`]), or something else in its place; `None` if it has no
/// file.
pub fn mark(device: &Path) -> Option<String> {
    let info = info(&File::open(device).ok()?).ok()?;
    let name = info.file_name.split(|b| *b == 0).next().unwrap_or_default();
    Some(String::from_utf8_lossy(name).into_owned())
}

pub fn info(device: &File) -> io::Result<Info> {
    let mut info = Info::zeroed();
    // SAFETY: the kernel fills `info`, which has the layout that it expects.
    unsafe { get_status(device.as_raw_fd(), &mut info) }?;
    Ok(info)
}

/// The file of a loop device, and the part of it that is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backing {
    /// The device of the file system with the file.
    pub device: u64,
    pub inode: u64,
    /// The number of the block device, if the file is one.
    pub rdevice: u64,
    offset: u64,
    size_limit: u64,
}

/// `None` if it is not a loop device, or has no file.
pub fn backing(device: &File) -> Option<Backing> {
    let Info { device, inode, rdevice, offset, size_limit, .. } = info(device).ok()?;
    Some(Backing { device, inode, rdevice, offset, size_limit })
}

/// All loop devices whose file is `node`.
pub fn over(node: &FileId) -> Vec<PathBuf> {
    bound().into_iter().filter(|device| is_over(device, node)).collect()
}

fn is_over(device: &Path, node: &FileId) -> bool {
    let opened = match File::open(device) {
        Ok(file) => backing(&file),
        // Devices of another account can be opened only by root, but everybody can read the names
        // of their files.
        Err(_) => return named_by(&in_sys(device)).as_ref() == Some(node),
    };
    opened.is_some_and(|backing| match *node {
        FileId::Device(rdevice) => backing.rdevice == rdevice,
        FileId::File(device, inode) => (backing.device, backing.inode) == (device, inode),
    })
}

/// The identity of the file with the name that the kernel has for the device with this directory in
/// /sys.
fn named_by(sys: &Path) -> Option<FileId> {
    let name = std::fs::read(sys.join("loop/backing_file")).ok()?;
    let name = name.strip_suffix(b"\n").unwrap_or(&name);
    FileId::at(Path::new(OsStr::from_bytes(name)))
}

pub fn in_sys(device: &Path) -> PathBuf {
    Path::new("/sys/block").join(device.file_name().unwrap_or_default())
}

/// All loop devices with a file.
fn bound() -> Vec<PathBuf> {
    let entries = std::fs::read_dir("/sys/block").into_iter().flatten().flatten();
    let bound = entries.filter(|entry| entry.path().join("loop").exists());
    bound.map(|entry| Path::new("/dev").join(entry.file_name())).collect()
}

/// All loop devices with a mark that begins with `prefix`.
pub fn marked(prefix: &str) -> Vec<(PathBuf, String)> {
    let marks = bound().into_iter().filter_map(|device| mark(&device).map(|mark| (device, mark)));
    marks.filter(|(_, mark)| mark.starts_with(prefix)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_that_may_not_be_opened_is_known_by_the_name_of_its_file() {
        let sys = tempfile::tempdir().unwrap();
        let disk = sys.path().join("a disk\n.img");
        std::fs::write(&disk, b"").unwrap();
        std::fs::create_dir(sys.path().join("loop")).unwrap();
        assert_eq!(named_by(sys.path()), None);
        let line = [disk.as_os_str().as_bytes(), b"\n"].concat();
        std::fs::write(sys.path().join("loop/backing_file"), line).unwrap();
        assert_eq!(named_by(sys.path()), FileId::at(&disk));
        assert!(named_by(sys.path()).is_some());
    }
}
