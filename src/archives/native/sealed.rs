//! Blobs in an encrypted and authenticated file. Reading one returns exactly what was written, or
//! nothing.
//!
//! ```text
//! magic, 8 bytes | salt, 32 | blobs | where each blob ends, 8 bytes each | the number of blobs, 8
//! ```
//!
//! Each blob is followed by its tag (AES-256-GCM), and so is the list of their ends. The key is derived
//! from the secret, the salt and the subject of the file. It seals only one file, so the number of a blob
//! can be its nonce. The head is authenticated with each of them. A blob is opened when it is read.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::hkdf;
use ring::rand::{SecureRandom, SystemRandom};

use crate::archive::tree::{BlobWriter, Blobs, unusable};
use crate::error::{Error, Result};

/// Numbers have the machine's byte order, so files of a machine with another order do not count as
/// ours.
const MAGIC: u64 = u64::from_le_bytes(*b"BOBcat\0\x02");
const SALT: usize = 32;
const HEAD: usize = size_of::<u64>() + SALT;
const TAG: usize = 16;
const NUMBER: usize = size_of::<u64>();
/// The number that the list of ends is sealed with: no file has so many blobs.
const ENDS: u64 = u64::MAX;
/// Bytes that are written at once.
const BUFFER: usize = 1 << 20;
/// The largest blob that is read, in bytes.
const LARGEST: u64 = 1 << 30;

type Head = [u8; HEAD];

/// A file that is being written. Nothing can be read of it by others before it is finished.
pub struct Writer {
    file: Arc<File>,
    key: Arc<LessSafeKey>,
    head: Head,
    buffer: Vec<u8>,
    ends: Vec<u64>,
    /// The most bytes that the file may have.
    most: u64,
    failed: Arc<AtomicBool>,
}

impl Writer {
    /// Writes up to `most` bytes to `file`, which must be empty. Reading it needs the same `secret` and
    /// `about`. `failed` becomes true when something cannot be written.
    ///
    /// # Errors
    /// When the kernel has no random bytes.
    pub fn new(file: File, secret: &[u8], about: &[u8], most: u64, failed: Arc<AtomicBool>) -> Result<Self> {
        let mut salt = [0; SALT];
        let no_key = |_| Error::failed("the kernel gave no random key");
        SystemRandom::new().fill(&mut salt).map_err(no_key)?;
        let key = key(secret, &salt, about).ok_or_else(|| Error::failed("the cipher failed"))?;
        let head = head(&salt);
        let (file, key) = (Arc::new(file), Arc::new(key));
        Ok(Writer { file, key, head, buffer: head.to_vec(), ends: Vec::new(), most, failed })
    }

    /// The random number of the file.
    pub fn salt(&self) -> [u8; SALT] {
        salt_of(&self.head)
    }

    fn seal(&mut self, number: u64, bytes: &[u8]) -> Result<()> {
        let start = self.buffer.len();
        self.buffer.extend_from_slice(bytes);
        let (nonce, aad) = (nonce(number), Aad::from(&self.head));
        let tag = self.key.seal_in_place_separate_tag(nonce, aad, &mut self.buffer[start..]);
        self.buffer.extend_from_slice(tag.map_err(|_| Error::failed("the cipher failed"))?.as_ref());
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        let written = match self.ends.last() {
            Some(end) if *end > self.most => {
                Err(io::Error::other(format!("it has more than {} MB", self.most / 1_000_000)))
            }
            _ => (&*self.file).write_all(&self.buffer),
        };
        self.buffer.clear();
        written.map_err(|e| {
            self.failed.store(true, Ordering::Relaxed);
            Error::failed("cannot write the list of files").because(e)
        })
    }
}

impl BlobWriter for Writer {
    fn next(&self) -> u32 {
        self.ends.len() as u32
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let start = self.ends.last().copied().unwrap_or(HEAD as u64);
        self.seal(self.ends.len() as u64, bytes)?;
        self.ends.push(start + (bytes.len() + TAG) as u64);
        if self.buffer.len() >= BUFFER { self.flush() } else { Ok(()) }
    }

