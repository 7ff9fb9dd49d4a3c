//! The index that borg stores beside the segments: a hash table in a file, from the id of an object
//! to its place. It is read on demand, a page at a time, so nothing of it is held in memory, and a
//! disk error affects only one read.
//!
//! Opening it does not read it: the index of ten million objects has 400 MB. A wrong place shows itself,
//! because each object names itself and is authenticated. Only where an object is missing or wrong, the
//! whole index is compared with borg's checksum ([`Index::is_whole`]).

use std::fs::File;
use std::hash::Hasher;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Mutex;

use xxhash_rust::xxh64::Xxh64;

use super::id::Id;
use super::msgpack::{Reader, Token};

/// The place of an object: the number of the segment, and the offset of its entry in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    pub segment: u32,
    pub offset: u32,
}

const MAGIC: &[u8; 8] = b"BORG_IDX";
const HEADER: usize = 18;
const BUCKET: usize = 40;
/// The number of buckets in a read: at the usual load, one read is enough.
const BLOCK: usize = 100;
const EMPTY: u32 = u32::MAX;
const DELETED: u32 = u32::MAX - 1;

/// An open `index.N`.
pub struct Index {
    file: File,
    buckets: u32,
    name: String,
    /// Borg's checksums; `None` if there are none.
    digests: Option<Digests>,
    /// Whether the contents have these checksums, once somebody wanted to know.
    whole: Mutex<Option<bool>>,
}

impl Index {
    /// Opens the index of `transaction` in the repository `dir`. `None` if its length or its header
    /// is wrong, because the segments can replace it.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn open(dir: &Path, transaction: u32) -> io::Result<Option<Self>> {
        let name = format!("index.{transaction}");
        let file = File::open(dir.join(&name))?;
        let length = file.metadata()?.len();
        let mut header = [0; HEADER];
        if length < HEADER as u64 {
            return Ok(None);
        }
        file.read_exact_at(&mut header, 0)?;
        let word =
            |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let buckets = word(12);
        let fits = length == HEADER as u64 + u64::from(buckets) * BUCKET as u64;
        if &header[..8] != MAGIC || header[16..] != [32, 8] || buckets == 0 || !fits {
            return Ok(None);
        }
        let digests = Digests::read(&dir.join(format!("integrity.{transaction}")));
        if digests.as_ref().is_some_and(|known| known.header != Hashed::new(&name, &header).header()) {
            return Ok(None);
        }
        Ok(Some(Index { file, buckets, name, digests, whole: Mutex::default() }))
    }

    /// Whether the index is as borg wrote it, as far as borg left a checksum. The first call reads all
    /// of it.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn is_whole(&self) -> io::Result<bool> {
        let Some(known) = &self.digests else { return Ok(true) };
        let mut whole = self.whole.lock().unwrap_or_else(|e| e.into_inner());
        match *whole {
            Some(whole) => Ok(whole),
            None => Ok(*whole.insert(Digests::compute(&self.name, &self.file)? == *known)),
        }
    }

    /// # Errors
    /// When it cannot be read.
    pub fn find(&self, id: &Id) -> io::Result<Option<Place>> {
        let hash = u32::from_le_bytes([id.0[0], id.0[1], id.0[2], id.0[3]]);
        let mut at = hash % self.buckets;
        let mut left = self.buckets;
        let mut block = [0; BLOCK * BUCKET];
        while left > 0 {
            let count = (self.buckets - at).min(left).min(BLOCK as u32);
            let block = &mut block[..count as usize * BUCKET];
            self.file.read_exact_at(block, HEADER as u64 + u64::from(at) * BUCKET as u64)?;
            for bucket in block.chunks_exact(BUCKET) {
                let word = |at: usize| {
                    u32::from_le_bytes([bucket[at], bucket[at + 1], bucket[at + 2], bucket[at + 3]])
                };
                match word(32) {
                    EMPTY => return Ok(None),
                    DELETED => {}
                    segment if bucket[..32] == id.0 => return Ok(Some(Place { segment, offset: word(36) })),
                    _ => {}
                }
            }
            at = (at + count) % self.buckets;
            left -= count;
        }
        Ok(None)
    }
}

/// Borg's checksums of an index: of its header, and of all of it.
#[derive(PartialEq, Eq)]
struct Digests {
    header: String,
    all: String,
}

