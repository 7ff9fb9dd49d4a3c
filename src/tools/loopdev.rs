//! Loop devices, which show a file as a disk. Uses the kernel's own calls (Linux 5.8 or newer).

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;

use super::holders;
pub use super::loop_info::{Backing, OUR_MARKS, backing, mark, marked, over};
use super::loop_info::{Info, NAME_LEN, info};
use crate::error::{Error, Kind, Result};

const CONTROL: &str = "/dev/loop-control";
/// How often another process may take the device that the kernel offered.
const RACES: usize = 50;
/// In KiB. `dd` and file systems read sequentially; 128 would be a third slower.
const READ_AHEAD: &str = "1024";
/// udev looks into each new device, and keeps it open meanwhile.
const PATIENCE: Duration = Duration::from_secs(3);
const LOOK: Duration = Duration::from_millis(20);

/// linux/loop.h: the bits of `lo_flags`.
const READ_ONLY: u32 = 1;
const PARTSCAN: u32 = 8;
const DIRECT_IO: u32 = 16;

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

/// How to make a device of a file.
#[derive(Debug, Clone, Copy, Default)]
pub struct Setup<'a> {
    /// The mark in the kernel's record of the device, which identifies it as ours whatever happens
    /// to us. At most 63 bytes.
    pub mark: &'a str,
    pub writable: bool,
    /// In bytes; `None`: 512.
    pub sector_size: Option<u32>,
    /// The kernel looks for partitions, and makes a device of each.
    pub partscan: bool,
}

/// Makes a loop device over `file` with direct I/O, so that data are cached only for the device,
/// and not again for the file.
///
/// # Errors
/// When the kernel has no loop devices, or refuses the sector size.
pub fn attach(file: &File, setup: Setup) -> Result<PathBuf> {
    let to_error = |e: io::Error| {
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
    let control = File::options().read(true).write(true).open(CONTROL).map_err(to_error)?;
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
        let number = unsafe { get_free(control.as_raw_fd()) }.map_err(|e| to_error(e.into()))?;
        let path = PathBuf::from(format!("/dev/loop{number}"));
        let device = File::options().read(true).write(setup.writable).open(&path).map_err(to_error)?;
        // SAFETY: `config` is what the call expects, and lives until it returns.
        match unsafe { configure(device.as_raw_fd(), &config) } {
            Ok(_) => {
                // Without direct I/O it is only slower.
                let _ = std::fs::write(format!("/sys/block/loop{number}/queue/read_ahead_kb"), READ_AHEAD);
                return Ok(path);
            }
            Err(Errno::EBUSY) => {}
            Err(e) => return Err(to_error(e.into())),
        }
    }
    Err(to_error(Errno::EBUSY.into()))
}

/// Limits the device to `size` bytes of its file, from `offset` on.
///
/// # Errors
/// When the kernel refuses, as while the device is in use.
pub fn limit(device: &Path, offset: u64, size: u64) -> Result<()> {
    let to_error =
        |e: io::Error| Error::failed(format!("cannot set the limits of {}", device.display())).because(e);
    let file = File::open(device).map_err(to_error)?;
    let mut info = info(&file).map_err(to_error)?;
    (info.offset, info.size_limit) = (offset, size);
    let deadline = Instant::now() + PATIENCE;
    loop {
        // SAFETY: `info` is what the call expects.
        match unsafe { set_status(file.as_raw_fd(), &info) } {
            Ok(_) => return Ok(()),
            // Somebody is reading it.
            Err(Errno::EAGAIN | Errno::EBUSY) if Instant::now() < deadline => std::thread::sleep(LOOK),
            Err(e) => return Err(to_error(e.into())),
        }
    }
}

/// Removes the file from the device.
///
/// # Errors
/// [`Kind::Busy`], with the holders, when the device is in use; then nothing changes.
pub fn detach(device: &Path) -> Result<()> {
    let to_error =
        |kind, e: io::Error| Error::new(kind, format!("cannot detach {}", device.display())).because(e);
    let deadline = Instant::now() + PATIENCE;
    loop {
        let opened = File::options().read(true).custom_flags(libc::O_EXCL | libc::O_CLOEXEC).open(device);
        let holders = holders::of_device(device);
        match opened {
            Ok(file) if holders.is_empty() => {
                // SAFETY: the call takes no argument and `file` is open.
                match unsafe { clear(file.as_raw_fd()) } {
                    Ok(_) | Err(Errno::ENXIO) => break,
                    Err(e) => return Err(to_error(Kind::Failed, e.into())),
                }
            }
            Err(e) if e.raw_os_error() != Some(libc::EBUSY) => return Err(to_error(Kind::Failed, e)),
            _ if Instant::now() < deadline => std::thread::sleep(LOOK),
            _ => {
                let error = to_error(Kind::Busy, Errno::EBUSY.into());
                return Err(holders.into_iter().fold(error, |e, user| e.hint(format!("held by: {user}"))));
            }
        }
    }
    // The kernel releases the file when the last reader of the device has closed it.
    let deadline = Instant::now() + PATIENCE;
    while mark(device).is_some() {
        if Instant::now() > deadline {
            let error =
                to_error(Kind::Busy, Errno::EBUSY.into()).hint("it disappears when its last user closes it");
            return Err(holders::of_device(device)
                .into_iter()
                .fold(error, |e, user| e.hint(format!("held by: {user}"))));
        }
        std::thread::sleep(LOOK);
    }
    Ok(())
}
