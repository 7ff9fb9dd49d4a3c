//! What an image is written to or held against: a block device, or a file.

use std::ffi::c_int;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::buffer::{Buffer, PAGE};
use super::compare::BLOCK;
use super::in_use;
use crate::error::{Error, Kind, Result};

/// After so many bytes the disk is waited for, so that an error of it comes early.
const SYNC: u64 = 256 << 20;

nix::ioctl_read!(device_size, 0x12, 114, u64);
nix::ioctl_write_ptr_bad!(device_zero, 0x127F, [u64; 2]);
nix::ioctl_write_ptr_bad!(device_discard, 0x1277, [u64; 2]);
nix::ioctl_none_bad!(device_forget, 0x1261);

/// What is where an image is to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// A block device.
    Device,
    /// A regular file.
    File,
    /// Nothing; a file will be made.
    New,
}

/// A place that was looked at, and not opened yet.
#[derive(Debug)]
pub struct Place {
    /// Without links, so the device itself and not its link in `/dev/zvol`.
    path: PathBuf,
    /// As the person wrote it.
    shown: String,
    pub kept: Kept,
    /// Bytes that are there.
    pub size: u64,
}

/// An open target. Used by any number of threads at once.
pub struct Target {
    file: File,
    /// The same device, read past the page cache.
    direct: Option<File>,
    place: Place,
    /// It was made, or emptied.
    blank: bool,
    /// Bytes written since the disk was last waited for.
    unsynced: AtomicU64,
    /// Something was written to it.
    touched: AtomicBool,
}