impl Digests {
    /// `None` if there are none, or they are of an unknown kind.
    fn read(path: &Path) -> Option<Self> {
        #[derive(serde::Deserialize)]
        struct Listed<'a> {
            algorithm: &'a str,
            digests: Names,
        }
        #[derive(serde::Deserialize)]
        struct Names {
            #[serde(rename = "HashHeader")]
            header: String,
            r#final: String,
        }
        let bytes = std::fs::read(path).ok()?;
        let mut reader = Reader::new(&bytes);
        let Ok(Token::Map(fields)) = reader.token() else { return None };
        for _ in 0..fields {
            if reader.token().ok()? == Token::Bytes(b"index") {
                let Ok(Token::Bytes(json)) = reader.token() else { return None };
                let listed: Listed = serde_json::from_slice(json).ok()?;
                let Names { header, r#final } = listed.digests;
                return (listed.algorithm == "XXH64").then_some(Digests { header, all: r#final });
            }
            reader.skip().ok()?;
        }
        None
    }

    fn compute(name: &str, file: &File) -> io::Result<Self> {
        let mut header = [0; HEADER];
        file.read_exact_at(&mut header, 0)?;
        let mut hashed = Hashed::new(name, &header);
        let header = hashed.header();
        let mut buffer = vec![0; 1 << 20];
        loop {
            match file.read_at(&mut buffer, hashed.position) {
                Ok(0) => break,
                Ok(n) => hashed.update(&buffer[..n]),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(Digests { header, all: hashed.close("final") })
    }
}

/// Like borg's IntegrityCheckedFile: names and positions are hashed between the bytes.
struct Hashed {
    hash: Xxh64,
    position: u64,
}

impl Hashed {
    fn new(name: &str, header: &[u8; HEADER]) -> Self {
        let mut hashed = Hashed { hash: Xxh64::new(0), position: 0 };
        hashed.part(name);
        hashed.update(header);
        hashed
    }

    fn update(&mut self, bytes: &[u8]) {
        self.hash.update(bytes);
        self.position += bytes.len() as u64;
    }

    fn part(&mut self, name: &str) {
        self.hash.update(format!("{:>10}", name.len()).as_bytes());
        self.hash.update(name.as_bytes());
    }

    /// The digest of the bytes up to here, which are the part `name`.
    fn close(&mut self, name: &str) -> String {
        self.part(name);
        self.hash.update(self.position.to_string().as_bytes());
        format!("{:016x}", self.hash.finish())
    }

    /// The digest of the header; must be called before anything else is hashed.
    fn header(&mut self) -> String {
        self.close("HashHeader")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A table of `buckets` buckets with the given contents.
    fn write(dir: &Path, buckets: u32, full: &[(u32, Id, u32, u32)]) {
        let mut bytes = MAGIC.to_vec();
        bytes.extend((full.len() as u32).to_le_bytes());
        bytes.extend(buckets.to_le_bytes());
        bytes.extend([32, 8]);
        for at in 0..buckets {
            let (id, segment, offset) = match full.iter().find(|(place, ..)| *place == at) {
                Some((_, id, segment, offset)) => (*id, *segment, *offset),
                None => (Id([0; 32]), EMPTY, 0),
            };
            bytes.extend(id.0);
            bytes.extend(segment.to_le_bytes());
            bytes.extend(offset.to_le_bytes());
        }
        std::fs::write(dir.join("index.5"), bytes).unwrap();
    }

    fn id(hash: u8, rest: u8) -> Id {
        let mut id = [rest; 32];
        id[..4].copy_from_slice(&[hash, 0, 0, 0]);
        Id(id)
    }

    #[test]
    fn probing_goes_on_past_others_and_tombstones_and_around_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let table = [(3, id(3, 1), 7, 8), (4, id(3, 2), DELETED, 9), (0, id(3, 3), 9, 10)];
        write(dir.path(), 5, &table);
        let index = Index::open(dir.path(), 5).unwrap().unwrap();
        assert_eq!(index.find(&id(3, 1)).unwrap(), Some(Place { segment: 7, offset: 8 }));
        assert_eq!(index.find(&id(3, 2)).unwrap(), None);
        assert_eq!(index.find(&id(3, 3)).unwrap(), Some(Place { segment: 9, offset: 10 }));
        assert_eq!(index.find(&id(1, 3)).unwrap(), None);
    }

    #[test]
    fn a_full_table_is_gone_through_once() {
        let dir = tempfile::tempdir().unwrap();
        let table: Vec<_> = (0..250).map(|at| (at, id(at as u8, 1), 1, at)).collect();
        write(dir.path(), 250, &table);
        let index = Index::open(dir.path(), 5).unwrap().unwrap();
        assert_eq!(index.find(&id(3, 9)).unwrap(), None);
        assert_eq!(index.find(&id(249, 1)).unwrap(), Some(Place { segment: 1, offset: 249 }));
    }

    #[test]
    fn a_table_that_is_cut_off_is_damaged() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), 5, &[]);
        let whole = std::fs::read(dir.path().join("index.5")).unwrap();
        for length in 0..whole.len() {
            std::fs::write(dir.path().join("index.5"), &whole[..length]).unwrap();
            assert!(Index::open(dir.path(), 5).unwrap().is_none(), "{length}");
        }
    }
}
