//! What of an archive is shown, and under which names.

use borg_repository::ItemPath;

/// Which part of an archive is shown, and under which names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct View {
    /// Only these and what is below them; everything when empty.
    pub paths: Vec<ItemPath>,
    /// Leading components taken off each path; items with no more than these are not shown.
    pub strip_components: usize,
}

impl View {
    /// Whether what is at `path`, which is no directory, is shown.
    pub fn shows(&self, path: &ItemPath) -> bool {
        self.visible_part(path).is_some_and(|part| !part.is_empty())
    }

    /// The path under which `path` is shown, if it is.
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
