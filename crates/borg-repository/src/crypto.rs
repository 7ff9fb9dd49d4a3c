//! Operations with a key: authenticating and decrypting objects, and computing ids.

use aes::Aes256;
use aes::cipher::{KeyIvInit, StreamCipher};
use ctr::Ctr128BE;
use ring::{digest, hkdf, hmac};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::error::{Error, Result};
use super::id::Id;
use super::secret::Secret;

/// The encryption of a repository; the first byte of each of its objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// `keyfile`
    KeyFile = 0x00,
    /// From borg before 1.0; such keys have become repokeys.
    Passphrase = 0x01,
    /// `none`
    Plain = 0x02,
    /// `repokey`
    RepoKey = 0x03,
    /// `keyfile-blake2`
    KeyFileBlake2 = 0x04,
    /// `repokey-blake2`
    RepoKeyBlake2 = 0x05,
    /// `authenticated-blake2`
    AuthenticatedBlake2 = 0x06,
    /// `authenticated`
    Authenticated = 0x07,
}

/// How ids and MACs are computed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Family {
    Plain,
    HmacSha256,
    Blake2,
}

impl Mode {
    /// As `borg init --encryption` takes it.
    pub fn name(self) -> &'static str {
        match self {
            Mode::KeyFile => "keyfile",
            Mode::Passphrase | Mode::RepoKey => "repokey",
            Mode::Plain => "none",
            Mode::KeyFileBlake2 => "keyfile-blake2",
            Mode::RepoKeyBlake2 => "repokey-blake2",
            Mode::AuthenticatedBlake2 => "authenticated-blake2",
            Mode::Authenticated => "authenticated",
        }
    }

    /// `None` for a type that borg 1.x does not have.
    pub fn of(byte: u8) -> Option<Self> {
        use Mode::*;
        let all = [
            KeyFile,
            Passphrase,
            Plain,
            RepoKey,
            KeyFileBlake2,
            RepoKeyBlake2,
            AuthenticatedBlake2,
            Authenticated,
        ];
        all.into_iter().find(|mode| *mode as u8 == byte)
    }

    /// Whether the key is stored in a file of the user.
    pub fn has_key_file(self) -> bool {
        matches!(self, Mode::KeyFile | Mode::KeyFileBlake2)
    }

    /// Whether objects are encrypted and have a MAC.
    pub fn is_encrypted(self) -> bool {
        !matches!(self, Mode::Plain | Mode::Authenticated | Mode::AuthenticatedBlake2)
    }

    /// Whether an object of type `byte` may be in a repository of this mode.
    fn takes(self, byte: u8) -> bool {
        let old = matches!(self, Mode::RepoKey | Mode::Passphrase) && matches!(byte, 0x01 | 0x03);
        byte == self as u8 || old
    }

    fn family(self) -> Family {
        match self {
            Mode::Plain => Family::Plain,
            Mode::KeyFileBlake2 | Mode::RepoKeyBlake2 | Mode::AuthenticatedBlake2 => Family::Blake2,
            _ => Family::HmacSha256,
        }
    }

    /// The length in bytes of the keys for ids and MACs.
    pub fn hash_key_length(self) -> usize {
        if self.family() == Family::Blake2 { 128 } else { 32 }
    }
}

/// The secrets of a repository, as in its key.
pub struct Secrets {
    /// The key of the cipher.
    pub encryption: Zeroizing<Vec<u8>>,
    /// The key of the objects' MACs.
    pub mac: Zeroizing<Vec<u8>>,
    /// The key of the hash that makes ids.
    pub id: Zeroizing<Vec<u8>>,
    /// `None` if an old key does not say.
    pub tam_required: Option<bool>,
}

/// Opens the objects of one repository.
pub struct Crypto {
    mode: Mode,
    keys: Secret<Keys>,
}

/// All secrets. It owns no memory elsewhere.
struct Keys {
    /// The AES-256 key.
    cipher: Option<[u8; 32]>,
    mac: Hash,
    id: Hash,
    /// The secret for deriving TAM keys, and its length; empty in unencrypted repositories.
    material: ([u8; MATERIAL], usize),
}

/// Computes 32 bytes from data; only someone with the key can do this.
#[allow(clippy::large_enum_variant)]
enum Hash {
    Sha256,
    Hmac(hmac::Key),
    Blake2([u8; BLAKE2_KEY]),
}

