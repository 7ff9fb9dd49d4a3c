//! What differs between the formats of repositories.

use zeroize::Zeroizing;

use super::archive::Archive;
use super::compression::Size;
use super::error::Result;
use super::id::Id;
use super::manifest::Manifest;

/// How the objects of a repository are read: which bytes are authentic, what is in them, and what
/// they mean. [`Repository`](crate::Repository) knows nothing of it. It fetches objects, batches and
/// retries the requests, and keeps memory for them.
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
    /// Authenticates and parses the manifest, and compares it with what the caller knows.
    ///
    /// # Errors
    /// When the manifest is broken or not authentic, or the repository is not the one that it was.
    fn manifest(&self, object: &mut [u8]) -> Result<Manifest>;

    /// Parses the plain bytes of the object that describes the archive `id`.
    ///
    /// # Errors
    /// When they are no archive.
    fn archive(&self, id: Id, plain: &[u8]) -> Result<Archive>;

    /// Whether each object is authentic, as far as this shows before it is decrypted.
    fn authenticate(&self, objects: &[(Id, &[u8])]) -> Vec<Result<()>>;

    /// Decrypts an authentic object, in place, and decompresses it.
    ///
    /// # Errors
    /// When it does not decompress to `size` bytes.
    fn open(&self, object: &mut [u8], size: Size) -> Result<Vec<u8>>;

    /// Whether each id is the one of its plain bytes.
    fn check(&self, objects: &[(Id, &[u8])]) -> Vec<Result<()>>;

    /// The id of an object with these plain bytes.
    fn id_of(&self, plain: &[u8]) -> Id;

    /// A key for `purpose` that is no help in finding any other. `None` when the cipher fails.
    fn derive(&self, purpose: &[u8]) -> Option<Zeroizing<[u8; 32]>>;
}
