//! What of a restore did not come.

use std::ops::Range;

use borg_repository::ItemPath;
use parking_lot::Mutex;

use crate::archive::ranges;
use crate::archives::damage::Damaged;
use crate::error::{Error, Result};

/// So many are kept; all are counted.
const KEPT: usize = 1000;

/// What went wrong with one path.
#[derive(Debug, Clone)]
pub struct Problem {
    /// In the archive.
    pub path: Box<[u8]>,
    pub why: String,
}

/// What went wrong, from any thread.
#[derive(Default)]
pub struct Problems {
    kept: Mutex<Kept>,
}

/// What went wrong.
#[derive(Debug, Default)]
pub struct Kept {
    /// The first.
    pub problems: Vec<Problem>,
    /// Entries that did not come.
    pub missing: u64,
    /// Entries that came without something that they should have.
    pub incomplete: u64,
    /// Files of which bytes are lost, the first.
    pub damaged: Vec<Damaged>,
    pub damaged_files: u64,
}

impl Problems {
    fn add(&self, path: &[u8], why: String) {
        let problems = &mut self.kept.lock().problems;
        if problems.len() < KEPT {
            problems.push(Problem { path: path.into(), why });
        }
    }

    /// `entries` did not come: `path`, and what is in it.
    pub fn missing(&self, path: &[u8], entries: u64, why: impl Into<String>) {
        self.add(path, why.into());
        self.kept.lock().missing += entries;
    }

    /// `path` came, but not all that belongs to it.
    pub fn incomplete(&self, path: &[u8], why: impl Into<String>) {
        self.add(path, why.into());
        self.kept.lock().incomplete += 1;
    }

    /// Bytes of `path` are lost.
    pub fn damaged(&self, path: &[u8], lost: Vec<Range<u64>>, why: &str) {
        let mut kept = self.kept.lock();
        kept.damaged_files += 1;
        if let Some(path) = ItemPath::new(path).filter(|_| kept.damaged.len() < KEPT) {
            kept.damaged.push(Damaged { path, ranges: ranges::merge(lost), why: why.to_owned() });
        }
    }

    pub fn into_inner(self) -> Kept {
        self.kept.into_inner()
    }
}

/// Whether an error is only this entry's: the others can be restored.
pub fn is_of_entry(error: &std::io::Error) -> bool {
    !matches!(
        error.raw_os_error(),
        Some(
            libc::ENOSPC
                | libc::EDQUOT
                | libc::EROFS
                | libc::EIO
                | libc::ENOMEM
                | libc::EMFILE
                | libc::ENFILE
        )
    )
}

/// Passes over an error that is only this entry's, after it was noted; another one ends the restore.
///
/// # Errors
/// That one.
pub fn pass<T>(
    problems: &Problems,
    path: &[u8],
    entries: u64,
    doing: &str,
    result: std::io::Result<T>,
) -> Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(e) if is_of_entry(&e) => {
            problems.missing(path, entries, format!("cannot {doing} it: {e}"));
            Ok(None)
        }
        Err(e) => {
            let full = matches!(e.raw_os_error(), Some(libc::ENOSPC | libc::EDQUOT));
            let error = Error::failed(format!("cannot {doing} {}", path.escape_ascii())).because(e);
            Err(match full {
                true => error.hint("make room there"),
                false => error,
            })
        }
    }
}
