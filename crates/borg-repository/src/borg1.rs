//! The format of borg 1.x.

use std::path::PathBuf;
use std::sync::Arc;

use zeroize::Zeroizing;

use super::archive::Archive;
use super::compression::{Size, decompress};
use super::credentials::Credentials;
use super::crypto::{Crypto, Mode, Secrets};
use super::error::{Error, Result};
use super::format::Format;
use super::id::Id;
use super::key::{Locked, find_key_file};
use super::manifest::Manifest;
use super::security::Security;
use super::store::Store;

/// The largest plain metadata in bytes; borg itself accepts no more.
pub const LARGEST_METADATA: usize = 128 << 20;

/// A repository of borg 1.x whose key is open.
pub struct Borg1 {
    id: Id,
    crypto: Crypto,
    security: Option<Security>,
    /// Whether reading the repository needs a secret.
    secret: bool,
    tam_required: bool,
}

impl Borg1 {
    /// Opens the key of the repository in `store`, whose manifest begins with the byte `kind`.
    ///
    /// # Errors
    /// `Passphrase` and `NoKey` when the key cannot be opened; `Unsupported` when borg 1.x has no
    /// such keys, or the repository should be read without its key.
    pub fn unlock(store: &dyn Store, kind: u8, credentials: Credentials<'_>) -> Result<Self> {
        let mode = Mode::of(kind).ok_or_else(|| Error::unsupported(format!("keys of type {kind:#04x}")))?;
        let Credentials { key_files, passphrases, security, may_lack_key } = credentials;
        let id = store.id();
        let security = security.map(|rules| Security::new(rules, &id));
        if mode == Mode::Plain {
            return Ok(Borg1 { id, crypto: Crypto::plain(), security, secret: false, tam_required: false });
        }
        let (secrets, empty) = match unlock(store, mode, key_files, passphrases) {
            Err(Error::Passphrase(_) | Error::NoKey(_)) if may_lack_key && !mode.is_encrypted() => {
                return Err(Error::unsupported("reading without the key and its checks"));
            }
            unlocked => unlocked?,
        };
        // This is borg's view, too: a key that is stored with the data and needs no passphrase is
        // no secret.
        let secret = mode.has_key_file() || mode.is_encrypted() && !empty;
        let seen = || security.as_ref().is_some_and(Security::tam_required);
        let tam_required = secrets.tam_required.unwrap_or_else(seen);
        Ok(Borg1 { id, crypto: Crypto::new(mode, &secrets)?, security, secret, tam_required })
    }
}

impl Format for Borg1 {
    fn encryption(&self) -> &'static str {
        self.crypto.mode().name()
    }

    /// The manifest has no id of its own; MAC and TAM authenticate it.
    fn manifest(&self, object: &mut [u8]) -> Result<Manifest> {
        let data = self.crypto.open(&Id::MANIFEST, object)?;
        let packed = decompress(data, Size::AtMost(LARGEST_METADATA))?;
        let manifest = Manifest::parse(&packed, &self.crypto, self.tam_required)?;
        if let Some(security) = &self.security {
            security.check(self.crypto.mode(), self.secret, &manifest.timestamp)?;
        }
        Ok(manifest)
    }

    fn archive(&self, id: Id, plain: &[u8]) -> Result<Archive> {
        Archive::parse(id, plain, &self.crypto)
    }

    fn authenticate(&self, objects: &[(Id, &[u8])]) -> Vec<Result<()>> {
        self.crypto.authenticate(objects)
    }

    fn open(&self, object: &mut [u8], size: Size) -> Result<Vec<u8>> {
        decompress(self.crypto.decrypt(object), size)
    }

    fn check(&self, objects: &[(Id, &[u8])]) -> Vec<Result<()>> {
        self.crypto.check(objects)
    }

    fn id_of(&self, plain: &[u8]) -> Id {
        self.crypto.id_of(plain)
    }

    fn derive(&self, purpose: &[u8]) -> Option<Zeroizing<[u8; 32]>> {
        self.crypto.derive(purpose, &self.id)
    }
}

/// The secrets, and whether the empty passphrase opened them.
fn unlock(
    store: &dyn Store,
    mode: Mode,
    key_files: &[PathBuf],
    passphrases: &mut dyn FnMut() -> Option<Arc<Zeroizing<Vec<u8>>>>,
) -> Result<(Secrets, bool)> {
    let id = store.id();
    let (file, text) = if mode.has_key_file() {
        let (file, text) = find_key_file(key_files, &id)?;
        (Some(file), text)
    } else {
        (None, store.key()?)
    };
    if text.trim().is_empty() {
        return Err(Error::NoKey(id));
    }
    let locked = Locked::parse(&text)?;
    while let Some(passphrase) = passphrases() {
        if let Some(secrets) = locked.unlock(&passphrase, &id)? {
            return Ok((secrets, passphrase.is_empty()));
        }
    }
    Err(Error::Passphrase(file))
}
