//! Directories that a view strips from all paths.

use std::collections::{HashMap, HashSet};

/// The directories whose names are stripped; the root is shown in their place.
#[derive(Default)]
pub struct Stripped {
    pub modes: HashMap<Box<[u8]>, u32>,
    /// Those with something visible in them.
    used: HashSet<Box<[u8]>>,
    last: Option<Box<[u8]>>,
}

impl Stripped {
    /// Notes that something in the directory `path` is visible.
    pub fn note(&mut self, path: &[u8]) {
        if self.last.as_deref() == Some(path) {
            return;
        }
        self.last = Some(path.into());
        let ends = memchr::memchr_iter(b'/', path).chain([path.len()]);
        for directory in ends.map(|end| &path[..end]) {
            if !self.used.contains(directory) {
                self.used.insert(directory.into());
            }
        }
    }

    /// Whether everybody could look into all of them, according to the archive.
    pub fn are_open(&self) -> bool {
        let is_open = |mode: &u32| mode & 0o005 == 0o005;
        let above = self.modes.get(&[][..]).is_none_or(is_open);
        above && self.used.iter().all(|directory| self.modes.get(directory).is_some_and(is_open))
    }
}
