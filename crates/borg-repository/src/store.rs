//! Where objects come from: a directory on this machine, or a server.

use std::ops::Range;
use std::sync::Arc;

use zeroize::Zeroizing;

use super::error::Result;
use super::id::Id;

/// A repository as a map from ids to objects. What it gives is not to be trusted.
pub trait Store: Send + Sync {
    /// The id of the repository.
    fn id(&self) -> Id;

    /// The text of the key that is kept in the repository, base64; empty if there is none.
    ///
    /// # Errors
    /// When the repository cannot be read.
    fn key(&self) -> Result<Zeroizing<String>>;

    /// Asks for an object. A server is asked at once, so several requests are on their way at the
    /// same time; blocks while too many bytes are. `length` is how long the object is thought to
    /// be, in bytes; it may be wrong.
    fn request(self: Arc<Self>, id: Id, length: Option<u32>) -> Box<dyn Pending>;

    /// Sees to it that what was written since the store was opened is found.
    ///
    /// # Errors
    /// When the repository cannot be read any more.
    fn refresh(&self) -> Result<()>;

    /// Told of an object that was not authentic; whether there is another to be had.
    fn distrust(&self, _id: &Id) -> bool {
        false
    }
}

/// An object that was asked for. Dropped, the answer is passed over.
pub trait Pending: Send {
    /// The object. `buffer` is memory that may be used for it.
    ///
    /// # Errors
    /// `NotFound` when the object is not in the repository, also by its newest index.
    fn wait(self: Box<Self>, buffer: Vec<u8>) -> Result<Object>;
}

/// An object as it is stored: the key's type, then what the key makes of the data.
pub struct Object {
    /// Memory with the object in it.
    pub buffer: Vec<u8>,
    /// Where in `buffer` the object is.
    pub range: Range<usize>,
}

impl Object {
    /// The object.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        &self.buffer[self.range.clone()]
    }

    /// The object, to be decrypted in place.
    #[inline]
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.buffer[self.range.clone()]
    }
}
