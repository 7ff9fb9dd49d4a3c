//! TAM: how the manifest and the metadata of archives show that someone with the key wrote them.

use ring::{hkdf, hmac};
use subtle::ConstantTimeEq;

use super::crypto::{Crypto, Mode};
use super::msgpack::{Reader, Stop, Token};

/// The result of checking a TAM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Authenticity {
    /// Someone with the key wrote exactly these bytes.
    Authenticated,
    /// There is none. Old versions of borg wrote none, but neither would a forger.
    Missing,
    /// It belongs to other bytes. Borg up to 1.2.4 left such when it renamed an archive, but so
    /// would a forger.
    Wrong,
    /// It is of an unknown kind.
    Unknown,
}

/// The purpose of a TAM's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Context {
    Manifest,
    Archive,
}

impl Context {
    fn name(self) -> &'static [u8] {
        match self {
            Context::Manifest => b"manifest",
            Context::Archive => b"archive",
        }
    }
}

const TYPE: &[u8] = b"HKDF_HMAC_SHA512";
const LENGTH: usize = 64;

/// The value of the field `tam`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tam<'a> {
    kind: Option<&'a [u8]>,
    mac: Option<&'a [u8]>,
    salt: Option<&'a [u8]>,
}

impl<'a> Tam<'a> {
    /// Reads it. An invalid value is reported as wrong later.
    ///
    /// # Errors
    /// When there is no value.
    pub fn read(reader: &mut Reader<'a>) -> Result<Self, Stop> {
        let mut tam = Tam::default();
        let Token::Map(fields) = reader.peek()? else {
            reader.skip()?;
            return Ok(tam);
        };
        reader.token()?;
        for _ in 0..fields {
            let field = match reader.token()? {
                Token::Bytes(b"type") => &mut tam.kind,
                Token::Bytes(b"hmac") => &mut tam.mac,
                Token::Bytes(b"salt") => &mut tam.salt,
                Token::Bytes(_) => {
                    reader.skip()?;
                    continue;
                }
                _ => return Err(Stop::Broken("a field without a name")),
            };
            match reader.peek()? {
                Token::Bytes(bytes) => *field = Some(bytes),
                _ => *field = None,
            }
            reader.skip()?;
        }
        Ok(tam)
    }

    /// Checks whether it is the TAM of `packed`, the bytes that it was read from.
    pub fn judge(&self, packed: &[u8], context: Context, crypto: &Crypto) -> Authenticity {
        if self.kind.is_some_and(|kind| kind != TYPE) {
            return Authenticity::Unknown;
        }
        let (Some(mac), Some(salt)) = (self.mac, self.salt) else { return Authenticity::Wrong };
        if mac.len() != LENGTH || salt.len() != LENGTH {
            return Authenticity::Wrong;
        }
        // Like borg: the first place with these bytes counts as the field.
        let Some(at) = memchr::memmem::find(packed, mac) else { return Authenticity::Wrong };
        let key = key(salt, context, crypto);
        let mut signing = hmac::Context::with_key(&key);
        signing.update(&packed[..at]);
        signing.update(&[0; LENGTH]);
        signing.update(&packed[at + LENGTH..]);
        let right = signing.sign();
        if right.as_ref().ct_eq(mac).into() { Authenticity::Authenticated } else { Authenticity::Wrong }
    }
}

fn key(salt: &[u8], context: Context, crypto: &Crypto) -> hmac::Key {
    if crypto.mode() == Mode::Plain {
        return hmac::Key::new(hmac::HMAC_SHA512, &[salt, context.name()].concat());
    }
    let info = [b"borg-metadata-authentication-", context.name()];
    let extracted = hkdf::Salt::new(hkdf::HKDF_SHA512, salt).extract(crypto.material());
    let expanded = extracted.expand(&info, hmac::HMAC_SHA512);
    expanded.map(Into::into).unwrap_or_else(|ring::error::Unspecified| {
        unreachable!("the key of HMAC-SHA512 is as long as one block of HKDF-SHA512")
    })
}
