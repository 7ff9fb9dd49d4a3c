//! Loop devices: a file as a disk, by the kernel's own calls (Linux 5.8 or newer).

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;

use super::mounts::{self, Node};
use crate::error::{Error, Kind, Result};

const CONTROL: &str = "/dev/loop-control";
/// How often another process may be quicker than we with the device that the kernel named.
const RACES: usize = 50;
/// In KiB. `dd` and file systems read in order; 128 would be a third slower.
const READ_AHEAD: &str = "1024";
/// udev looks into each new device, and has it open meanwhile.
const PATIENCE: Duration = Duration::from_secs(3);
const LOOK: Duration = Duration::from_millis(20);
const NAME_LEN: usize = 64;

/// linux/loop.h: the bits of `lo_flags`.
const READ_ONLY: u32 = 1;
const PARTSCAN: u32 = 8;
const DIRECT_IO: u32 = 16;

/// `struct loop_info64` of linux/loop.h.
#[repr(C)]
#[derive(Clone, Copy)]
struct Info {
    device: u64,
    inode: u64,
    rdevice: u64,
    offset: u64,
    size_limit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    flags: u32,
    file_name: [u8; NAME_LEN],
    crypt_name: [u8; NAME_LEN],
    encrypt_key: [u8; 32],
    init: [u64; 2],
}

/// `struct loop_config` of linux/loop.h.
#[repr(C)]
struct Config {
    fd: u32,
    block_size: u32,
    info: Info,
    reserved: [u64; 8],
}

nix::ioctl_none_bad!(get_free, 0x4c82);
nix::ioctl_none_bad!(clear, 0x4c01);
nix::ioctl_write_ptr_bad!(configure, 0x4c0a, Config);
nix::ioctl_write_ptr_bad!(set_status, 0x4c04, Info);
nix::ioctl_read_bad!(get_status, 0x4c05, Info);

impl Info {
    fn zeroed() -> Info {
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

/// How a file becomes a device.
#[derive(Debug, Clone, Copy, Default)]
pub struct Setup<'a> {
    /// Stands in the kernel's own record of the device, so that it is known for ours whatever
    /// happens to us. At most 63 bytes.
    pub mark: &'a str,
    pub writable: bool,
    /// In bytes; 512 unless it is said.
    pub sector_size: Option<u32>,
    /// The kernel looks for partitions and makes a device of each.
    pub partscan: bool,
}

/// Makes a loop device over `file`, with direct I/O: what it reads is kept once, by the device, and
/// not by the file below it as well.
///
/// # Errors
/// When the kernel has no loop devices, or refuses the sector size.
pub fn attach(file: &File, setup: Setup) -> Result<PathBuf> {
    let cannot = |e: io::Error| {
        let error = Error::failed("cannot make a loop device");
        let error = match e.kind() {
            io::ErrorKind::NotFound => error.hint("load the module with `modprobe loop`"),
            io::ErrorKind::InvalidInput if setup.sector_size.is_some() => {
                error.hint("a sector has 512, 1024, 2048 or 4096 bytes")
            }
            _ => error,
        };
        error.because(e)
    };
    let control = File::options().read(true).write(true).open(CONTROL).map_err(cannot)?;
    let mut config = Config {
        fd: file.as_raw_fd() as u32,
        block_size: setup.sector_size.unwrap_or(0),
        info: Info::zeroed(),
        reserved: [0; 8],
    };
    config.info.flags =
        DIRECT_IO | if setup.writable { 0 } else { READ_ONLY } | if setup.partscan { PARTSCAN } else { 0 };
    let mark = setup.mark.as_bytes().iter().take(NAME_LEN - 1);
    config.info.file_name.iter_mut().zip(mark).for_each(|(to, from)| *to = *from);
    for _ in 0..RACES {
        // SAFETY: the call takes no argument and `control` is open.
        let number = unsafe { get_free(control.as_raw_fd()) }.map_err(|e| cannot(e.into()))?;
        let path = PathBuf::from(format!("/dev/loop{number}"));
        let device = File::options().read(true).write(setup.writable).open(&path).map_err(cannot)?;
        // SAFETY: `config` is what the call expects, and lives until it returns.
        match unsafe { configure(device.as_raw_fd(), &config) } {
            Ok(_) => {
                // It is only slower without.
                let _ = std::fs::write(format!("/sys/block/loop{number}/queue/read_ahead_kb"), READ_AHEAD);
                return Ok(path);
            }
            Err(Errno::EBUSY) => {}
            Err(e) => return Err(cannot(e.into())),
        }
    }
    Err(cannot(Errno::EBUSY.into()))
}

/// The mark of the device ([`Setup::mark`]), or whatever else stands in its place; `None` when it
/// has no file.
pub fn mark(device: &Path) -> Option<String> {
    let info = info(&File::open(device).ok()?).ok()?;
    let name = info.file_name.split(|b| *b == 0).next().unwrap_or_default();
    Some(String::from_utf8_lossy(name).into_owned())
}

fn info(device: &File) -> io::Result<Info> {
    let mut info = Info::zeroed();
    // SAFETY: the kernel fills `info`, which has the layout that it expects.
    unsafe { get_status(device.as_raw_fd(), &mut info) }?;
    Ok(info)
}

/// The file behind a loop device, and which part of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backing {
    /// Of the file system that the file is in.
    pub device: u64,
    pub inode: u64,
    /// Where the file is a block device, its number.
    pub rdevice: u64,
    offset: u64,
    size_limit: u64,
}

