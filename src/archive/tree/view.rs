//! The visible part of an archive, and its names.

use borg_repository::ItemPath;

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
    /// Whether `path`, which must not be a directory, is visible.
    pub fn shows(&self, path: &ItemPath) -> bool {
        self.visible_part(path).is_some_and(|part| !part.is_empty())
    }

    /// The path under which `path` is shown, if it is visible.
    pub(super) fn visible_part<'a>(&self, path: &'a ItemPath) -> Option<&'a [u8]> {
        if !self.paths.is_empty() && !self.paths.iter().any(|p| path.is_within(p)) {
            return None;
        }
        let mut rest = path.as_bytes();
        for _ in 0..self.strip_components {
            rest = &rest[memchr::memchr(b'/', rest)? + 1..];
        }
        Some(rest)
    }
}
