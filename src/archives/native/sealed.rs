//! Arrays of bytes in an encrypted and authenticated file. Reading it returns exactly what was
//! written, or nothing.
//!
//! ```text
//! magic, 8 bytes | salt, 32 | length of each section, 8 each | blocks of each section
//! ```
//!
//! A section is divided into blocks of 1 MiB, the last one shorter, each followed by its tag
//! (AES-256-GCM). The key is derived from the secret, the salt and the subject of the file. It
//! seals only one file, so the number of a block can be its nonce. Everything before the blocks is
//! authenticated with each of them. Blocks are opened on all cores, in place.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;

use parking_lot::Mutex;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, Tag, UnboundKey};
use ring::hkdf;
use ring::rand::{SecureRandom, SystemRandom};

/// Numbers have the machine's byte order, so files of a machine with another order do not count as
/// ours.
const MAGIC: u64 = u64::from_le_bytes(*b"BOBcat\0\x01");
const SALT: usize = 32;
const TAG: usize = 16;
const BLOCK: usize = 1 << 20;
/// Threads that open blocks.
const THREADS: usize = 4;

/// Writes `sections`. Reading them needs the same `secret` and `about`.
///
/// # Errors
/// Those of `output`, and when the kernel has no random bytes.
pub fn write(mut output: impl Write, secret: &[u8], about: &[u8], sections: &[&[u8]]) -> io::Result<()> {
    let mut salt = [0; SALT];
    let to_error = |_| io::Error::other("the cipher failed");
    SystemRandom::new().fill(&mut salt).map_err(to_error)?;
    let key = key(secret, &salt, about).ok_or_else(|| io::Error::other("the key failed"))?;
    let mut head = head_start(&salt);
    sections.iter().for_each(|section| head.extend((section.len() as u64).to_ne_bytes()));
    output.write_all(&head)?;
    let mut sealed = Vec::with_capacity(BLOCK);
    for (number, block) in (0..).zip(sections.iter().flat_map(|section| section.chunks(BLOCK))) {
        sealed.clear();
        sealed.extend_from_slice(block);
        let tag = key.seal_in_place_separate_tag(nonce(number), Aad::from(&head), &mut sealed);
        output.write_all(&sealed)?;
        output.write_all(tag.map_err(to_error)?.as_ref())?;
    }
    output.flush()
}

/// A file whose length is right; nothing is authenticated yet.
pub struct Sealed<'a, const N: usize> {
    file: &'a File,
    head: Vec<u8>,
    key: LessSafeKey,
    pub lengths: [usize; N],
}

impl<'a, const N: usize> Sealed<'a, N> {
    /// `None` if the file is of another kind, or truncated.
    pub fn open(file: &'a File, secret: &[u8], about: &[u8]) -> Option<Self> {
        let mut head = vec![0; size_of::<u64>() + SALT + N * size_of::<u64>()];
        file.read_exact_at(&mut head, 0).ok()?;
        let (start, rest) = head.split_at(size_of::<u64>() + SALT);
        let salt = start.last_chunk::<SALT>()?;
        if start != head_start(salt) {
            return None;
        }
        let (numbers, _) = rest.as_chunks::<8>();
        let mut lengths = [0; N];
        let mut whole = head.len() as u64;
        for (length, bytes) in lengths.iter_mut().zip(numbers) {
            let long = u64::from_ne_bytes(*bytes);
            *length = usize::try_from(long).ok()?;
            whole = whole.checked_add(long)?.checked_add(long.div_ceil(BLOCK as u64) * TAG as u64)?;
        }
        (file.metadata().ok()?.len() == whole).then_some(())?;
        let key = key(secret, salt, about)?;
        Some(Sealed { file, head, key, lengths })
    }