    fn blobs(&mut self) -> Result<Arc<dyn Blobs>> {
        self.flush()?;
        let (file, key) = (Arc::clone(&self.file), Arc::clone(&self.key));
        Ok(Arc::new(Sealed { file, key, head: self.head, ends: self.ends.clone() }))
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        let ends: Vec<u8> = self.ends.iter().flat_map(|end| end.to_ne_bytes()).collect();
        self.seal(ENDS, &ends)?;
        self.buffer.extend((self.ends.len() as u64).to_ne_bytes());
        self.flush()
    }
}

/// A file whose list of blobs is authentic.
pub struct Sealed {
    file: Arc<File>,
    key: Arc<LessSafeKey>,
    head: Head,
    ends: Vec<u64>,
}

impl Sealed {
    /// `None` if the file is of another kind, or its end was changed.
    pub fn open(file: File, secret: &[u8], about: &[u8]) -> Option<Self> {
        let mut head = [0; HEAD];
        file.read_exact_at(&mut head, 0).ok()?;
        let salt = salt_of(&head);
        if head != self::head(&salt) {
            return None;
        }
        let key = key(secret, &salt, about)?;
        let length = file.metadata().ok()?.len();
        let last = length.checked_sub(NUMBER as u64)?;
        let mut count = [0; NUMBER];
        file.read_exact_at(&mut count, last).ok()?;
        let list = u64::from_ne_bytes(count).checked_mul(NUMBER as u64)?.checked_add(TAG as u64)?;
        let start = last.checked_sub(list)?;
        let mut sealed = vec![0; usize::try_from(list).ok()?];
        file.read_exact_at(&mut sealed, start).ok()?;
        let opened = key.open_in_place(nonce(ENDS), Aad::from(&head), &mut sealed).ok()?;
        let (ends, _) = opened.as_chunks::<NUMBER>();
        let ends: Vec<u64> = ends.iter().map(|end| u64::from_ne_bytes(*end)).collect();
        let fits = ends.last().copied().unwrap_or(HEAD as u64) == start;
        fits.then(|| Sealed { file: Arc::new(file), key: Arc::new(key), head, ends })
    }

    /// The random number of the file.
    pub fn salt(&self) -> [u8; SALT] {
        salt_of(&self.head)
    }

    pub fn len(&self) -> u32 {
        self.ends.len() as u32
    }

    fn blob(&self, number: u32) -> Option<Vec<u8>> {
        let end = *self.ends.get(number as usize)?;
        let start = match number.checked_sub(1) {
            Some(before) => self.ends[before as usize],
            None => HEAD as u64,
        };
        let length = end.checked_sub(start).filter(|length| *length <= LARGEST)?;
        let mut sealed = vec![0; usize::try_from(length).ok()?];
        self.file.read_exact_at(&mut sealed, start).ok()?;
        let opened = self.key.open_in_place(nonce(number.into()), Aad::from(&self.head), &mut sealed).ok()?;
        let length = opened.len();
        sealed.truncate(length);
        Some(sealed)
    }
}

impl Blobs for Sealed {
    fn read(&self, number: u32) -> Result<Vec<u8>> {
        self.blob(number).ok_or_else(unusable)
    }

    fn memory(&self) -> usize {
        size_of_val(&*self.ends)
    }
}

fn head(salt: &[u8; SALT]) -> Head {
    let mut head = [0; HEAD];
    head[..NUMBER].copy_from_slice(&MAGIC.to_ne_bytes());
    head[NUMBER..].copy_from_slice(salt);
    head
}

fn salt_of(head: &Head) -> [u8; SALT] {
    let mut salt = [0; SALT];
    salt.copy_from_slice(&head[NUMBER..]);
    salt
}

fn key(secret: &[u8], salt: &[u8], about: &[u8]) -> Option<LessSafeKey> {
    let extracted = hkdf::Salt::new(hkdf::HKDF_SHA256, salt).extract(secret);
    let about = [about];
    let key = extracted.expand(&about, &AES_256_GCM).ok()?;
    Some(LessSafeKey::new(UnboundKey::from(key)))
}

