//! What differs between the formats of repositories.

use zeroize::Zeroizing;

use super::archive::Archive;
use super::compression::Size;
use super::error::Result;
use super::id::Id;
use super::manifest::Manifest;

/// How the objects of a repository are read: which bytes are authentic, what they contain, and what
/// they mean. [`Repository`](crate::Repository) does not know this. It fetches objects, batches and
/// retries requests, and manages their memory.
///
/// A reader of borg 2 would be a second implementation, beside
/// [`Borg1`](super::borg1::Borg1):
///
/// - `authenticate` and `open` would parse the two encrypted parts of an object and use AEAD ciphers
///   (AES-OCB, ChaCha20-Poly1305) with session keys. Their MAC covers the id, so `check` could trust it.
/// - `manifest` would list the objects in the store's directory `archives`, since the manifest of
///   borg 2 names no archives. The store behind it (borgstore) would be a second local
///   [`Store`](crate::Store).
/// - The items of an archive list chunks without a stored size and name hard links by `hlid`.
///   [`ItemParser`](crate::ItemParser) would learn both.
pub trait Format: Send + Sync {
    /// The name of the encryption, as `borg init --encryption` takes it.
    fn encryption(&self) -> &'static str;

    /// Authenticates and parses the manifest, and compares it with what the caller knows.
    ///
    /// # Errors
    /// When the manifest is broken or not authentic, or the repository is another than before.
    fn manifest(&self, object: &mut [u8]) -> Result<Manifest>;

    /// Parses the plain bytes of the object that describes the archive `id`.
    ///
    /// # Errors
    /// When they are not an archive.
    fn archive(&self, id: Id, plain: &[u8]) -> Result<Archive>;

    /// Whether each object is authentic, as far as this can be checked before decryption.
    fn authenticate(&self, objects: &[(Id, &[u8])]) -> Vec<Result<()>>;

    /// Decrypts an authentic object in place, and decompresses it.
    ///
    /// # Errors
    /// When it does not decompress to `size` bytes.
    fn open(&self, object: &mut [u8], size: Size) -> Result<Vec<u8>>;

    /// Whether each id belongs to its plain bytes.
    fn check(&self, objects: &[(Id, &[u8])]) -> Vec<Result<()>>;

    /// The id of an object with these plain bytes.
    fn id_of(&self, plain: &[u8]) -> Id;

    /// A key for `purpose`, from which no other key can be computed. `None` when the cipher fails.
    fn derive(&self, purpose: &[u8]) -> Option<Zeroizing<[u8; 32]>>;
}
