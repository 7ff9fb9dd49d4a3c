//! A regular file on its way: where its bytes go until it is whole, and how it becomes what it is to be.
//!
//! A new file has its own name from the beginning, and [a mode](UNFINISHED) that no other file has until its bytes
//! are on the disk. So whatever ends a restore, the next one knows it and goes on with it. A file in whose place
//! there is another one has a temporary name until then.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use rustix::fs::{FallocateFlags, FileType, Mode, Stat};
use rustix::io::Errno;
use xxhash_rust::xxh64::xxh64;

use super::content::Wanted;
use super::parent::Parent;
use crate::restore::attributes::{Attributes, Past, Refusal};
use crate::tools::directory::is_locked_by_us;
use crate::tools::inode::Inode;
use crate::tools::target::runs;

/// The mode of a file that is not whole.
pub const UNFINISHED: u32 = 0o1600;
/// What temporary names begin with; a number made of the file's name follows.
const TEMPORARY: &[u8] = b".borg-offsite-backup-restore.";

/// Where the bytes of a file go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spot {
    /// A new file.
    New,
    /// A new file that another restore has begun.
    Begun,
    /// A temporary name beside the file that it replaces.
    Beside,
    /// The file that is there.
    InPlace,
}

/// A file that is being restored.
pub struct FileJob {
    pub parent: Arc<Parent>,
    pub name: CString,
    pub wanted: Wanted,
    pub attributes: Attributes,
    spot: Spot,
    output: OnceLock<Output>,
    /// Pieces that are still to come, and one for whoever asks for them.
    pending: AtomicUsize,
    /// It cannot be restored.
    failed: AtomicBool,
    lost: Mutex<Lost>,
}

/// What of a file is lost.
#[derive(Default)]
pub struct Lost {
    pub ranges: Vec<Range<u64>>,
    pub why: String,
}

/// What the bytes are written to.
pub struct Output {
    pub file: File,
    /// It has no bytes but those that are written from now on.
    is_blank: AtomicBool,
}

impl FileJob {
    pub fn new(
        parent: Arc<Parent>,
        name: CString,
        wanted: Wanted,
        attributes: Attributes,
        spot: Spot,
    ) -> Self {
        FileJob {
            parent,
            name,
            wanted,
            attributes,
            spot,
            output: OnceLock::new(),
            pending: AtomicUsize::new(1),
            failed: AtomicBool::new(false),
            lost: Mutex::default(),
        }
    }

    pub fn path(&self) -> Vec<u8> {
        self.parent.path_of(&self.name)
    }

    pub fn spot(&self) -> Spot {
        self.spot
    }

    pub fn replaces(&self) -> bool {
        matches!(self.spot, Spot::Beside | Spot::InPlace)
    }

    /// What the file may have that the archive does not have.
    pub fn past(&self) -> Past {
        match self.spot {
            Spot::New | Spot::Beside => self.parent.past,
            Spot::Begun | Spot::InPlace => Past::Unknown,
        }
    }

    /// The file, opened by whoever needs it first: one thread at a time, since a file in several pieces is opened
    /// before they are asked for.
    ///
    /// # Errors
    /// When it cannot be opened, or another restore writes to it.
    pub fn output(&self) -> io::Result<&Output> {
        if let Some(output) = self.output.get() {
            return Ok(output);
        }
        let output = self.open()?;
        if !is_locked_by_us(&output.file) {
            return Err(io::Error::other("another restore writes to it"));
        }
        Ok(self.output.get_or_init(|| output))
    }

    fn open(&self) -> io::Result<Output> {
        let directory = &self.parent.directory;
        let mode = Mode::from_raw_mode(UNFINISHED);
        let begun = |name: &CStr| {
            let file = directory.open_to_write(name)?;
            // What was looked at by its name may be another one by now.
            let stat = rustix::fs::fstat(&file)?;
            let is_in_place = self.spot == Spot::InPlace && is_alone(&stat);
            match is_unfinished(&stat) || is_in_place {
                true => Ok(Output::new(file, false)),
                false => Err(io::Error::other("another file was put in its place")),
            }
        };
        match self.spot {
            Spot::New => Ok(Output::new(directory.create_file(&self.name, mode)?, true)),
            Spot::Begun | Spot::InPlace => begun(&self.name),
            Spot::Beside => {
                let name = temporary(&self.name);
                match directory.create_file(&name, mode) {
                    Err(e) if e.kind() == io::ErrorKind::AlreadyExists => match directory.stat(&name)? {
                        Some(stat) if is_unfinished(&stat) => begun(&name),
                        _ => Err(e),
                    },
                    made => Ok(Output::new(made?, true)),
                }
            }
        }
    }

    /// So many more pieces are to come.
    pub fn expect(&self, pieces: usize) {
        self.pending.fetch_add(pieces, Ordering::Relaxed);
    }

    /// One piece came, or is never to come; whether it was the last.
    pub fn is_last(&self) -> bool {
        self.pending.fetch_sub(1, Ordering::AcqRel) == 1
    }

    /// It cannot be restored; whether that is news.
    pub fn fail(&self) -> bool {
        !self.failed.swap(true, Ordering::AcqRel)
    }

    pub fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    pub fn lose(&self, range: Range<u64>, why: &str) {
        let mut lost = self.lost.lock();
        if lost.why.is_empty() {
            lost.why = why.to_owned();
        }
        lost.ranges.push(range);
    }

