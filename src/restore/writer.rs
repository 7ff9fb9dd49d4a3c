//! Putting bytes where they belong on a target, as far as they are not there, and reading them back.

use std::hash::Hasher;
use std::ops::Range;

use parking_lot::Mutex;
use xxhash_rust::xxh64::Xxh64;

use crate::archive::ranges;
use crate::archives::progress::{Counts, Meter, Monitor, Step, add};
use crate::archives::survey::spans;
use crate::archives::workers;
use crate::error::{Error, Result};
use crate::tools::target::buffer::Buffer;
use crate::tools::target::open::Target;
use crate::tools::target::runs::{self, ByteRun};

/// Bytes that are read back at once.
const STEP: u64 = 4 << 20;

/// Writes to one target, from any number of threads.
pub struct Writer<'a> {
    pub target: &'a Target,
    /// [Merged](ranges::merge); outside of it nothing is read or written. `None`: everything may.
    pub may_differ: Option<&'a [Range<u64>]>,
    /// Also what is there already.
    pub full: bool,
    pub counts: &'a Counts,
    touched: Mutex<Vec<Touched>>,
}

/// A stretch in which something was written, and what is to be found there.
struct Touched {
    range: Range<u64>,
    /// Checksum of those of its bytes that may differ.
    sum: u64,
}

impl<'a> Writer<'a> {
    pub fn new(
        target: &'a Target,
        may_differ: Option<&'a [Range<u64>]>,
        full: bool,
        counts: &'a Counts,
    ) -> Self {
        Writer { target, may_differ, full, counts, touched: Mutex::default() }
    }

    /// Makes the target hold `bytes` at `at`.
    ///
    /// # Errors
    /// When it cannot be read or written.
    pub fn put(&self, bytes: &[u8], at: u64) -> Result<()> {
        let range = at..at + bytes.len() as u64;
        let mut touched = false;
        for span in spans(self.may_differ, &range) {
            let part = &bytes[within(&span, at)];
            for run in self.runs(part, span.start)? {
                let place = span.start + run.range.start as u64;
                self.write(&part[run.range.clone()], place, run.zeros)?;
                touched = true;
            }
        }
        if touched {
            let mut sum = Xxh64::new(0);
            for span in spans(self.may_differ, &range) {
                sum.write(&bytes[within(&span, at)]);
            }
            let touched = Touched { range, sum: sum.finish() };
            self.touched.lock().push(touched);
        }
        Ok(())
    }