/// The length of BLAKE2's keys here, and the longest material of all three secrets together.
const BLAKE2_KEY: usize = 128;
const MATERIAL: usize = BLAKE2_KEY + 32 + BLAKE2_KEY;

const MAC: usize = 32;
const NONCE: usize = 8;

impl Crypto {
    /// For a repository without encryption.
    pub fn plain() -> Self {
        let material = ([0; MATERIAL], 0);
        let keys = Keys { cipher: None, mac: Hash::Sha256, id: Hash::Sha256, material };
        Crypto { mode: Mode::Plain, keys: Secret::new(keys) }
    }

    /// # Errors
    /// `Integrity` when the secrets are not of the lengths that `mode` needs.
    pub fn new(mode: Mode, secrets: &Secrets) -> Result<Self> {
        let length = mode.hash_key_length();
        if secrets.id.len() != length || secrets.mac.len() != length || secrets.encryption.len() != 32 {
            return Err(Error::integrity("the key has secrets of a wrong length"));
        }
        let hash = |key: &[u8]| match mode.family() {
            Family::Plain => Hash::Sha256,
            Family::HmacSha256 => Hash::Hmac(hmac::Key::new(hmac::HMAC_SHA256, key)),
            Family::Blake2 => Hash::Blake2(std::array::from_fn(|n| key[n])),
        };
        // Filled in place, in guarded memory.
        let empty = Keys { cipher: None, mac: Hash::Sha256, id: Hash::Sha256, material: ([0; MATERIAL], 0) };
        let mut keys = Secret::new(empty);
        if mode.is_encrypted() {
            keys.cipher.insert([0; 32]).copy_from_slice(&secrets.encryption);
        }
        keys.mac = hash(&secrets.mac);
        keys.id = hash(&secrets.id);
        for part in [&secrets.id, &secrets.encryption, &secrets.mac] {
            let (material, used) = &mut keys.material;
            material[*used..*used + part.len()].copy_from_slice(part);
            *used += part.len();
        }
        Ok(Crypto { mode, keys })
    }

    /// The encryption of the repository.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// The secret from which keys for authenticating metadata are derived.
    pub fn material(&self) -> &[u8] {
        &self.keys.material.0[..self.keys.material.1]
    }

    /// A key for `purpose`, from which no other key can be computed.
    pub fn derive(&self, purpose: &[u8], repository: &Id) -> Option<Zeroizing<[u8; 32]>> {
        let extracted = hkdf::Salt::new(hkdf::HKDF_SHA256, &repository.0).extract(self.material());
        let mut key = Zeroizing::new([0; 32]);
        extracted.expand(&[purpose], hkdf::HKDF_SHA256).and_then(|okm| okm.fill(&mut *key)).ok()?;
        Some(key)
    }

