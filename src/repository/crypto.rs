//! What a key does with an object: authentication, decryption, and the id of plain bytes.

use aes::Aes256;
use aes::cipher::{KeyIvInit, StreamCipher};
use ctr::Ctr128BE;
use ring::{digest, hmac};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::error::{Error, Result};
use super::id::Id;

/// How a repository is encrypted; the first byte of each of its objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    KeyFile = 0x00,
    /// Of borg before 1.0; such keys have become repokeys.
    Passphrase = 0x01,
    Plain = 0x02,
    RepoKey = 0x03,
    KeyFileBlake2 = 0x04,
    RepoKeyBlake2 = 0x05,
    AuthenticatedBlake2 = 0x06,
    Authenticated = 0x07,
}

/// How ids and MACs are made.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Family {
    Plain,
    HmacSha256,
    Blake2,
}

impl Mode {
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

    /// Whether the key is in a file of the user's.
    pub fn has_key_file(self) -> bool {
        matches!(self, Mode::KeyFile | Mode::KeyFileBlake2)
    }

    /// Whether objects are encrypted, and carry a MAC.
    pub fn is_encrypted(self) -> bool {
        !matches!(self, Mode::Plain | Mode::Authenticated | Mode::AuthenticatedBlake2)
    }

    /// Whether an object of type `byte` can be in a repository of this mode.
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

    /// Length in bytes of the keys for ids and MACs.
    pub fn hash_key_length(self) -> usize {
        if self.family() == Family::Blake2 { 128 } else { 32 }
    }
}

/// The secrets of a repository, as they stand in its key.
pub struct Secrets {
    pub encryption: Zeroizing<Vec<u8>>,
    pub mac: Zeroizing<Vec<u8>>,
    pub id: Zeroizing<Vec<u8>>,
    /// `None` where an old key does not tell.
    pub tam_required: Option<bool>,
}

/// Opens the objects of one repository.
pub struct Crypto {
    mode: Mode,
    /// Key of AES-256.
    cipher: Option<Zeroizing<[u8; 32]>>,
    mac: Hash,
    id: Hash,
    /// What TAM keys are derived from; empty in plain repositories.
    material: Zeroizing<Vec<u8>>,
}

/// 32 bytes that only someone with the key can make of some data.
enum Hash {
    Sha256,
    Hmac(hmac::Key),
    Blake2(Zeroizing<Vec<u8>>),
}

const MAC: usize = 32;
const NONCE: usize = 8;

impl Crypto {
    /// For a repository without encryption.
    pub fn plain() -> Self {
        let material = Zeroizing::default();
        Crypto { mode: Mode::Plain, cipher: None, mac: Hash::Sha256, id: Hash::Sha256, material }
    }

    /// # Errors
    /// `Integrity` when the secrets are not of the lengths that `mode` needs.
    pub fn new(mode: Mode, secrets: &Secrets) -> Result<Self> {
        let length = mode.hash_key_length();
        if secrets.id.len() != length || secrets.mac.len() != length || secrets.encryption.len() != 32 {
            return Err(Error::integrity("the key has secrets of a wrong length"));
        }
        let hash = |key: &Zeroizing<Vec<u8>>| match mode.family() {
            Family::Plain => Hash::Sha256,
            Family::HmacSha256 => Hash::Hmac(hmac::Key::new(hmac::HMAC_SHA256, key)),
            Family::Blake2 => Hash::Blake2(key.clone()),
        };
        let mut cipher = Zeroizing::new([0; 32]);
        cipher.copy_from_slice(&secrets.encryption);
        let material = [&secrets.id[..], &secrets.encryption, &secrets.mac].concat();
        Ok(Crypto {
            mode,
            cipher: mode.is_encrypted().then_some(cipher),
            mac: hash(&secrets.mac),
            id: hash(&secrets.id),
            material: material.into(),
        })
    }

    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// What keys for the authentication of metadata are derived from.
    pub fn material(&self) -> &[u8] {
        &self.material
    }

    /// Authenticates `object` and decrypts it in place; returns the compressed data.
    ///
    /// # Errors
    /// `Integrity`; nothing was decrypted then.
    pub fn open<'a>(&self, id: &Id, object: &'a mut [u8]) -> Result<&'a [u8]> {
        let (&mut kind, sealed) =
            object.split_first_mut().ok_or_else(|| Error::integrity(format!("object {id} is empty")))?;
        if !self.mode.takes(kind) {
            return Err(Error::integrity(format!("object {id} is of another key, type {kind:#04x}")));
        }
        let Some(key) = &self.cipher else { return Ok(sealed) };
        let (mac, rest) = sealed
            .split_first_chunk_mut::<MAC>()
            .filter(|(_, rest)| rest.len() >= NONCE)
            .ok_or_else(|| Error::integrity(format!("object {id} is too short")))?;
        if !self.mac.fits(rest, mac) {
            return Err(Error::integrity(format!("object {id} is not authentic")));
        }
        let (nonce, data) = rest.split_at_mut(NONCE);
        let mut block = [0; 16];
        block[16 - NONCE..].copy_from_slice(nonce);
        Ctr128BE::<Aes256>::new((&**key).into(), &block.into()).apply_keystream(data);
        Ok(data)
    }

    /// The id of an object with these plain bytes.
    pub fn id_of(&self, plain: &[u8]) -> Id {
        Id(self.id.of(plain))
    }

    /// # Errors
    /// `Integrity` when `plain` are not the bytes of the object `id`.
    pub fn check(&self, id: &Id, plain: &[u8]) -> Result<()> {
        if self.id.fits(plain, &id.0) {
            Ok(())
        } else {
            Err(Error::integrity(format!("object {id} holds other bytes than it should")))
        }
    }
}

impl Hash {
    fn of(&self, data: &[u8]) -> [u8; 32] {
        let mut hash = [0; 32];
        match self {
            Hash::Sha256 => hash.copy_from_slice(digest::digest(&digest::SHA256, data).as_ref()),
            Hash::Hmac(key) => hash.copy_from_slice(hmac::sign(key, data).as_ref()),
            // Not BLAKE2's own keyed mode: the key is hashed before the data.
            Hash::Blake2(key) => {
                let mut state = blake2b_simd::Params::new().hash_length(32).to_state();
                hash.copy_from_slice(state.update(key).update(data).finalize().as_bytes());
            }
        }
        hash
    }

    /// In constant time.
    fn fits(&self, data: &[u8], hash: &[u8; 32]) -> bool {
        self.of(data).ct_eq(hash).into()
    }
}

/// AES-256-CTR from counter 0 on, in place; how a key itself is encrypted.
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

    /// An object as borg would write it.
    fn seal(crypto: &Crypto, data: &[u8]) -> Vec<u8> {
        let mut sealed = [&[9; NONCE][..], data].concat();
        let mut block = [0; 16];
        block[8..].fill(9);
        let key = crypto.cipher.as_ref().unwrap();
        Ctr128BE::<Aes256>::new((&**key).into(), &block.into()).apply_keystream(&mut sealed[NONCE..]);
        [&[crypto.mode as u8][..], &crypto.mac.of(&sealed), &sealed].concat()
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
                // The one bit that turns the type of a repokey into that of its ancestor.
                let ancestor = mode == Mode::RepoKey && bit == 1;
                assert_eq!(refused, !ancestor, "{mode:?} bit {bit}");
                assert!(ancestor || before == flipped);
            }
        }
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
