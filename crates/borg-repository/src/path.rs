//! The path of an item: raw bytes, relative, as borg stores it.

use std::ffi::OsStr;
use std::fmt::{self, Write};
use std::os::unix::ffi::OsStrExt;

/// A path in an archive: raw bytes without NUL, with `/` between components, none of which is
/// empty, `.` or `..`. The empty path is the root of the archive.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ItemPath(Box<[u8]>);

impl ItemPath {
    /// The root of the archive.
    pub fn root() -> Self {
        ItemPath(Box::default())
    }

    /// Accepts a path as borg stores it or as a person writes it: removes a leading `/` or `./`, a
    /// trailing `/`, doubled slashes and `.` components.
    ///
    /// Returns `None` for `..` components and NUL bytes, which borg's own extract rejects, too.
    pub fn new(bytes: &[u8]) -> Option<Self> {
        if bytes.contains(&0) {
            return None;
        }
        if ItemPath::is_clean(bytes) {
            return Some(ItemPath(bytes.into()));
        }
        let mut clean = Vec::with_capacity(bytes.len());
        for part in bytes.split(|b| *b == b'/') {
            match part {
                b"" | b"." => continue,
                b".." => return None,
                _ => {
                    if !clean.is_empty() {
                        clean.push(b'/');
                    }
                    clean.extend_from_slice(part);
                }
            }
        }
        Some(ItemPath(clean.into_boxed_slice()))
    }

    /// Whether [`ItemPath::new`] would return these bytes unchanged, as it does for nearly all
    /// paths that borg stores.
    pub fn is_clean(bytes: &[u8]) -> bool {
        let mut start = 0;
        memchr::memchr_iter(b'/', bytes).chain([bytes.len()]).all(|end| {
            let part = &bytes[start..end];
            start = end + 1;
            !matches!(part, b"" | b"." | b"..")
        })
    }

    /// The path as borg stores it.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The path for the file system.
    #[inline]
    pub fn as_os_str(&self) -> &OsStr {
        OsStr::from_bytes(&self.0)
    }

    /// Whether this is the root of the archive.
    #[inline]
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The components, from the root on.
    pub fn components(&self) -> impl Iterator<Item = &[u8]> {
        self.0.split(|b| *b == b'/').filter(|part| !part.is_empty())
    }

    /// Whether it is `other`, or below it.
    pub fn is_within(&self, other: &ItemPath) -> bool {
        match self.0.strip_prefix(&*other.0) {
            Some(rest) => other.is_root() || rest.is_empty() || rest[0] == b'/',
            None => false,
        }
    }
}

/// For people: escapes bytes that are not UTF-8, and characters that would steer a terminal or
/// change the direction of text.
impl fmt::Display for ItemPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            for c in chunk.valid().chars() {
                match is_dangerous(c) {
                    true => write!(f, "{}", c.escape_default())?,
                    false => f.write_char(c)?,
                }
            }
            for b in chunk.invalid() {
                write!(f, "\\x{b:02x}")?;
            }
        }
        Ok(())
    }
}

/// Control characters, other line ends, and marks that change the direction of text.
fn is_dangerous(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}')
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

impl fmt::Debug for ItemPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{self}`")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(bytes: &[u8]) -> ItemPath {
        ItemPath::new(bytes).unwrap()
    }

    #[test]
    fn what_a_person_writes_is_what_borg_stores() {
        for text in [&b"/a/b"[..], b"a/b/", b"./a//b", b"a/./b"] {
            assert_eq!(path(text), path(b"a/b"));
        }
        assert!(path(b".").is_root());
    }

    #[test]
    fn what_would_leave_the_archive_is_refused() {
        for text in [&b"../a"[..], b"a/..", b"a/../b", b"a\0b"] {
            assert!(ItemPath::new(text).is_none(), "{text:?}");
        }
        assert!(ItemPath::new(b"a/..b").is_some());
    }

    #[test]
    fn pfx_is_not_above_pfx2() {
        assert!(path(b"pfx/x").is_within(&path(b"pfx")));
        assert!(path(b"pfx").is_within(&path(b"pfx")));
        assert!(!path(b"pfx2").is_within(&path(b"pfx")));
        assert!(path(b"x").is_within(&ItemPath::root()));
    }

    #[test]
    fn raw_bytes_are_kept_and_shown_escaped() {
        let raw = path(b"d/\xff\nx");
        assert_eq!(raw.as_bytes(), b"d/\xff\nx");
        assert_eq!(raw.to_string(), "d/\\xff\\nx");
    }
}