    /// Authenticates `object` and decrypts it in place. Returns the compressed data.
    ///
    /// # Errors
    /// `Integrity`; then nothing was decrypted.
    pub fn open<'a>(&self, id: &Id, object: &'a mut [u8]) -> Result<&'a [u8]> {
        self.authenticate(&[(*id, &*object)]).remove(0)?;
        Ok(self.decrypt(object))
    }

    /// Whether each object is authentic. All are checked at once, because BLAKE2 hashes several
    /// pieces of data side by side in less than half the time.
    pub fn authenticate(&self, objects: &[(Id, &[u8])]) -> Vec<Result<()>> {
        let sealed: Vec<_> = objects.iter().map(|(id, object)| self.sealed(id, object)).collect();
        if self.keys.cipher.is_none() {
            return sealed.into_iter().map(|sealed| sealed.map(drop)).collect();
        }
        let data: Vec<&[u8]> = sealed.iter().flatten().map(|sealed| sealed.data).collect();
        let mut right = self.keys.mac.of_many(&data).into_iter();
        let one = |(sealed, (id, _)): (Result<Sealed<'_>>, &(Id, _))| {
            let sealed = sealed?;
            match right.next() {
                Some(mac) if mac.ct_eq(sealed.mac).into() => Ok(()),
                _ => Err(Error::integrity(format!("object {id} is not authentic"))),
            }
        };
        sealed.into_iter().zip(objects).map(one).collect()
    }

    fn sealed<'a>(&self, id: &Id, object: &'a [u8]) -> Result<Sealed<'a>> {
        let (kind, rest) =
            object.split_first().ok_or_else(|| Error::integrity(format!("object {id} is empty")))?;
        if !self.mode.takes(*kind) {
            return Err(Error::integrity(format!(
                "object {id} has the key type {kind:#04x}, which is not the one of the repository"
            )));
        }
        if self.keys.cipher.is_none() {
            return Ok(Sealed { mac: &[], data: rest });
        }
        match rest.split_at_checked(MAC) {
            Some((mac, data)) if data.len() >= NONCE => Ok(Sealed { mac, data }),
            _ => Err(Error::integrity(format!("object {id} is too short"))),
        }
    }

    /// Decrypts an authentic object in place. Returns the compressed data.
    pub fn decrypt<'a>(&self, object: &'a mut [u8]) -> &'a [u8] {
        let Some(key) = &self.keys.cipher else { return object.get(1..).unwrap_or_default() };
        let Some((head, data)) = object.split_at_mut_checked(1 + MAC + NONCE) else { return &[] };
        let mut block = [0; 16];
        block[16 - NONCE..].copy_from_slice(&head[1 + MAC..]);
        Ctr128BE::<Aes256>::new(key.into(), &block.into()).apply_keystream(data);
        data
    }

    /// The id of an object with these plain bytes.
    pub fn id_of(&self, plain: &[u8]) -> Id {
        Id(self.keys.id.of(plain))
    }

    /// Whether `plain` are the bytes of each object; all at once, like [`Crypto::authenticate`].
    pub fn check(&self, objects: &[(Id, &[u8])]) -> Vec<Result<()>> {
        let data: Vec<&[u8]> = objects.iter().map(|(_, plain)| *plain).collect();
        let right = self.keys.id.of_many(&data);
        let one = |(right, (id, _)): ([u8; 32], &(Id, _))| match right.ct_eq(&id.0).into() {
            true => Ok(()),
            false => {
                Err(Error::integrity(format!("object {id} does not have the bytes that its id stands for")))
            }
        };
        right.into_iter().zip(objects).map(one).collect()
    }
}

/// The parts of an encrypted object.
struct Sealed<'a> {
    /// Empty if there is none.
    mac: &'a [u8],
    /// The bytes that the MAC covers.
    data: &'a [u8],
}

impl Hash {
    fn of(&self, data: &[u8]) -> [u8; 32] {
        let mut hash = [0; 32];
        match self {
            Hash::Sha256 => hash.copy_from_slice(digest::digest(&digest::SHA256, data).as_ref()),
            Hash::Hmac(key) => hash.copy_from_slice(hmac::sign(key, data).as_ref()),
            Hash::Blake2(key) => {
                hash.copy_from_slice(blake2(key).update(data).finalize().as_bytes());
            }
        }
        hash
    }

    /// Hashes several pieces of data.
    fn of_many(&self, data: &[&[u8]]) -> Vec<[u8; 32]> {
        let Hash::Blake2(key) = self else { return data.iter().map(|one| self.of(one)).collect() };
        let mut states: Vec<_> = data.iter().map(|_| blake2(key)).collect();
        // When a short one ends, another short one takes its lane, so the longest go first.
        let mut jobs: Vec<_> = states.iter_mut().zip(data).collect();
        jobs.sort_by_key(|(_, data)| std::cmp::Reverse(data.len()));
        blake2b_simd::many::update_many(jobs);
        let hash = |state: blake2b_simd::State| {
            let mut hash = [0; 32];
            hash.copy_from_slice(state.finalize().as_bytes());
            hash
        };
        states.into_iter().map(hash).collect()
    }
}

/// Not BLAKE2's own keyed mode: the hash is over the key, followed by the data.
fn blake2(key: &[u8]) -> blake2b_simd::State {
    let mut state = blake2b_simd::Params::new().hash_length(32).to_state();
    state.update(key);
    state
}