fn nonce(blob: u64) -> Nonce {
    let mut bytes = [0; 12];
    bytes[..8].copy_from_slice(&blob.to_le_bytes());
    Nonce::assume_unique_for_key(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    fn read(bytes: &[u8], secret: &[u8], about: &[u8]) -> Option<Vec<Vec<u8>>> {
        let sealed = Sealed::open(file(bytes), secret, about)?;
        (0..sealed.len()).map(|number| sealed.blob(number)).collect()
    }

    fn written(blobs: &[&[u8]]) -> Vec<u8> {
        let file = tempfile::tempfile().unwrap();
        let kept = file.try_clone().unwrap();
        let mut writer = Writer::new(file, b"secret", b"about", u64::MAX, Arc::default()).unwrap();
        blobs.iter().for_each(|blob| writer.write(blob).unwrap());
        Box::new(writer).finish().unwrap();
        let mut bytes = vec![0; kept.metadata().unwrap().len() as usize];
        kept.read_exact_at(&mut bytes, 0).unwrap();
        bytes
    }

    #[test]
    fn what_was_written_is_read_and_is_not_readable_in_the_file() {
        let long: Vec<u8> = (0..2 * BUFFER + 77).map(|n| (n / 3) as u8).collect();
        let blobs = [&b"a name that nobody may see"[..], b"", &long, b"more"];
        let bytes = written(&blobs);
        assert_eq!(read(&bytes, b"secret", b"about").unwrap(), blobs);
        assert!(!bytes.windows(6).any(|w| w == b"nobody"));
        assert_ne!(bytes, written(&blobs), "no key seals two files");
    }

    #[test]
    fn any_other_byte_secret_or_subject_is_nothing() {
        let bytes = written(&[b"one", b"", b"three"]);
        for at in 0..bytes.len() {
            let mut wrong = bytes.clone();
            wrong[at] ^= 4;
            assert!(read(&wrong, b"secret", b"about").is_none(), "byte {at}");
            assert!(read(&bytes[..at], b"secret", b"about").is_none(), "cut off at {at}");
        }
        assert!(read(&[&bytes[..], b"x"].concat(), b"secret", b"about").is_none());
        assert!(read(&bytes, b"secrets", b"about").is_none());
        assert!(read(&bytes, b"secret", b"abou").is_none());
        assert!(read(&bytes, b"secret", b"about").is_some());
    }

    #[test]
    fn a_number_beyond_the_file_takes_no_memory() {
        let mut bytes = written(&[b"one", b"", b"three"]);
        let last = bytes.len() - NUMBER;
        for count in [u64::MAX, u64::MAX / 8, 1 << 40] {
            bytes[last..].copy_from_slice(&count.to_ne_bytes());
            assert!(Sealed::open(file(&bytes), b"secret", b"about").is_none());
        }
    }

    #[test]
    fn blobs_in_another_order_are_nothing() {
        let bytes = written(&[&[1; 100], &[2; 100]]);
        let (first, second) = (HEAD..HEAD + 100 + TAG, HEAD + 100 + TAG..HEAD + 2 * (100 + TAG));
        let swapped = [&bytes[..HEAD], &bytes[second.clone()], &bytes[first], &bytes[second.end..]].concat();
        assert!(Sealed::open(file(&swapped), b"secret", b"about").is_some(), "the list is right");
        assert!(read(&swapped, b"secret", b"about").is_none());
    }

    #[test]
    fn what_was_written_can_be_read_before_the_end() {
        let file = tempfile::tempfile().unwrap();
        let mut writer = Writer::new(file, b"s", b"a", u64::MAX, Arc::default()).unwrap();
        writer.write(b"one").unwrap();
        let blobs = writer.blobs().unwrap();
        writer.write(b"two").unwrap();
        assert_eq!(blobs.read(0).unwrap(), b"one");
        assert!(blobs.read(1).is_err());
        assert_eq!(writer.blobs().unwrap().read(1).unwrap(), b"two");
    }

    #[test]
    fn a_file_grows_no_larger_than_it_may() {
        let (file, failed) = (tempfile::tempfile().unwrap(), Arc::new(AtomicBool::new(false)));
        let kept = file.try_clone().unwrap();
        let mut writer = Writer::new(file, b"s", b"a", 3 << 20, Arc::clone(&failed)).unwrap();
        let written = (0..100).try_for_each(|_| writer.write(&[0; 100_000]));
        assert!(written.is_err() && failed.load(Ordering::Relaxed));
        assert!(kept.metadata().unwrap().len() <= 3 << 20);
    }
}
