//! Files of a volume whose bytes are lost in part: which bytes, and zeros in their place.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use borg_repository::ItemPath;

use crate::archive::ranges;
use crate::archives::damage::Damaged;
use crate::error::{Error, Result};
use crate::process::interrupt;

/// Bytes that are read at once.
const STEP: usize = 1 << 20;
/// What a file system reads at least, in bytes.
const BLOCK: usize = 4 << 10;
const WHY: &str = "zeros stand for what is lost";

/// The files in and below `name` of the directory `from` with bytes that cannot be read.
///
/// # Errors
/// On a signal.
pub fn damaged(from: &Path, name: &OsStr) -> Result<Vec<Damaged>> {
    let mut found = Vec::new();
    let mut open = vec![PathBuf::from(name)];
    while let Some(path) = open.pop() {
        interrupt::check()?;
        // What cannot be looked at is missing, as tar will say.
        let Ok(meta) = from.join(&path).symlink_metadata() else { continue };
        if meta.is_dir() {
            let entries = std::fs::read_dir(from.join(&path)).into_iter().flatten().flatten();
            open.extend(entries.map(|entry| path.join(entry.file_name())));
        } else if meta.is_file() {
            let ranges = lost(&from.join(&path), meta.len())?;
            let listed = ItemPath::new(path.as_os_str().as_bytes()).filter(|_| !ranges.is_empty());
            found.extend(listed.map(|path| Damaged { path, ranges, why: WHY.into() }));
        }
    }
    Ok(found)
}

/// The ranges of a file that the disk cannot read.
fn lost(path: &Path, size: u64) -> Result<Vec<Range<u64>>> {
    let Ok(file) = source(path) else { return Ok(Vec::new()) };
    let (mut lost, mut buffer, mut at) = (Vec::new(), vec![0; STEP], 0);
    while at < size {
        interrupt::check()?;
        let step = size.min(at + STEP as u64);
        if !is_readable(&file, &mut buffer, at..step) {
            let blocks = (at..step).step_by(BLOCK).map(|block| block..step.min(block + BLOCK as u64));
            lost.extend(blocks.filter(|block| !is_readable(&file, &mut buffer, block.clone())));
        }
        at = step;
    }
    Ok(ranges::merge(lost))
}

fn is_readable(file: &File, buffer: &mut [u8], range: Range<u64>) -> bool {
    let length = (range.end - range.start) as usize;
    let read = file.read_exact_at(&mut buffer[..length], range.start);
    !matches!(read, Err(e) if e.raw_os_error() == Some(libc::EIO))
}

fn source(path: &Path) -> io::Result<File> {
    File::options().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path)
}

/// Writes into the copies of the `damaged` files below `to` everything of them that can be read:
/// where tar could not read a block, it left out all that follows.
///
/// # Errors
/// When a file cannot be written.
pub fn refill(from: &Path, to: &Path, damaged: &[Damaged]) -> Result<()> {
    damaged.iter().try_for_each(|file| {
        let path = Path::new(file.path.as_os_str());
        refill_one(&from.join(path), &to.join(path), &file.ranges).map_err(|e| {
            Error::failed(format!("cannot write what is left of {} to {}", file.path, to.display()))
                .because(e)
        })
    })
}

fn refill_one(from: &Path, to: &Path, lost: &[Range<u64>]) -> io::Result<()> {
    let source = source(from)?;
    let copy = match OpenOptions::new().write(true).custom_flags(libc::O_NOFOLLOW).open(to) {
        // A name of a file that has another one, which tar left out.
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        opened => opened?,
    };
    let meta = source.metadata()?;
    let mut buffer = vec![0; STEP];
    let mut at = 0;
    copy.set_len(0)?;
    copy.set_len(meta.len())?;
    let ends = lost.iter().map(|range| (range.start, range.end));
    for (end, next) in ends.chain([(meta.len(), meta.len())]) {
        while at < end {
            let length = (end - at).min(STEP as u64) as usize;
            source.read_exact_at(&mut buffer[..length], at)?;
            copy.write_all_at(&buffer[..length], at)?;
            at += length as u64;
        }
        at = next;
    }
    copy.set_times(std::fs::FileTimes::new().set_accessed(meta.accessed()?).set_modified(meta.modified()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_of_a_file_is_written_around_what_is_lost() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        let bytes: Vec<u8> = (0..3 * STEP + 5).map(|n| (n % 251) as u8 + 1).collect();
        std::fs::write(&from, &bytes).unwrap();
        std::fs::write(&to, vec![9; 10]).unwrap();
        let (start, end) = (STEP + 4096, STEP + 3 * 4096);
        let last = bytes.len() - 5;
        let lost = [start as u64..end as u64, last as u64..bytes.len() as u64];
        refill_one(&from, &to, &lost).unwrap();
        let mut expected = bytes.clone();
        expected[start..end].fill(0);
        expected[last..].fill(0);
        assert!(std::fs::read(&to).unwrap() == expected);
        let time = |path: &Path| path.metadata().unwrap().modified().unwrap();
        assert_eq!(time(&to), time(&from));
        assert!(damaged(dir.path(), OsStr::new(".")).unwrap().is_empty());
    }
}
