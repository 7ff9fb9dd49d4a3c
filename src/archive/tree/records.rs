//! The records of a leaf: plain numbers without gaps, so that their bytes can be written and read
//! directly.

use std::ops::Range;

use super::path_hash::PathHash;
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

/// A range in the texts of a leaf, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Text {
    start: u32,
    length: u32,
}

impl Text {
    pub const NONE: Text = Text { start: u32::MAX, length: u32::MAX };

    /// `None` if the text is too long, or too far behind.
    pub fn at(start: usize, length: usize) -> Option<Self> {
        let end = start.checked_add(length)?;
        u32::try_from(end).ok().filter(|end| *end < u32::MAX)?;
        Some(Text { start: start as u32, length: length as u32 })
    }

    pub fn range(self) -> Option<Range<usize>> {
        (self != Self::NONE).then(|| self.start as usize..self.start as usize + self.length as usize)
    }
}

impl Default for Text {
    fn default() -> Self {
        Text::NONE
    }
}

/// The kind of an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Kind {
    Directory,
    File,
    Symlink,
    /// A device, FIFO or socket.
    Special,
}

/// What an item is.
pub mod flag {
    /// The bits of a [`Kind`](super::Kind).
    pub const KIND: u32 = 3;
    /// Another name of the item at the path in `text`.
    pub const LINK: u32 = 4;
    /// borg put zeros where chunks were lost.
    pub const DAMAGED: u32 = 8;
    /// A directory that the archive has no item for.
    pub const MADE_UP: u32 = 16;
    /// Not shown; it only keeps its number.
    pub const LEFT_OUT: u32 = 32;
    /// Not shown, because its name is too long; but hard links may lead to it.
    pub const NAMELESS: u32 = 64;
}

#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ItemRecord {
    pub mtime: i64,
    pub atime: i64,
    pub ctime: i64,
    /// Of a file in bytes; of a device its number.
    pub size: u64,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// The number of an [`Owner`].
    pub owner: u32,
    /// The number of the directory in the leaf, or [`NO_DIRECTORY`].
    pub directory: u32,
    pub name: Text,
    /// The target of a symbolic link, or the path of a hard link's master.
    pub text: Text,
    /// The number of an [`ExtraRecord`], counted from 1; 0 for none.
    pub extra: u32,
    /// See [`flag`].
    pub flags: u32,
    /// Where its chunks begin in the list of the leaf; they end where those of the next item begin.
    pub chunks: u32,
}

/// The root of the archive is in no directory.
pub const NO_DIRECTORY: u32 = u32::MAX;

impl ItemRecord {
    pub fn kind(&self) -> Kind {
        [Kind::Directory, Kind::File, Kind::Symlink, Kind::Special][(self.flags & flag::KIND) as usize]
    }

    pub fn is(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }

    pub fn is_directory(&self) -> bool {
        self.kind() == Kind::Directory
    }
}

/// A directory of which the leaf has entries, or one above such a directory. The first one is the root.
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct DirectoryRecord {
    /// The hash of its path.
    pub hash: PathHash,
    pub name: Text,
    /// The number of the directory above it, which is lower than its own.
    pub parent: u32,
    /// Its entries in the list of names.
    pub first: u32,
    pub count: u32,
    /// How many of these are directories.
    pub directories: u32,
}

/// The spelling of an unusual path, such as `./a`.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct RawRecord {
    pub path: Text,
    pub item: u32,
}

/// The bytes of an item that are in chunks of zeros.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct HolesRecord {
    pub bytes: u64,
    pub item: u32,
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
}

#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct XattrRecord {
    pub name: Text,
    pub value: Text,
}

/// A chunk in the list of a leaf.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ChunkRecord {
    /// Where it ends in the content of its item.
    pub end: u64,
    pub id: [u8; 32],
    /// The bytes of the object.
    pub stored: u32,
    /// 1 if it consists of zeros.
    pub zeros: u32,
}