/// `None` when it is no loop device, or has no file.
pub fn backing(device: &File) -> Option<Backing> {
    let Info { device, inode, rdevice, offset, size_limit, .. } = info(device).ok()?;
    Some(Backing { device, inode, rdevice, offset, size_limit })
}

/// All loop devices whose file is `node`.
pub fn over(node: &Node) -> Vec<PathBuf> {
    bound().into_iter().filter(|device| is_over(device, node)).collect()
}

fn is_over(device: &Path, node: &Node) -> bool {
    let opened = match File::open(device) {
        Ok(file) => backing(&file),
        // Another account's: root alone may open it, but its file's name is everybody's to read.
        Err(_) => return named_by(&in_sys(device)).as_ref() == Some(node),
    };
    opened.is_some_and(|backing| match *node {
        Node::Device(rdevice) => backing.rdevice == rdevice,
        Node::File(device, inode) => (backing.device, backing.inode) == (device, inode),
    })
}

/// What is where the kernel says that the file of the device with this folder in /sys is.
fn named_by(sys: &Path) -> Option<Node> {
    let name = std::fs::read(sys.join("loop/backing_file")).ok()?;
    let name = name.strip_suffix(b"\n").unwrap_or(&name);
    Node::at(Path::new(OsStr::from_bytes(name)))
}

fn in_sys(device: &Path) -> PathBuf {
    Path::new("/sys/block").join(device.file_name().unwrap_or_default())
}

/// All loop devices that have a file.
fn bound() -> Vec<PathBuf> {
    let entries = std::fs::read_dir("/sys/block").into_iter().flatten().flatten();
    let bound = entries.filter(|entry| entry.path().join("loop").exists());
    bound.map(|entry| Path::new("/dev").join(entry.file_name())).collect()
}

/// All loop devices whose mark begins with `prefix`.
pub fn marked(prefix: &str) -> Vec<(PathBuf, String)> {
    let marks = bound().into_iter().filter_map(|device| mark(&device).map(|mark| (device, mark)));
    marks.filter(|(_, mark)| mark.starts_with(prefix)).collect()
}

