//! The key of a repository: a blob that a passphrase opens, stored in the repository or in a file.

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::{hmac, pbkdf2};
use zeroize::Zeroizing;

use super::crypto::{Secrets, crypt_key};
use super::error::{Error, Result};
use super::id::Id;
use super::msgpack::{Reader, Stop, Token};

/// The most rounds of PBKDF2: more than any borg 1.x wrote, but still only seconds.
const MOST_ROUNDS: i64 = 50_000_000;
/// The longest text of a key, in bytes.
const LONGEST_TEXT: u64 = 64 << 10;
/// The beginning of a key file, before the id of its repository.
const FILE_MARK: &str = "BORG_KEY ";

/// A key that no passphrase has opened yet.
pub struct Locked {
    rounds: NonZeroU32,
    salt: Vec<u8>,
    hash: [u8; 32],
    data: Vec<u8>,
}

impl Locked {
    /// Parses base64 text, with or without white space.
    ///
    /// # Errors
    /// `Unsupported` for a key of a newer borg, `Integrity` for anything that is not a key.
    pub fn parse(text: &str) -> Result<Self> {
        let text: Zeroizing<String> = Zeroizing::new(text.split_whitespace().collect());
        let blob = STANDARD.decode(text.as_bytes()).map_err(|_| Error::integrity("the key is not base64"))?;
        Self::decode(&blob)
    }

    /// # Errors
    /// As [`Locked::parse`].
    pub fn decode(blob: &[u8]) -> Result<Self> {
        let [mut version, mut rounds] = [None; 2];
        let [mut algorithm, mut salt, mut hash, mut data] = [None; 4];
        fields(blob, |name, value| match (name, value) {
            (b"version", Token::Int(n)) => version = Some(n),
            (b"iterations", Token::Int(n)) => rounds = Some(n),
            (b"algorithm", Token::Bytes(b)) => algorithm = Some(b),
            (b"salt", Token::Bytes(b)) => salt = Some(b),
            (b"hash", Token::Bytes(b)) => hash = Some(b),
            (b"data", Token::Bytes(b)) => data = Some(b),
            _ => {}
        })?;
        if version != Some(1) || algorithm != Some(b"sha256") {
            return Err(Error::unsupported("a key of a newer borg"));
        }
        let rounds = rounds
            .filter(|n| *n <= MOST_ROUNDS)
            .and_then(|n| NonZeroU32::new(u32::try_from(n).ok()?))
            .ok_or_else(|| broken("invalid number of rounds"))?;
        let hash = hash.and_then(|h| h.try_into().ok()).ok_or_else(|| broken("invalid hash"))?;
        let (Some(salt), Some(data)) = (salt, data) else { return Err(broken("no salt or no data")) };
        Ok(Locked { rounds, salt: salt.to_vec(), hash, data: data.to_vec() })
    }

    /// Opens the key, which takes 10 to 20 ms. `None` if the passphrase is wrong.
    ///
    /// # Errors
    /// `Integrity` when the contents are not a key of the repository `id`.
    pub fn unlock(&self, passphrase: &[u8], id: &Id) -> Result<Option<Secrets>> {
        let mut key = Zeroizing::new([0; 32]);
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, self.rounds, &self.salt, passphrase, &mut *key);
        let mut plain = Zeroizing::new(self.data.clone());
        crypt_key(&key, &mut plain);
        let hash = hmac::Key::new(hmac::HMAC_SHA256, &*key);
        match hmac::verify(&hash, &plain, &self.hash) {
            Ok(()) => secrets(&plain, id).map(Some),
            Err(_) => Ok(None),
        }
    }
}