/// AES-256-CTR in place, from counter 0. Keys themselves are encrypted like this.
pub fn crypt_key(key: &[u8; 32], data: &mut [u8]) {
    Ctr128BE::<Aes256>::new(key.into(), &[0; 16].into()).apply_keystream(data);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crypto(mode: Mode) -> Crypto {
        let length = mode.hash_key_length();
        Crypto::new(
            mode,
            &Secrets {
                encryption: vec![1; 32].into(),
                mac: vec![2; length].into(),
                id: vec![3; length].into(),
                tam_required: Some(true),
            },
        )
        .unwrap()
    }

    /// An object as borg writes it.
    fn seal(crypto: &Crypto, data: &[u8]) -> Vec<u8> {
        let mut sealed = [&[9; NONCE][..], data].concat();
        let mut block = [0; 16];
        block[8..].fill(9);
        let key = crypto.keys.cipher.as_ref().unwrap();
        Ctr128BE::<Aes256>::new(key.into(), &block.into()).apply_keystream(&mut sealed[NONCE..]);
        [&[crypto.mode as u8][..], &crypto.keys.mac.of(&sealed), &sealed].concat()
    }

    #[test]
    fn a_flipped_bit_anywhere_is_found_before_anything_is_decrypted() {
        for mode in [Mode::RepoKey, Mode::RepoKeyBlake2, Mode::KeyFile, Mode::KeyFileBlake2] {
            let crypto = crypto(mode);
            let sealed = seal(&crypto, b"compressed data");
            assert_eq!(crypto.open(&Id::MANIFEST, &mut sealed.clone()).unwrap(), b"compressed data");
            for bit in 0..sealed.len() * 8 {
                let mut flipped = sealed.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                let before = flipped.clone();
                let refused = crypto.open(&Id::MANIFEST, &mut flipped).is_err();
                // The bit that turns the type of a repokey into that of its predecessor.
                let ancestor = mode == Mode::RepoKey && bit == 1;
                assert_eq!(refused, !ancestor, "{mode:?} bit {bit}");
                assert!(ancestor || before == flipped);
            }
        }
    }

    #[test]
    fn many_at_once_are_told_apart_as_one_by_one() {
        for mode in [Mode::RepoKey, Mode::RepoKeyBlake2] {
            let crypto = crypto(mode);
            let mut objects: Vec<Vec<u8>> =
                (0..9).map(|n| seal(&crypto, &vec![n; usize::from(n) * 700])).collect();
            objects[3][50] ^= 1;
            objects[5] = vec![mode as u8; 9];
            objects[6].clear();
            let listed: Vec<(Id, &[u8])> = objects.iter().map(|o| (Id::MANIFEST, &**o)).collect();
            let right: Vec<bool> = crypto.authenticate(&listed).iter().map(Result::is_ok).collect();
            assert_eq!(right, [true, true, true, false, true, false, false, true, true], "{mode:?}");
            let ids: Vec<Id> = objects.iter().map(|o| crypto.id_of(o)).collect();
            let mut plain: Vec<(Id, &[u8])> = ids.into_iter().zip(objects.iter().map(|o| &**o)).collect();
            assert!(crypto.check(&plain).iter().all(Result::is_ok));
            plain[7].1 = b"other";
            let wrong: Vec<usize> = (0..9).filter(|n| crypto.check(&plain)[*n].is_err()).collect();
            assert_eq!(wrong, [7]);
        }
    }

    #[test]
    fn derived_keys_differ_by_purpose_repository_and_key() {
        let (one, other) = (Id([1; 32]), Id([2; 32]));
        let derive = |mode, purpose: &[u8], id| crypto(mode).derive(purpose, id).unwrap();
        let key = derive(Mode::RepoKey, b"a", &one);
        assert_eq!(key, derive(Mode::RepoKey, b"a", &one));
        assert_ne!(key, derive(Mode::RepoKey, b"b", &one));
        assert_ne!(key, derive(Mode::RepoKey, b"a", &other));
        assert_ne!(key, derive(Mode::RepoKeyBlake2, b"a", &one));
    }

    #[test]
    fn an_object_of_any_length_is_looked_at_without_panic() {
        for mode in [Mode::RepoKey, Mode::Authenticated] {
            for length in 0..60 {
                let _ = crypto(mode).open(&Id::MANIFEST, &mut vec![mode as u8; length]);
            }
        }
    }

    #[test]
    fn an_object_of_another_mode_is_refused() {
        let data = [0x02, 0, 0, 1];
        assert!(Crypto::plain().open(&Id::MANIFEST, &mut data.clone()).is_ok());
        assert!(crypto(Mode::RepoKey).open(&Id::MANIFEST, &mut data.clone()).is_err());
        assert!(crypto(Mode::Authenticated).open(&Id::MANIFEST, &mut data.clone()).is_err());
    }
}