    /// Fills `sections`, which must have the [lengths](Sealed::lengths). `None` if any byte of the
    /// file was changed: then the sections must not be used.
    pub fn read(&self, sections: [&mut [u8]; N]) -> Option<()> {
        let mut at = self.head.len() as u64;
        let blocks = sections.into_iter().flat_map(|section| section.chunks_mut(BLOCK));
        let blocks = (0..).zip(blocks).map(|(number, block)| {
            let start = at;
            at += (block.len() + TAG) as u64;
            (number, start, block)
        });
        let blocks = Mutex::new(blocks.collect::<Vec<_>>().into_iter());
        let open_all = || {
            loop {
                let next = blocks.lock().next();
                let Some((number, start, block)) = next else { return Some(()) };
                self.read_block(number, start, block)?;
            }
        };
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(THREADS);
        std::thread::scope(|scope| {
            let others: Vec<_> = (1..threads).map(|_| scope.spawn(open_all)).collect();
            let mine = open_all();
            others.into_iter().map(|other| other.join().ok().flatten()).fold(mine, Option::and)
        })
    }

    fn read_block(&self, number: u64, start: u64, block: &mut [u8]) -> Option<()> {
        let mut tag = [0; TAG];
        self.file.read_exact_at(block, start).ok()?;
        self.file.read_exact_at(&mut tag, start + block.len() as u64).ok()?;
        let aad = Aad::from(&self.head);
        let opened = self.key.open_in_place_separate_tag(nonce(number), aad, Tag::from(tag), block, 0..);
        opened.ok().map(|_| ())
    }
}

fn head_start(salt: &[u8; SALT]) -> Vec<u8> {
    [&MAGIC.to_ne_bytes()[..], salt].concat()
}

fn key(secret: &[u8], salt: &[u8], about: &[u8]) -> Option<LessSafeKey> {
    let extracted = hkdf::Salt::new(hkdf::HKDF_SHA256, salt).extract(secret);
    let about = [about];
    let key = extracted.expand(&about, &AES_256_GCM).ok()?;
    Some(LessSafeKey::new(UnboundKey::from(key)))
}

fn nonce(block: u64) -> Nonce {
    let mut bytes = [0; 12];
    bytes[..8].copy_from_slice(&block.to_le_bytes());
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

    fn read(bytes: &[u8], secret: &[u8], about: &[u8]) -> Option<[Vec<u8>; 3]> {
        let file = file(bytes);
        let sealed = Sealed::<3>::open(&file, secret, about)?;
        let mut out = sealed.lengths.map(|length| vec![0; length]);
        sealed.read(out.each_mut().map(|section| &mut section[..]))?;
        Some(out)
    }

    fn written(sections: &[&[u8]]) -> Vec<u8> {
        let mut bytes = Vec::new();
        write(&mut bytes, b"secret", b"about", sections).unwrap();
        bytes
    }

    #[test]
    fn what_was_written_is_read_and_is_not_readable_in_the_file() {
        let long: Vec<u8> = (0..2 * BLOCK + 77).map(|n| (n / 3) as u8).collect();
        let bytes = written(&[b"a name that nobody may see", b"", &long]);
        let [name, empty, rest] = read(&bytes, b"secret", b"about").unwrap();
        assert!(name == b"a name that nobody may see" && empty.is_empty() && rest == long);
        assert!(!bytes.windows(6).any(|w| w == b"nobody"));
        assert_ne!(bytes, written(&[b"a name that nobody may see", b"", &long]), "no key seals two files");
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
    fn a_length_beyond_the_file_takes_no_memory() {
        let mut bytes = written(&[b"one", b"", b"three"]);
        bytes[40..48].copy_from_slice(&(u64::MAX / 2).to_ne_bytes());
        assert!(Sealed::<3>::open(&file(&bytes), b"secret", b"about").is_none());
    }

    #[test]
    fn blocks_in_another_order_are_nothing() {
        let block = |n: u8| vec![n; BLOCK];
        let bytes = written(&[&[block(1), block(2)].concat(), b"", b""]);
        let start = bytes.len() - 2 * (BLOCK + TAG);
        let (first, second) = bytes[start..].split_at(BLOCK + TAG);
        let swapped = [&bytes[..start], second, first].concat();
        assert!(read(&swapped, b"secret", b"about").is_none());
    }
}