/// From here on the device shows only `size` bytes of its file, from `offset` on.
///
/// # Errors
/// When the kernel refuses, as it does while the device is in use.
pub fn limit(device: &Path, offset: u64, size: u64) -> Result<()> {
    let cannot =
        |e: io::Error| Error::failed(format!("cannot set the limits of {}", device.display())).because(e);
    let file = File::open(device).map_err(cannot)?;
    let mut info = info(&file).map_err(cannot)?;
    (info.offset, info.size_limit) = (offset, size);
    let deadline = Instant::now() + PATIENCE;
    loop {
        // SAFETY: `info` is what the call expects.
        match unsafe { set_status(file.as_raw_fd(), &info) } {
            Ok(_) => return Ok(()),
            // Somebody reads it just now.
            Err(Errno::EAGAIN | Errno::EBUSY) if Instant::now() < deadline => std::thread::sleep(LOOK),
            Err(e) => return Err(cannot(e.into())),
        }
    }
}

/// Takes the file from the device.
///
/// # Errors
/// [`Kind::Busy`], with who holds it, when the device is in use; then it stays as it is.
pub fn detach(device: &Path) -> Result<()> {
    let cannot =
        |kind, e: io::Error| Error::new(kind, format!("cannot detach {}", device.display())).because(e);
    let deadline = Instant::now() + PATIENCE;
    loop {
        let opened = File::options().read(true).custom_flags(libc::O_EXCL | libc::O_CLOEXEC).open(device);
        let holders = users(device);
        match opened {
            Ok(file) if holders.is_empty() => {
                // SAFETY: the call takes no argument and `file` is open.
                match unsafe { clear(file.as_raw_fd()) } {
                    Ok(_) | Err(Errno::ENXIO) => break,
                    Err(e) => return Err(cannot(Kind::Failed, e.into())),
                }
            }
            Err(e) if e.raw_os_error() != Some(libc::EBUSY) => return Err(cannot(Kind::Failed, e)),
            _ if Instant::now() < deadline => std::thread::sleep(LOOK),
            _ => {
                let error = cannot(Kind::Busy, Errno::EBUSY.into());
                return Err(holders.into_iter().fold(error, |e, user| e.hint(format!("held by: {user}"))));
            }
        }
    }
    // The kernel lets go of the file when the last one who looked at the device has closed it.
    let deadline = Instant::now() + PATIENCE;
    while mark(device).is_some() {
        if Instant::now() > deadline {
            let error =
                cannot(Kind::Busy, Errno::EBUSY.into()).hint("it goes when it is closed by the last user");
            return Err(users(device).into_iter().fold(error, |e, user| e.hint(format!("held by: {user}"))));
        }
        std::thread::sleep(LOOK);
    }
    Ok(())
}

/// Who uses the device, as far as this user may see: mounts, processes, and devices on top of it.
pub fn users(device: &Path) -> Vec<String> {
    let name = device.file_name().unwrap_or_default();
    // With its partitions: loop7p1.
    let part = [name.as_bytes(), b"p"].concat();
    let is_part = |file: &Path| {
        let name = file.file_name().unwrap_or_default().as_bytes();
        let number = name.strip_prefix(&part[..]);
        file.parent() == device.parent()
            && number.is_some_and(|n| !n.is_empty() && n.iter().all(u8::is_ascii_digit))
    };
    let is_it = |file: &Path| file == device || is_part(file);
    let mounted = mounts::list().unwrap_or_default().into_iter().filter(|m| is_it(Path::new(&m.source)));
    let mounted =
        mounted.map(|m| format!("the mount at {0}; `umount {0}` ends it", m.dir.display())).collect();
    let processes = mounts::processes(is_it);
    let above = in_sys(device);
    let parts = std::fs::read_dir(&above).into_iter().flatten().flatten().map(|entry| entry.path());
    let holders = parts.chain([above]).flat_map(|dir| std::fs::read_dir(dir.join("holders")));
    let holders = holders.flatten().flatten().map(|e| format!("/dev/{}", e.file_name().display()));
    let mut all: Vec<String> = mounted;
    all.extend(processes);
    all.extend(holders);
    all
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
        assert_eq!(named_by(sys.path()), Node::at(&disk));
        assert!(named_by(sys.path()).is_some());
    }
}