/// What a leaf knows about a path, by the hash of the path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Fact {
    pub hash: PathHash,
    /// The number of the leaf in its part.
    pub leaf: u32,
    /// A [class](class) in the upper two bits; the number of an item or a directory of the leaf.
    pub what: u32,
    /// Of a directory: how many entries the leaf has, and how many of these are directories.
    pub entries: u32,
    pub directories: u32,
}

/// The kinds of facts. Those that are looked for first come first.
pub mod class {
    /// An item with this path.
    pub const ITEM: u32 = 0;
    /// A directory with entries.
    pub const ENTRIES: u32 = 1;
    /// A directory above others, without entries of its own.
    pub const ABOVE: u32 = 2;
}

const CLASS: u32 = 30;

impl Fact {
    pub fn new(hash: PathHash, class: u32, number: usize) -> Self {
        let what = class << CLASS | number as u32;
        Fact { hash, leaf: 0, what, entries: 0, directories: 0 }
    }

    pub fn class(&self) -> u32 {
        self.what >> CLASS
    }

    pub fn number(&self) -> usize {
        (self.what & ((1 << CLASS) - 1)) as usize
    }

    /// The order in a table.
    pub fn key(&self) -> (PathHash, u32, u32, u32) {
        (self.hash, self.class(), self.leaf, self.what)
    }
}

/// The records in `bytes`. `None` if no number of records has this size.
pub fn records<T: FromZeros + FromBytes + IntoBytes>(bytes: &[u8]) -> Option<Vec<T>> {
    bytes.len().is_multiple_of(size_of::<T>()).then_some(())?;
    let mut records = T::new_vec_zeroed(bytes.len() / size_of::<T>()).ok()?;
    records.as_mut_bytes().copy_from_slice(bytes);
    Some(records)
}

/// Puts several arrays of bytes into one.
pub fn pack(sections: &[&[u8]]) -> Vec<u8> {
    let length = sections.iter().map(|section| size_of::<u64>() + section.len()).sum();
    let mut packed = Vec::with_capacity(length);
    sections.iter().for_each(|section| packed.extend((section.len() as u64).to_ne_bytes()));
    sections.iter().for_each(|section| packed.extend_from_slice(section));
    packed
}

/// The arrays that were packed. `None` if these are not so many.
pub fn unpack<const N: usize>(packed: &[u8]) -> Option<[&[u8]; N]> {
    let (lengths, mut rest) = packed.split_at_checked(N * size_of::<u64>())?;
    let (lengths, _) = lengths.as_chunks::<8>();
    let mut sections = [&[][..]; N];
    for (section, length) in sections.iter_mut().zip(lengths) {
        let length = usize::try_from(u64::from_ne_bytes(*length)).ok()?;
        (*section, rest) = rest.split_at_checked(length)?;
    }
    rest.is_empty().then_some(sections)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_where_it_was_put() {
        for (start, length) in [(0, 0), (7, 3), (1 << 31, 255)] {
            assert_eq!(Text::at(start, length).unwrap().range(), Some(start..start + length));
        }
        assert_eq!((Text::at(u32::MAX as usize, 0), Text::at(1 << 31, 1 << 31)), (None, None));
        assert_eq!(Text::NONE.range(), None);
    }

    #[test]
    fn what_was_packed_is_unpacked_and_nothing_else() {
        let packed = pack(&[b"one", b"", b"three"]);
        assert_eq!(unpack::<3>(&packed), Some([&b"one"[..], b"", b"three"]));
        assert_eq!(unpack::<2>(&packed), None);
        for length in 0..packed.len() {
            assert_eq!(unpack::<3>(&packed[..length]), None, "{length}");
        }
        let mut endless = packed;
        endless[..8].copy_from_slice(&u64::MAX.to_ne_bytes());
        assert_eq!(unpack::<3>(&endless), None);
    }
}
