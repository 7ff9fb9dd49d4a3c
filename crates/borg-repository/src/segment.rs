//! Segment files: a magic number, then entries one after the other.

use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};

use super::id::Id;

/// The first bytes of a segment.
pub const MAGIC: &[u8; 8] = b"BORG_SEG";
const ATTIC: &[u8; 8] = b"ATTICSEG";
/// The size of crc, size and tag.
pub const HEADER: usize = 9;
/// The size of a PUT's header, with the id that follows.
pub const PUT_HEADER: usize = HEADER + 32;
/// The longest entry, in bytes.
const LARGEST_ENTRY: u32 = 20 << 20;
/// The longest object, in bytes.
pub const LARGEST_OBJECT: usize = LARGEST_ENTRY as usize - PUT_HEADER;
/// The entry at the end of a committed transaction, which never varies.
pub const COMMIT: [u8; HEADER] = [0x40, 0xf4, 0x3c, 0x25, 9, 0, 0, 0, 2];

/// The kind of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tag {
    Put,
    Delete,
    Commit,
}

/// The first nine bytes of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    crc: u32,
    /// The length of the entry with its header, in bytes.
    pub size: u32,
    pub tag: Tag,
}

impl Header {
    /// # Errors
    /// When no entry begins like this.
    pub fn parse(bytes: &[u8; HEADER]) -> Result<Self, &'static str> {
        let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let (crc, size) = (word(0), word(4));
        let tag = match bytes[8] {
            0 => Tag::Put,
            1 => Tag::Delete,
            2 => Tag::Commit,
            _ => return Err("an entry of an unknown type"),
        };
        let fits = match tag {
            Tag::Put => (PUT_HEADER as u32..=LARGEST_ENTRY).contains(&size),
            Tag::Delete => size as usize == PUT_HEADER,
            Tag::Commit => *bytes == COMMIT,
        };
        if fits { Ok(Header { crc, size, tag }) } else { Err("an entry of an invalid size") }
    }

    /// Whether the whole `entry` has the checksum of its header.
    pub fn fits(&self, entry: &[u8]) -> bool {
        crc32fast::hash(&entry[4..]) == self.crc
    }
}

/// An entry that changes the contents of the repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// An object was added.
    Put {
        /// The id of the object.
        id: Id,
        /// The offset of its entry in the segment, in bytes.
        offset: u32,
    },
    /// The object was deleted.
    Delete {
        /// The id of the object.
        id: Id,
    },
}

/// The reason why a segment cannot be read.
#[derive(Debug)]
pub enum Fault {
    Io(io::Error),
    Broken(&'static str),
    /// A segment of Attic, borg's predecessor.
    Attic,
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Fault::Broken("a truncated entry"),
            _ => Fault::Io(error),
        }
    }
}

/// Passes each change in `segment` to the callback, in order. Payloads are skipped, so a checksum
/// is verified only when the object is read. An empty segment is a deleted one.
///
/// # Errors
/// The reason why it cannot be read further; the changes before were passed on.
pub fn walk(segment: impl Read + Seek, mut each: impl FnMut(Change)) -> Result<(), Fault> {
    let mut segment = BufReader::new(segment);
    let length = segment.seek(SeekFrom::End(0))?;
    if length == 0 {
        return Ok(());
    }
    segment.rewind()?;
    let mut magic = [0; 8];
    segment.read_exact(&mut magic)?;
    match &magic {
        MAGIC => {}
        ATTIC => return Err(Fault::Attic),
        _ => return Err(Fault::Broken("a file that is not a segment")),
    }
    let mut offset = MAGIC.len() as u64;
    while !segment.fill_buf()?.is_empty() {
        let mut bytes = [0; HEADER];
        segment.read_exact(&mut bytes)?;
        let header = Header::parse(&bytes).map_err(Fault::Broken)?;
        let end = offset + u64::from(header.size);
        if end > length {
            return Err(Fault::Broken("a truncated entry"));
        }
        if header.tag != Tag::Commit {
            let mut id = Id([0; 32]);
            segment.read_exact(&mut id.0)?;
            let at = u32::try_from(offset).map_err(|_| Fault::Broken("a segment that is too large"))?;
            each(if header.tag == Tag::Put { Change::Put { id, offset: at } } else { Change::Delete { id } });
            segment.seek_relative(i64::from(header.size) - PUT_HEADER as i64)?;
        }
        offset = end;
    }
    Ok(())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::io::Cursor;

    pub fn entry(tag: u8, id: &Id, payload: &[u8]) -> Vec<u8> {
        let size = (PUT_HEADER + payload.len()) as u32;
        let mut rest = size.to_le_bytes().to_vec();
        rest.push(tag);
        rest.extend_from_slice(&id.0);
        rest.extend_from_slice(payload);
        [&crc32fast::hash(&rest).to_le_bytes()[..], &rest].concat()
    }

    fn changes(segment: &[u8]) -> Result<Vec<Change>, Fault> {
        let mut changes = Vec::new();
        walk(Cursor::new(segment), |change| changes.push(change)).map(|()| changes)
    }

    #[test]
    fn changes_come_in_order_and_payloads_are_passed_over() {
        let (a, b) = (Id([1; 32]), Id([2; 32]));
        let long = vec![7; 100_000];
        let segment = [&MAGIC[..], &entry(0, &a, &long), &entry(1, &b, b""), &entry(0, &b, b"x"), &COMMIT];
        let found = changes(&segment.concat()).unwrap();
        let second = 8 + 41 + 100_000 + 41;
        let expected = [
            Change::Put { id: a, offset: 8 },
            Change::Delete { id: b },
            Change::Put { id: b, offset: second },
        ];
        assert_eq!(found, expected);
        assert_eq!(changes(b"").unwrap(), []);
    }

    #[test]
    fn what_is_no_segment_or_is_cut_off_is_refused() {
        let whole = [&MAGIC[..], &entry(0, &Id([1; 32]), b"payload"), &COMMIT].concat();
        for length in 1..whole.len() {
            let at_a_border = length == 8 || length == 8 + 41 + 7;
            assert_eq!(changes(&whole[..length]).is_ok(), at_a_border, "{length}");
        }
        assert!(matches!(changes(b"ATTICSEG"), Err(Fault::Attic)));
        assert!(matches!(changes(b"BORG_SEX"), Err(Fault::Broken(_))));
    }

    #[test]
    fn a_size_that_no_entry_has_is_refused_before_it_is_read() {
        for (size, tag) in [(0, 0), (40, 0), ((20 << 20) + 1, 0), (42, 1), (10, 2), (41, 3)] {
            let mut header = [0; HEADER];
            header[4..8].copy_from_slice(&u32::to_le_bytes(size));
            header[8] = tag;
            assert!(Header::parse(&header).is_err(), "{size} {tag}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300)) {
            let _ = changes(&bytes);
            let _ = changes(&[&MAGIC[..], &bytes].concat());
        }
    }
}
