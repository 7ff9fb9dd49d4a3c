//! An open target: reading, writing, zeroing, and reading from the disk itself.

use std::ffi::c_int;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::buffer::{Buffer, PAGE};
use super::runs::BLOCK;
use crate::error::{Error, Result};
use crate::tools::blockdev;

/// After this many bytes we wait for the disk, so that its errors come early.
const SYNC: u64 = 256 << 20;

nix::ioctl_write_ptr_bad!(device_zero, 0x127F, [u64; 2]);
nix::ioctl_write_ptr_bad!(device_discard, 0x1277, [u64; 2]);
nix::ioctl_none_bad!(device_forget, 0x1261);

/// What the target is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TargetKind {
    /// A block device.
    Device,
    /// A regular file.
    File,
    /// Nothing yet; a file will be made.
    New,
}

/// An open target, which several threads may use at once.
pub struct Target {
    file: File,
    /// The same device, opened for reads past the page cache.
    direct: Option<File>,
    kind: TargetKind,
    /// The path as the person wrote it.
    label: String,
    size: u64,
    /// The target was made or emptied.
    blank: bool,
    /// Bytes written since we last waited for the disk.
    unsynced: AtomicU64,
    /// Something was written.
    touched: AtomicBool,
}

impl Target {
    /// `file` has `size` bytes; the other is the same, past the page cache.
    pub(super) fn new(
        file: File,
        direct: Option<File>,
        kind: TargetKind,
        label: String,
        size: u64,
        blank: bool,
    ) -> Target {
        let (unsynced, touched) = (AtomicU64::new(0), AtomicBool::new(false));
        Target { file, direct, kind, label, size, blank, unsynced, touched }
    }

    /// The path as the person wrote it.
    pub fn label(&self) -> &str {
        &self.label
    }

    pub fn size(&self) -> u64 {
        self.size
    }

    /// Whether it was made or emptied when it was opened, so that it consisted of zeros.
    pub fn is_blank(&self) -> bool {
        self.blank
    }

    /// The device or file itself.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Must be called for a volume that was just made: it consists of zeros.
    pub fn new_volume(self) -> Target {
        Target { blank: true, ..self }
    }

    /// Whether a write was attempted since it was opened.
    pub fn is_touched(&self) -> bool {
        self.touched.load(Ordering::Relaxed)
    }

    /// Reads the bytes `range` into `buffer`. For a device, past the page cache, which is faster
    /// and shows what the disk has.
    ///
    /// # Errors
    /// When it cannot be read, or ends before.
    pub fn read<'b>(&self, buffer: &'b mut Buffer, range: &Range<u64>) -> Result<&'b [u8]> {
        let wanted = (range.end - range.start / PAGE * PAGE) as usize;
        let (pages, first) = buffer.pages_for(range);
        let file = self.direct.as_ref().unwrap_or(&self.file);
        let mut filled = 0;
        while filled < wanted && !range.is_empty() {
            match file.read_at(&mut pages[filled..], first + filled as u64) {
                Ok(0) => return Err(self.failed("read", range.end, ErrorKind::UnexpectedEof.into())),
                Ok(n) => filled += n,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(self.failed("read", first + filled as u64, e)),
            }
        }
        Ok(buffer)
    }

    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, bytes: &[u8], at: u64) -> Result<()> {
        self.touched.store(true, Ordering::Relaxed);
        self.file.write_all_at(bytes, at).map_err(|e| self.failed("write to", at, e))?;
        if self.unsynced.fetch_add(bytes.len() as u64, Ordering::Relaxed) >= SYNC {
            self.unsynced.store(0, Ordering::Relaxed);
            self.sync()?;
        }
        Ok(())
    }

    /// Zeroes `range`, and frees its space if possible.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn zero(&self, range: &Range<u64>) -> Result<()> {
        self.touched.store(true, Ordering::Relaxed);
        let unit = self.unit();
        let start = range.start.next_multiple_of(unit).min(range.end);
        let end = (range.end / unit * unit).max(start);
        if start < end {
            self.punch(start, end - start).map_err(|e| self.failed("write zeros to", start, e))?;
        }
        self.write_zeros(range.start..start)?;
        self.write_zeros(end..range.end)
    }

    fn write_zeros(&self, range: Range<u64>) -> Result<()> {
        let zeros = [0; 16 * BLOCK];
        let mut at = range.start;
        while at < range.end {
            let length = (range.end - at).min(zeros.len() as u64);
            self.write(&zeros[..length as usize], at)?;
            at += length;
        }
        Ok(())
    }

    fn punch(&self, start: u64, length: u64) -> io::Result<()> {
        let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
        // SAFETY: fallocate on a descriptor that is open.
        let done = unsafe { libc::fallocate(self.file.as_raw_fd(), mode, start as i64, length as i64) };
        if done == 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        if error.raw_os_error() != Some(libc::EOPNOTSUPP) {
            return Err(error);
        }
        let fd = self.file.as_raw_fd();
        if self.kind != TargetKind::Device {
            return self.write_zeros(start..start + length).map_err(io::Error::other);
        }
        // A zvol reads zeros where it was discarded; other devices may not.
        let done = match blockdev::is_zvol(&self.file) {
            // SAFETY: it takes two numbers, and the descriptor is open.
            true => unsafe { device_discard(fd, &[start, length]) },
            // SAFETY: as above.
            false => unsafe { device_zero(fd, &[start, length]) },
        };
        done.map(drop).map_err(io::Error::from)
    }

    /// The unit of holes in bytes.
    fn unit(&self) -> u64 {
        let is_zvol = self.kind == TargetKind::Device && blockdev::is_zvol(&self.file);
        let unit = if is_zvol { blockdev::discard_unit(&self.file) } else { None };
        unit.unwrap_or(0).max(BLOCK as u64)
    }

    /// Waits until everything written is on the disk.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn sync(&self) -> Result<()> {
        self.file.sync_data().map_err(|e| {
            let label = &self.label;
            Error::failed(format!("not all that was written to {label} reached it")).because(e)
        })
    }

    /// Makes the next reads come from the disk and not from memory.
    pub fn forget(&self) {
        let fd = self.file.as_raw_fd();
        if self.kind == TargetKind::Device {
            // SAFETY: no argument, and the descriptor is open.
            let _ = unsafe { device_forget(fd) };
        }
        // SAFETY: as above.
        let _: c_int = unsafe { libc::posix_fadvise(fd, 0, 0, libc::POSIX_FADV_DONTNEED) };
    }

    fn failed(&self, doing: &str, at: u64, e: io::Error) -> Error {
        Error::failed(format!("cannot {doing} {} at byte {at}", self.label)).because(e)
    }
}
