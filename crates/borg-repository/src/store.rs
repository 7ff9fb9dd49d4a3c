//! The interface to objects: in a local directory, or on a server.

use std::ops::Range;
use std::sync::Arc;

use zeroize::Zeroizing;

use super::error::Result;
use super::id::Id;

/// A repository as a map from ids to objects. What it returns must not be trusted.
pub trait Store: Send + Sync {
    /// The id of the repository.
    fn id(&self) -> Id;

    /// The text of the key in the repository, in base64; empty if there is none.
    ///
    /// # Errors
    /// When the repository cannot be read.
    fn key(&self) -> Result<Zeroizing<String>>;

    /// Requests an object. A request to a server is sent at once, so several are in flight at the
    /// same time; blocks while too many bytes are. `length` is the expected length of the object in
    /// bytes, and may be wrong.
    fn request(self: Arc<Self>, id: Id, length: Option<u32>) -> Box<dyn Pending>;

    /// Makes what was written since the store was opened visible.
    ///
    /// # Errors
    /// When the repository can no longer be read.
    fn refresh(&self) -> Result<()>;

    /// Reports an object that was not authentic. Returns whether another copy may be available.
    fn distrust(&self, _id: &Id) -> bool {
        false
    }
}

/// A requested object. If it is dropped, the answer is ignored.
pub trait Pending: Send {
    /// Waits for the object. `buffer` is memory that it may use.
    ///
    /// # Errors
    /// `NotFound` when the object is not in the repository, even by its newest index.
    fn wait(self: Box<Self>, buffer: Vec<u8>) -> Result<Object>;
}

/// An object as it is stored: the type of the key, then the encrypted data.
pub struct Object {
    /// A buffer that contains the object.
    pub buffer: Vec<u8>,
    /// The range of the object in `buffer`.
    pub range: Range<usize>,
}

impl Object {
    /// The object.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        &self.buffer[self.range.clone()]
    }

    /// The object, for decryption in place.
    #[inline]
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.buffer[self.range.clone()]
    }
}
