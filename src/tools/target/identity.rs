//! Which file or device an open one is, so that another one under its name is noticed.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};

use crate::tools::{blockdev, loopdev};

/// What an open file or device is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    pub device: u64,
    pub inode: u64,
    /// Of a block device, the number of what it stands for.
    pub rdev: Option<u64>,
    /// The names that a file has.
    pub names: u64,
    pub size: u64,
    /// What is behind a device may be another one, with the same number.
    behind: Option<Behind>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Behind {
    /// Counts the devices that the kernel has made (Linux 5.15).
    sequence: Option<u64>,
    /// Of a loop device, its file.
    file: Option<loopdev::Backing>,
}

impl Identity {
    /// # Errors
    /// When it cannot be looked at.
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