impl Place {
    /// Looks at what is at `path`; changes nothing.
    ///
    /// # Errors
    /// [`Kind::Usage`] when nothing can be written there.
    pub fn at(path: &Path) -> Result<Self> {
        let shown = path.display().to_string();
        let cannot = |e: io::Error| Error::usage(format!("cannot use the target {shown}")).because(e);
        let meta = match std::fs::metadata(path) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Self::new(path, shown),
            meta => meta.map_err(cannot)?,
        };
        let path = path.canonicalize().map_err(cannot)?;
        let (kept, size) = if meta.file_type().is_block_device() {
            let file = File::open(&path).map_err(cannot)?;
            (Kept::Device, size_of_device(&file).map_err(cannot)?)
        } else if meta.is_file() {
            (Kept::File, meta.len())
        } else {
            return Err(Error::usage(format!("the target {shown} is neither a block device nor a file")));
        };
        Ok(Place { path, shown, kept, size })
    }

    fn new(path: &Path, shown: String) -> Result<Self> {
        let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let parent = parent.canonicalize().map_err(|e| {
            Error::usage(format!("cannot make the target {shown}: its folder is not there")).because(e)
        })?;
        if parent.starts_with("/dev") {
            // A mistyped device must not become a file in memory.
            return Err(
                Error::usage(format!("there is no device {shown}")).hint("make it first, or see `--create`")
            );
        }
        let name = path.file_name();
        let name = name.ok_or_else(|| Error::usage(format!("the target {shown} is no name of a file")))?;
        Ok(Place { path: parent.join(name), shown, kept: Kept::New, size: 0 })
    }

    /// Makes sure that it is not a part of the repository that the image is read from.
    ///
    /// # Errors
    /// [`Kind::Usage`] when it is.
    pub fn is_outside(&self, repository: Option<&Path>) -> Result<()> {
        let repository = repository.and_then(|dir| dir.canonicalize().ok());
        match repository.filter(|dir| self.path.starts_with(dir)) {
            Some(dir) => {
                let shown = &self.shown;
                Err(Error::usage(format!("the target {shown} is inside the repository {}", dir.display())))
            }
            None => Ok(()),
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// As the person wrote it.
    pub fn shown(&self) -> &str {
        &self.shown
    }

    /// Makes sure that an image of `size` bytes fits exactly, and that nobody uses what is there. A
    /// file may have another size if it may be overwritten.
    ///
    /// # Errors
    /// [`Kind::Usage`] when it does not fit, [`Kind::Busy`] when it is in use. Nothing was changed.
    pub fn check(&self, size: u64, overwrite: bool) -> Result<()> {
        let shown = &self.shown;
        let wrong = |how: &str| {
            Error::usage(format!("the target {shown} has {} bytes, {how} the image's {size}", self.size))
                .hint(format!("nothing was written to {shown}"))
        };
        match self.kept {
            Kept::New => return Ok(()),
            Kept::Device if self.size < size => {
                return Err(wrong("less than").hint("make it larger: `zfs set volsize=`, `lvextend`"));
            }
            Kept::Device if self.size > size => {
                return Err(
                    wrong("more than").hint("its end would stay as it is; take one of exactly this size")
                );
            }
            Kept::File if self.size != size && !overwrite => {
                return Err(wrong("and not").hint("`--overwrite` replaces it"));
            }
            Kept::Device | Kept::File => {}
        }
        if self.kept == Kept::Device && is_read_only(&self.path) {
            return Err(Error::usage(format!("the target {shown} is read-only")));
        }
        let uses = in_use::wait(&self.path);
        if uses.is_empty() {
            return Ok(());
        }
        let error =
            Error::new(Kind::Busy, format!("the target {shown} is in use; nothing was written to it"));
        Err(uses.into_iter().fold(error, |error, by| error.hint(format!("held by: {by}"))))
    }

    /// Opens it to be held against an image.
    ///
    /// # Errors
    /// When it is not there, or cannot be read.
    pub fn open_to_read(self) -> Result<Target> {
        let shown = &self.shown;
        let file = File::open(&self.path)
            .map_err(|e| Error::usage(format!("cannot read the target {shown}")).because(e))?;
        Ok(self.opened(file, false))
    }

    /// Opens it for itself alone to be written: a device until it is closed cannot be mounted. A new
    /// file is made, for its owner only; one of another size is emptied and made as long.
    ///
    /// # Errors
    /// [`Kind::Busy`] when someone else has it, [`Kind::Failed`] when it cannot be written.
    pub fn open(mut self, size: u64) -> Result<Target> {
        let shown = &self.shown;
        let cannot = |e: io::Error| match e.raw_os_error() {
            Some(libc::EBUSY | libc::EWOULDBLOCK) => {
                Error::new(Kind::Busy, format!("the target {shown} is in use; nothing was written to it"))
                    .because(e)
                    .hint("the kernel holds it: a mount elsewhere, a ZFS pool, a qube's disk")
            }
            _ => Error::failed(format!("cannot write to the target {shown}")).because(e),
        };
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        match self.kept {
            Kept::Device => options.custom_flags(libc::O_EXCL),
            Kept::New => options.create_new(true).mode(0o600),
            Kept::File => &mut options,
        };
        let file = options.open(&self.path).map_err(cannot)?;
        if self.kept != Kept::Device {
            file.try_lock().map_err(|e| cannot(e.into()))?;
        }
        let blank = self.kept != Kept::Device && self.size != size;
        if blank {
            file.set_len(0).and_then(|()| file.set_len(size)).map_err(cannot)?;
            self.size = size;
        }
        Ok(self.opened(file, blank))
    }

    fn opened(self, file: File, blank: bool) -> Target {
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(libc::O_DIRECT);
        // What cannot be read so is read through the cache.
        let direct = if self.kept == Kept::Device { options.open(&self.path).ok() } else { None };
        Target {
            file,
            direct,
            place: self,
            blank,
            unsynced: AtomicU64::new(0),
            touched: AtomicBool::new(false),
        }
    }
}

impl Target {
    pub fn place(&self) -> &Place {
        &self.place
    }

    pub fn size(&self) -> u64 {
        self.place.size
    }

    /// Whether it was made, or emptied, when it was opened: it was nothing but zeros then.
    pub fn is_blank(&self) -> bool {
        self.blank
    }

    /// The device or file itself.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// To be said of a volume that was just made: it holds nothing but zeros.
    pub fn new_volume(self) -> Target {
        Target { blank: true, ..self }
    }

    /// Whether a write was tried since it was opened.
    pub fn is_touched(&self) -> bool {
        self.touched.load(Ordering::Relaxed)
    }

    /// The bytes `range`, in `buffer`; of a device past the page cache, which is faster, and true.
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

    /// Makes `range` zeros that take no space, where that can be had.
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
        if self.place.kept != Kept::Device {
            return self.write_zeros(start..start + length).map_err(io::Error::other);
        }
        // What a zvol discards reads as zeros, which is not so of every device.
        // SAFETY: both take two numbers, and the descriptor is open.
        let done = match is_zvol(&self.place.path) {
            true => unsafe { device_discard(fd, &[start, length]) },
            false => unsafe { device_zero(fd, &[start, length]) },
        };
        done.map(drop).map_err(io::Error::from)
    }

    /// What can be made a hole of, in bytes.
    fn unit(&self) -> u64 {
        let granularity = || {
            let name = self.place.path.file_name()?.to_str()?;
            let text = std::fs::read_to_string(format!("/sys/block/{name}/queue/discard_granularity"));
            text.ok()?.trim().parse::<u64>().ok()
        };
        let unit = if is_zvol(&self.place.path) { granularity() } else { None };
        unit.unwrap_or(0).max(BLOCK as u64)
    }

    /// Waits until what was written is on the disk.
    ///
    /// # Errors
    /// When it does not get there.
    pub fn sync(&self) -> Result<()> {
        self.file.sync_data().map_err(|e| {
            let shown = &self.place.shown;
            Error::failed(format!("not all that was written to {shown} reached it")).because(e)
        })
    }

    /// Lets the next reads come from the disk and not from memory.
    pub fn forget(&self) {
        let fd = self.file.as_raw_fd();
        if self.place.kept == Kept::Device {
            // SAFETY: no argument, and the descriptor is open.
            let _ = unsafe { device_forget(fd) };
        }
        // SAFETY: as above.
        let _: c_int = unsafe { libc::posix_fadvise(fd, 0, 0, libc::POSIX_FADV_DONTNEED) };
    }

    fn failed(&self, doing: &str, at: u64, e: io::Error) -> Error {
        Error::failed(format!("cannot {doing} {} at byte {at}", self.place.shown)).because(e)
    }
}

fn size_of_device(file: &File) -> io::Result<u64> {
    let mut size = 0;
    // SAFETY: the descriptor is open, and the kernel writes one number.
    unsafe { device_size(file.as_raw_fd(), &mut size) }?;
    Ok(size)
}

fn is_read_only(device: &Path) -> bool {
    let numbers = std::fs::metadata(device).map(|meta| meta.rdev());
    let Ok(numbers) = numbers.map(|rdev| (libc::major(rdev), libc::minor(rdev))) else { return false };
    let text = std::fs::read_to_string(format!("/sys/dev/block/{}:{}/ro", numbers.0, numbers.1));
    text.is_ok_and(|text| text.trim() == "1")
}

/// As `/dev/zd16`, which links in `/dev/zvol` lead to.
fn is_zvol(device: &Path) -> bool {
    let name = device.file_name().and_then(|name| name.to_str());
    name.and_then(|name| name.strip_prefix("zd")).is_some_and(|n| n.parse::<u32>().is_ok())
}