/// The secrets in an open key.
fn secrets(plain: &[u8], id: &Id) -> Result<Secrets> {
    let (mut version, mut repository, mut tam_required) = (None, None, None);
    let [mut encryption, mut mac, mut id_key] = [None; 3];
    fields(plain, |name, value| match (name, value) {
        (b"version", Token::Int(n)) => version = Some(n),
        (b"repository_id", Token::Bytes(b)) => repository = Id::from_bytes(b),
        (b"enc_key", Token::Bytes(b)) => encryption = Some(b),
        (b"enc_hmac_key", Token::Bytes(b)) => mac = Some(b),
        (b"id_key", Token::Bytes(b)) => id_key = Some(b),
        (b"tam_required", Token::Bool(b)) => tam_required = Some(b),
        _ => {}
    })?;
    if version != Some(1) {
        return Err(Error::unsupported("a key of a newer borg"));
    }
    if repository != Some(*id) {
        return Err(Error::integrity("the key belongs to another repository"));
    }
    let secret = |bytes: Option<&[u8]>| {
        bytes.map(|b| Zeroizing::new(b.to_vec())).ok_or_else(|| broken("a secret is missing"))
    };
    Ok(Secrets { encryption: secret(encryption)?, mac: secret(mac)?, id: secret(id_key)?, tam_required })
}

fn broken(what: &str) -> Error {
    Error::integrity(format!("the key is damaged: {what}"))
}

/// Passes names and values of the map in `bytes` to `each`; values that contain others are left
/// out.
fn fields<'a>(bytes: &'a [u8], mut each: impl FnMut(&'a [u8], Token<'a>)) -> Result<()> {
    let no_map = |_: Stop| broken("not a map");
    let mut reader = Reader::new(bytes);
    let Ok(Token::Map(count)) = reader.token() else { return Err(broken("not a map")) };
    for _ in 0..count {
        let Ok(Token::Bytes(name)) = reader.token() else { return Err(broken("not a map")) };
        match reader.peek().map_err(no_map)? {
            Token::Array(_) | Token::Map(_) => reader.skip().map_err(no_map)?,
            value => {
                reader.token().map_err(no_map)?;
                each(name, value);
            }
        }
    }
    Ok(())
}

/// Searches `places`, which are files or directories with key files, for the key file of the
/// repository `id`. Places that do not exist are skipped. Returns the file and the text of the key.
///
/// # Errors
/// `NoKey` when there is none, `Io` when a place cannot be read.
pub fn find_key_file(places: &[PathBuf], id: &Id) -> Result<(PathBuf, Zeroizing<String>)> {
    for place in places {
        let found = if place.is_dir() {
            in_directory(place, id)?
        } else {
            in_file(place, id)?.map(|text| (place.clone(), text))
        };
        if let Some(found) = found {
            return Ok(found);
        }
    }
    Err(Error::NoKey(*id))
}

fn in_directory(directory: &Path, id: &Id) -> Result<Option<(PathBuf, Zeroizing<String>)>> {
    let failed = || Error::io(format!("list {}", directory.display()));
    for entry in std::fs::read_dir(directory).map_err(failed())? {
        let path = entry.map_err(failed())?.path();
        if let Some(text) = in_file(&path, id)? {
            return Ok(Some((path, text)));
        }
    }
    Ok(None)
}

fn in_file(path: &Path, id: &Id) -> Result<Option<Zeroizing<String>>> {
    let length = match path.metadata() {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        meta => meta.map_err(Error::io(format!("read the key file {}", path.display())))?,
    };
    if !length.is_file() || length.len() > LONGEST_TEXT {
        return Ok(None);
    }
    let bytes = std::fs::read(path).map_err(Error::io(format!("read the key file {}", path.display())))?;
    let bytes = Zeroizing::new(bytes);
    Ok(std::str::from_utf8(&bytes).ok().and_then(|text| key_of(text, id)))
}