    /// What is lost of it, if something is.
    pub fn lost(&self) -> Option<Lost> {
        let lost = std::mem::take(&mut *self.lost.lock());
        (!lost.ranges.is_empty()).then_some(lost)
    }

    /// Gives it its length, and of its attributes those that do not make it whole.
    pub fn complete(&self) -> io::Result<Vec<Refusal>> {
        let output = self.output()?;
        if output.file.metadata()?.len() != self.wanted.size {
            output.file.set_len(self.wanted.size)?;
        }
        let past = if output.has_bytes() { Past::Unknown } else { self.past() };
        Ok(self.attributes.give_owner(Inode::Open(output.file.as_fd()), past))
    }

    /// Gives the file that is whole its own name.
    pub fn settle(&self) -> io::Result<()> {
        match self.spot {
            Spot::Beside => self.parent.directory.rename(&temporary(&self.name), &self.name),
            _ => Ok(()),
        }
    }

    /// Removes what was made of it.
    pub fn discard(&self) {
        if self.output.get().is_none() {
            return;
        }
        let name = match self.spot {
            Spot::New | Spot::Begun => self.name.clone(),
            Spot::Beside => temporary(&self.name),
            Spot::InPlace => return,
        };
        // Somebody may have put another one in its place.
        let directory = &self.parent.directory;
        if let Ok(Some(stat)) = directory.stat(&name)
            && is_unfinished(&stat)
        {
            let _ = directory.remove(&name);
        }
    }
}

impl Output {
    fn new(file: File, is_blank: bool) -> Self {
        Output { file, is_blank: AtomicBool::new(is_blank) }
    }

    /// Whether there may be bytes already.
    pub fn has_bytes(&self) -> bool {
        !self.is_blank.load(Ordering::Relaxed)
    }

    /// Writes bytes that are right; long zeros become a hole where nothing was. Returns how many were written.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn write(&self, bytes: &[u8], at: u64) -> io::Result<u64> {
        if self.has_bytes() {
            self.file.write_all_at(bytes, at)?;
            return Ok(bytes.len() as u64);
        }
        let mut written = 0;
        for run in runs::all(bytes, at).into_iter().filter(|run| !run.zeros) {
            self.file.write_all_at(&bytes[run.range.clone()], at + run.range.start as u64)?;
            written += run.range.len() as u64;
        }
        Ok(written)
    }

    /// Makes `range` zeros.
    ///
    /// # Errors
    /// When that cannot be done.
    pub fn zero(&self, range: &Range<u64>) -> io::Result<()> {
        if !self.has_bytes() {
            return Ok(());
        }
        let mode = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        match rustix::fs::fallocate(&self.file, mode, range.start, range.end - range.start) {
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => {}
            done => return Ok(done?),
        }
        let zeros = [0; 64 << 10];
        let mut at = range.start;
        while at < range.end {
            let length = (range.end - at).min(zeros.len() as u64);
            self.file.write_all_at(&zeros[..length as usize], at)?;
            at += length;
        }
        Ok(())
    }

    /// Makes it share the blocks of `other`, where the file system can do that.
    pub fn share_blocks(&self, other: &File) -> bool {
        let shared = rustix::fs::ioctl_ficlone(&self.file, other).is_ok();
        if shared {
            self.is_blank.store(false, Ordering::Relaxed);
        }
        shared
    }
}

/// Whether a restore that has ended left this behind.
pub fn is_unfinished(stat: &Stat) -> bool {
    stat.st_mode & 0o7777 == UNFINISHED && is_alone(stat)
}

/// Whether it is a regular file of one name, so that whatever is written to it changes no other.
fn is_alone(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile && stat.st_nlink == 1
}

/// The temporary name of a file.
pub fn temporary(name: &CStr) -> CString {
    let number = format!("{:016x}", xxh64(name.to_bytes(), 0));
    CString::new([TEMPORARY, number.as_bytes()].concat()).unwrap_or_default()
}

/// Whether this is the temporary name of some file.
pub fn is_temporary(name: &[u8]) -> bool {
    let number = name.strip_prefix(TEMPORARY);
    number.is_some_and(|number| number.len() == 16 && number.iter().all(u8::is_ascii_hexdigit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_temporary_name_is_known_and_belongs_to_one_file() {
        let name = temporary(c"a");
        assert!(is_temporary(name.as_bytes()) && name != temporary(c"b") && name == temporary(c"a"));
        for no in [&b".borg-offsite-backup-restore.12"[..], b".borg-offsite-backup-restore-12", b"a"] {
            assert!(!is_temporary(no));
        }
    }

    #[test]
    fn zeros_become_holes_only_where_nothing_was() {
        let dir = tempfile::tempdir().unwrap();
        let open = |name: &str| {
            let path = dir.path().join(name);
            File::options().read(true).write(true).create(true).truncate(false).open(path).unwrap()
        };
        let mut bytes = vec![7; 300_000];
        bytes[100_000..250_000].fill(0);
        let blank = Output::new(open("blank"), true);
        assert!(blank.write(&bytes, 0).unwrap() < 200_000);
        std::fs::write(dir.path().join("used"), vec![9; 400_000]).unwrap();
        let used = Output::new(open("used"), false);
        assert_eq!(used.write(&bytes, 0).unwrap(), 300_000);
        used.zero(&(300_000..400_000)).unwrap();
        for (name, length) in [("blank", 300_000), ("used", 400_000)] {
            let mut expected = bytes.clone();
            expected.resize(length, 0);
            assert!(std::fs::read(dir.path().join(name)).unwrap() == expected, "{name}");
        }
    }
}