    /// Whether the target holds those of `bytes`, which belong at `at`, that `witnesses` have.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn is_there(&self, bytes: &[u8], at: u64, witnesses: &[Range<u64>]) -> Result<bool> {
        let mut buffer = Buffer::default();
        for span in ranges::common(witnesses, &(at..at + bytes.len() as u64)) {
            add(&self.counts.sampled, span.end - span.start);
            if self.target.read(&mut buffer, &span)? != &bytes[within(&span, at)] {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn runs(&self, part: &[u8], at: u64) -> Result<Vec<ByteRun>> {
        if self.full {
            return Ok(runs::all(part, at));
        }
        if self.target.is_blank() {
            return Ok(runs::runs_on_blank(part, at));
        }
        let mut buffer = Buffer::default();
        let old = self.target.read(&mut buffer, &(at..at + part.len() as u64))?;
        let runs = runs::runs(old, part, at);
        let wrong: usize = runs.iter().map(|run| run.range.len()).sum();
        add(&self.counts.right, (part.len() - wrong) as u64);
        Ok(runs)
    }

    fn write(&self, bytes: &[u8], at: u64, zeros: bool) -> Result<()> {
        let length = bytes.len() as u64;
        if zeros {
            self.target.zero(&(at..at + length))?;
            add(&self.counts.zeroed, length);
        } else {
            self.target.write(bytes, at)?;
            add(&self.counts.written, length);
        }
        Ok(())
    }

    /// Reads from the disk what was written, and holds it against what it should be. Returns how
    /// many bytes that were.
    ///
    /// # Errors
    /// When it cannot be read, or is something else.
    pub fn read_back(self, monitor: Monitor<'_>) -> Result<u64> {
        self.target.forget();
        let mut touched = std::mem::take(&mut *self.touched.lock());
        touched.sort_by_key(|touched| touched.range.start);
        let length = |touched: &Touched| ranges::length(&spans(self.may_differ, &touched.range));
        let total = touched.iter().map(length).sum();
        let meter = Meter::new(Step::ReadBack, total, monitor);
        let queue = Mutex::new(touched.into_iter());
        workers::run(|failure| {
            let mut buffer = Buffer::default();
            while !failure.ended()? {
                let next = queue.lock().next();
                let Some(touched) = next else { return Ok(()) };
                self.check(&touched, &mut buffer)?;
                meter.add(length(&touched));
            }
            Ok(())
        })?;
        Ok(total)
    }

    fn check(&self, touched: &Touched, buffer: &mut Buffer) -> Result<()> {
        let mut sum = Xxh64::new(0);
        for span in spans(self.may_differ, &touched.range) {
            let mut at = span.start;
            while at < span.end {
                let end = span.end.min(at + STEP);
                sum.write(self.target.read(buffer, &(at..end))?);
                at = end;
            }
        }
        if sum.finish() == touched.sum {
            return Ok(());
        }
        let (label, Range { start, end }) = (self.target.label(), &touched.range);
        Err(Error::failed(format!("{label} does not hold what was written to it, in bytes {start} to {end}"))
            .hint("its disk is failing, or somebody else writes to it"))
    }
}

fn within(span: &Range<u64>, at: u64) -> Range<usize> {
    (span.start - at) as usize..(span.end - at) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archives::progress::of;
    use crate::progress::Silent;
    use crate::tools::target::place::Place;
    use std::os::unix::fs::FileExt;
    use std::path::{Path, PathBuf};

    fn file_of(bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("target");
        std::fs::write(&path, bytes).unwrap();
        (dir, path)
    }

    fn open(path: &Path) -> Target {
        let place = Place::at(path).unwrap();
        let size = place.size;
        place.open(size).unwrap()
    }

    #[test]
    fn outside_of_what_may_differ_nothing_is_read_or_written() {
        let (_dir, path) = file_of(&[1; 40_000]);
        let (target, counts) = (open(&path), Counts::default());
        let ranges = [8192..16384, 20_480..24_576];
        let writer = Writer::new(&target, Some(&ranges), false, &counts);
        writer.put(&[2; 10_000], 0).unwrap();
        writer.put(&[1; 4096], 12_288).unwrap();
        writer.put(&[0; 23_616], 16_384).unwrap();
        let mut expected = vec![1; 40_000];
        expected[8192..10_000].fill(2);
        expected[20_480..24_576].fill(0);
        assert!(std::fs::read(&path).unwrap() == expected);
        // So few zeros are written as other bytes are.
        assert_eq!((of(&counts.written), of(&counts.zeroed)), (1808 + 4096, 0));
        writer.read_back(&Silent).unwrap();
    }

    #[test]
    fn what_the_disk_did_not_keep_is_found_when_it_is_read_back() {
        for at in [0, 5000, 9999, 70_000, 150_000] {
            let (_dir, path) = file_of(&[1; 200_000]);
            let (target, counts) = (open(&path), Counts::default());
            let writer = Writer::new(&target, None, false, &counts);
            writer.put(&[2; 10_000], 0).unwrap();
            writer.put(&[0; 100_000], 60_000).unwrap();
            let other = std::fs::File::options().write(true).open(&path).unwrap();
            other.write_all_at(&[7], at).unwrap();
            let error = writer.read_back(&Silent).unwrap_err();
            assert!(error.to_string().contains("does not hold what was written to it"), "{at}: {error}");
        }
    }

    #[test]
    fn zeros_take_no_space_and_their_ends_are_zero_too() {
        let (_dir, path) = file_of(&[1; 300_000]);
        let (target, counts) = (open(&path), Counts::default());
        Writer::new(&target, None, false, &counts).put(&[0; 298_001], 1000).unwrap();
        let mut expected = vec![0; 300_000];
        expected[..1000].fill(1);
        expected[299_001..].fill(1);
        assert!(std::fs::read(&path).unwrap() == expected);
        let blocks = std::os::unix::fs::MetadataExt::blocks(&path.metadata().unwrap());
        assert!(blocks * 512 <= 16_384, "{blocks}");
    }
}