/// The text of the key in a key file, if that belongs to the repository `id`.
pub fn key_of(file: &str, id: &Id) -> Option<Zeroizing<String>> {
    let (first, key) = file.split_once('\n')?;
    let named = Id::from_hex(first.strip_prefix(FILE_MARK)?.trim_end())?;
    (named == *id).then(|| Zeroizing::new(key.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rmp::encode::{write_bool, write_map_len, write_sint, write_str_len};

    fn raw(out: &mut Vec<u8>, bytes: &[u8]) {
        write_str_len(out, bytes.len() as u32).unwrap();
        out.extend_from_slice(bytes);
    }

    /// A key written by borg, for a repository whose id consists of ones, with the passphrase
    /// "right".
    pub fn blob(algorithm: &[u8], rounds: i64) -> Vec<u8> {
        let mut plain = Vec::new();
        write_map_len(&mut plain, 6).unwrap();
        for (name, length) in [("enc_key", 32), ("enc_hmac_key", 128), ("id_key", 128)] {
            raw(&mut plain, name.as_bytes());
            raw(&mut plain, &vec![7; length]);
        }
        raw(&mut plain, b"repository_id");
        raw(&mut plain, &[1; 32]);
        raw(&mut plain, b"tam_required");
        write_bool(&mut plain, true).unwrap();
        raw(&mut plain, b"version");
        write_sint(&mut plain, 1).unwrap();

        let mut key = [0; 32];
        let count = NonZeroU32::new(rounds.clamp(1, 10) as u32).unwrap();
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, count, b"salt", b"right", &mut key);
        let hash = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), &plain);
        crypt_key(&key, &mut plain);

        let mut out = Vec::new();
        write_map_len(&mut out, 6).unwrap();
        for (name, value) in
            [("algorithm", algorithm), ("salt", b"salt"), ("hash", hash.as_ref()), ("data", &plain)]
        {
            raw(&mut out, name.as_bytes());
            raw(&mut out, value);
        }
        raw(&mut out, b"iterations");
        write_sint(&mut out, rounds).unwrap();
        raw(&mut out, b"version");
        write_sint(&mut out, 1).unwrap();
        out
    }

    #[test]
    fn only_the_right_passphrase_opens_it_and_only_for_its_repository() {
        let mut text = STANDARD.encode(blob(b"sha256", 10));
        text.insert_str(70, "\n\t");
        let locked = Locked::parse(&text).unwrap();
        let secrets = locked.unlock(b"right", &Id([1; 32])).unwrap().unwrap();
        assert_eq!(
            (secrets.encryption.len(), secrets.mac.len(), secrets.tam_required),
            (32, 128, Some(true))
        );
        assert!(locked.unlock(b"wrong", &Id([1; 32])).unwrap().is_none());
        assert!(matches!(locked.unlock(b"right", &Id([2; 32])), Err(Error::Integrity(_))));
    }

    #[test]
    fn a_key_of_a_newer_borg_is_not_supported_and_endless_rounds_are_not_begun() {
        assert!(Locked::decode(&blob(b"argon2 chacha20-poly1305", 10)).is_err_and(|e| e.is_unsupported()));
        for rounds in [0, -1, i64::from(u32::MAX)] {
            assert!(matches!(Locked::decode(&blob(b"sha256", rounds)), Err(Error::Integrity(_))), "{rounds}");
        }
    }

    #[test]
    fn a_key_file_is_found_among_others_by_the_id_of_its_repository() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, id: Id, key: &str| {
            std::fs::write(dir.path().join(name), format!("BORG_KEY {id}\n{key}\n")).unwrap();
        };
        write("a", Id([1; 32]), "one");
        write("b", Id([2; 32]), "two");
        std::fs::write(dir.path().join("c"), b"\xff\xfe").unwrap();
        let find = |place: PathBuf, id: u8| find_key_file(&[dir.path().join("none"), place], &Id([id; 32]));
        let (file, key) = find(dir.path().into(), 2).unwrap();
        assert_eq!((file, key.trim()), (dir.path().join("b"), "two"));
        assert_eq!(find(dir.path().join("a"), 1).unwrap().1.trim(), "one");
        assert!(matches!(find(dir.path().join("a"), 2), Err(Error::NoKey(_))));
        assert!(matches!(find(dir.path().into(), 3), Err(Error::NoKey(_))));
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300)) {
            let _ = Locked::decode(&bytes);
            let _ = secrets(&bytes, &Id([1; 32]));
        }
    }
}
