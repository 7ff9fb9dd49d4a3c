//! The visible part of an archive, and its names.

use borg_repository::ItemPath;

use super::paths::is_within;

/// The visible part of an archive, and its names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct View {
    /// Only these paths and everything below them; everything if it is empty.
    pub paths: Vec<ItemPath>,
    /// The number of leading components that are removed from each path. Items with no more
    /// components are not shown.
    pub strip_components: usize,
}

impl View {
    /// Whether all is shown under its own path.
    pub fn is_whole(&self) -> bool {
        self.paths.is_empty() && self.strip_components == 0
    }

    /// Whether `path`, which must not be a directory, is visible.
    pub fn shows(&self, path: &ItemPath) -> bool {
        self.selects(path.as_bytes())
            && self.stripped(path.as_bytes()).is_some_and(|visible| !visible.is_empty())
    }

    /// Whether `path` is one of the paths, or below one.
    pub(super) fn selects(&self, path: &[u8]) -> bool {
        self.paths.is_empty() || self.paths.iter().any(|selected| is_within(path, selected.as_bytes()))
    }

    /// Whether `path` is above one of the paths.
    pub(super) fn is_above(&self, path: &[u8]) -> bool {
        self.paths.iter().any(|selected| is_within(selected.as_bytes(), path))
    }

    /// The path without the leading components. `None` if it has no more.
    pub(super) fn stripped<'a>(&self, path: &'a [u8]) -> Option<&'a [u8]> {
        let mut rest = path;
        for _ in 0..self.strip_components {
            rest = &rest[memchr::memchr(b'/', rest)? + 1..];
        }
        Some(rest)
    }
}
