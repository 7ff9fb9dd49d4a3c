//! The records of a tree: plain numbers without gaps, so that their bytes can be written and read
//! directly.

use std::ops::Range;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// A range in the texts of a tree: offset (40 bits) and length (24 bits) in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Text {
    low: u32,
    high: u32,
}

/// The longest text in bytes: no path is longer.
const LONGEST: usize = (1 << 24) - 2;
const MOST: usize = 1 << 40;

impl Text {
    pub const NONE: Text = Text { low: u32::MAX, high: u32::MAX };

    /// `None` if the text is too long, or its offset too large.
    pub fn at(offset: usize, length: usize) -> Option<Self> {
        if length > LONGEST || offset >= MOST {
            return None;
        }
        let packed = (offset as u64) << 24 | length as u64;
        Some(Text { low: packed as u32, high: (packed >> 32) as u32 })
    }

    pub fn of_halves(low: u32, high: u32) -> Self {
        Text { low, high }
    }

    pub fn halves(self) -> [u32; 2] {
        [self.low, self.high]
    }

    pub fn range(self) -> Option<Range<usize>> {
        if self == Self::NONE {
            return None;
        }
        let packed = u64::from(self.high) << 32 | u64::from(self.low);
        let (offset, length) = ((packed >> 24) as usize, packed as usize & 0xff_ffff);
        Some(offset..offset + length)
    }
}

impl Default for Text {
    fn default() -> Self {
        Text::NONE
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Kind {
    Directory,
    File,
    Symlink,
    Special,
}

impl Kind {
    pub fn of(number: u32) -> Self {
        [Kind::Directory, Kind::File, Kind::Symlink].get(number as usize).copied().unwrap_or(Kind::Special)
    }
}

#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct NodeRecord {
    pub mtime: i64,
    pub atime: i64,
    pub ctime: i64,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub nlink: u32,
    /// A [`Kind`].
    pub kind: u32,
    /// For a directory: parent, first entry, number of entries. For a file: the content. For a
    /// symbolic link: the halves of its text. For anything else: the halves of its device number.
    pub body: [u32; 3],
    /// The number of an [`Owner`].
    pub owner: u32,
    /// The number of an [`ExtraRecord`], counted from 1; 0 for none.
    pub extra: u32,
}

/// A name in a directory.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct NameRecord {
    pub name: Text,
    pub node: u32,
}

/// A path in the archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Place {
    pub directory: Text,
    pub name: Text,
}

#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ContentRecord {
    pub size: u64,
    pub place: Place,
    pub item: u32,
    pub damaged: u32,
}

/// How many bytes with the same path are before and after those of a content.
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Neighbours {
    pub before: u64,
    pub after: u64,
    pub content: u32,
    pub unused: u32,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Owner {
    pub user: Text,
    pub group: Text,
}

#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ExtraRecord {
    pub acl_access: Text,
    pub acl_default: Text,
    /// The index of its first xattr, and their number.
    pub first: u32,
    pub count: u32,
    pub flags: u32,
    pub unused: u32,
}

#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct XattrRecord {
    pub name: Text,
    pub value: Text,
}

pub fn stretch(texts: &[u8], text: Text) -> &[u8] {
    stretch_if_any(texts, text).unwrap_or_default()
}

pub fn stretch_if_any(texts: &[u8], text: Text) -> Option<&[u8]> {
    texts.get(text.range()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_where_it_was_put() {
        for (offset, length) in [(0, 0), (7, 3), (MOST - 1, LONGEST), (1 << 32, 255)] {
            let text = Text::at(offset, length).unwrap();
            let [low, high] = text.halves();
            assert_eq!(Text::of_halves(low, high).range(), Some(offset..offset + length));
        }
        assert_eq!((Text::at(MOST, 0), Text::at(0, LONGEST + 1)), (None, None));
        assert_eq!(Text::NONE.range(), None);
    }
}
