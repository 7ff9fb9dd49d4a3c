//! What is in the way of a restore.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::error::Error;

/// So many are named.
const NAMED: usize = 10;

/// Paths at which something is that must not be replaced.
#[derive(Debug, Default)]
pub struct Conflicts {
    count: u64,
    first: Vec<Box<[u8]>>,
    /// Some cannot be replaced at all.
    has_clash: bool,
}

impl Conflicts {
    /// Something is there that may be replaced if the user says so.
    pub fn add(&mut self, path: &[u8]) {
        self.count += 1;
        if self.first.len() < NAMED {
            self.first.push(path.into());
        }
    }

    /// A directory is there, and no directory is to be.
    pub fn add_clash(&mut self, path: &[u8]) {
        self.has_clash = true;
        self.add(path);
    }

    /// Adds those of another look.
    pub fn append(&mut self, other: Conflicts) {
        self.count += other.count;
        self.has_clash |= other.has_clash;
        self.first.extend(other.first);
        self.first.truncate(NAMED);
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// What is to be said of them, where they stand in the directory `to`.
    pub fn into_error(self, to: &Path) -> Error {
        let what = if self.count == 1 { "1 file is".to_owned() } else { format!("{} files are", self.count) };
        let mut error = Error::usage(format!("{what} in {} already; nothing was written", to.display()));
        for path in &self.first {
            error = error.hint(OsStr::from_bytes(path).as_bytes().escape_ascii().to_string());
        }
        if self.count > self.first.len() as u64 {
            error = error.hint(format!("and {} more", self.count - self.first.len() as u64));
        }
        match self.has_clash {
            false => error.hint("`--overwrite` replaces files, or name another directory"),
            true => error.hint("a directory is never replaced by a file: name another directory"),
        }
    }
}
