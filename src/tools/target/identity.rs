//! The identity of an open file or device, to detect that another one has taken its name.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};

use crate::tools::{blockdev, loopdev};

/// The identity of an open file or device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    pub device: u64,
    pub inode: u64,
    /// The device number, if it is a block device.
    pub rdev: Option<u64>,
    /// The number of names that a file has.
    pub names: u64,
    pub size: u64,
    /// Distinguishes devices that have the same number at different times.
    behind: Option<Behind>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Behind {
    /// The kernel's count of devices (Linux 5.15).
    sequence: Option<u64>,
    /// The file of a loop device.
    file: Option<loopdev::Backing>,
}

impl Identity {
    /// # Errors
    /// When its metadata cannot be read.
    pub fn of(file: &File) -> io::Result<Self> {
        let meta = file.metadata()?;
        let is_device = meta.file_type().is_block_device();
        let behind =
            is_device.then(|| Behind { sequence: blockdev::sequence(file), file: loopdev::backing(file) });
        let size = if is_device { blockdev::size(file)? } else { meta.len() };
        let rdev = is_device.then(|| meta.rdev());
        Ok(Identity { device: meta.dev(), inode: meta.ino(), rdev, names: meta.nlink(), size, behind })
    }
}
