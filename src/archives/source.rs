//! The seam that carries the mount: what a source of archives promises, and where it puts what it
//! delivers. A source knows no FUSE and no cache; the cache and the reader know no source.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use borg_repository::Item;

use crate::archive::name::Archive;
use crate::archive::origin::Origin;
use crate::archive::tree::{ContentId, Tree, View};
use crate::error::Result;

/// What is in the repository.
pub trait Catalog: Send + Sync {
    /// The archives that the mount shows, in the order in which it shows them.
    ///
    /// # Errors
    /// When the repository cannot be read.
    fn archives(&self) -> Result<Vec<Archive>>;

    /// Where `archive` comes from. What cannot be read says nothing of itself.
    ///
    /// # Errors
    /// When the repository cannot be read.
    fn origin(&self, _archive: &Archive) -> Result<Origin> {
        Ok(Origin::default())
    }

    /// Whether so much time has passed that [`Catalog::look_again`] is worth its cost. Never blocks.
    fn is_stale(&self) -> bool {
        false
    }

    /// The archives as they are now; `None` when none has come or gone.
    ///
    /// # Errors
    /// As [`Catalog::archives`].
    fn look_again(&self) -> Result<Option<Vec<Archive>>> {
        Ok(None)
    }

    /// Gives every item of `archive` to `each`, in the order of the archive, once.
    ///
    /// # Errors
    /// When the archive cannot be read to its end, or is no longer the one with this id.
    fn items(&self, archive: &Archive, each: &mut dyn FnMut(Item)) -> Result<()>;

    /// The tree of `archive` as `view` shows it, if it is known without reading the archive's items.
    fn remembered(&self, _archive: &Archive, _view: &View) -> Option<Tree> {
        None
    }

    /// Told of each tree that was made of [`Catalog::items`], which may be worth remembering.
    fn remember(&self, _archive: &Archive, _view: &View, _tree: &Arc<Tree>) {}

    /// The tree of `archive` was dropped: what was kept for it can go.
    fn forget(&self, _archive: &Archive) {}

    /// How the cache keeps the bytes of this archive, which is number `number` of the mount.
    fn layout(&self, archive: &Archive, number: u32, tree: &Arc<Tree>) -> Arc<dyn Layout>;

    /// The bytes of one archive's files; what passes by is put into `kept`.
    fn contents(
        &self,
        archive: &Archive,
        tree: Arc<Tree>,
        sink: Arc<dyn CacheSink>,
    ) -> Arc<dyn ContentSource>;

    /// Ends what still runs (children, threads); reads that wait fail. Called once, at the end.
    fn shut_down(&self);
}

/// The bytes of the files of one archive.
pub trait ContentSource: Send + Sync {
    /// The bytes `span` of `content`: all of them, or an error. Blocks until then, but not for
    /// ever. `span` must not be empty and must end within the content. Bytes besides those asked
    /// for that the source comes by are put into the [`CacheSink`] that it was made with, before they
    /// can be missed: what was passed by once must not have to be passed again.
    ///
    /// # Errors
    /// [`ReadError`]; bytes that cannot be vouched for are never returned.
    fn fetch(&self, content: ContentId, span: Range<u64>) -> Result<Vec<u8>, ReadError>;

    /// Told of a read that the cache has answered, so that the source can work ahead of the reader.
    /// Never blocks.
    fn passed(&self, _content: ContentId, _span: &Range<u64>) {}
}

/// Where a source puts bytes and looks whether they were had before: the cache, as it sees it.
pub trait CacheSink: Send + Sync {
    /// `bytes` stand at `offset` of `content`. Only frames that are whole in them are kept.
    fn put(&self, content: ContentId, offset: u64, bytes: &[u8]);

    /// All of `span`, if it is there.
    fn get(&self, content: ContentId, span: Range<u64>) -> Option<Vec<u8>>;

    /// Whether the whole content, of `size` bytes, is there.
    fn has_all(&self, content: ContentId, size: u64) -> bool;

    /// What was put of `content` cannot be trusted.
    fn forget(&self, content: ContentId, size: u64);
}

/// The unit in which bytes are kept, in bytes; a unit may be shorter.
pub const FRAME: u64 = 64 * 1024;

/// Which frame of the cache: the number of a whole (a file, or a chunk that files share) in the
/// mount, and the frame in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key {
    pub whole: u64,
    pub frame: u32,
}

/// A stretch of a content that is kept as one frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// `None`: nothing but zeros, which nobody has to keep.
    pub key: Option<Key>,
    /// Where it stands in the content.
    pub span: Range<u64>,
}

/// How contents are cut into frames.
pub trait Layout: Send + Sync {
    /// The piece that holds the byte `at` of `content`; `None` past its end.
    fn piece(&self, content: ContentId, at: u64) -> Option<Piece>;

    /// Bytes of `content` that are known to be in holes; asked for each stat.
    fn holes(&self, content: ContentId) -> u64;
}

/// Why a read failed. The reader of the file sees EIO; the log tells this.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReadError {
    /// The source did not come up with as many bytes as the archive lists.
    Incomplete(String),
    /// The archive was deleted or replaced while it was mounted.
    Gone(String),
    /// Nothing came for as long as a read may wait.
    Stalled(String),
    /// The line to the server was cut; on a new one the same read may work.
    Disconnected(String),
    /// The source failed; trying again may help.
    Failed(String),
    /// The mount is ending.
    Ending,
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReadError::Incomplete(why)
            | ReadError::Gone(why)
            | ReadError::Stalled(why)
            | ReadError::Disconnected(why)
            | ReadError::Failed(why) => f.write_str(why),
            ReadError::Ending => f.write_str("the mount is ending"),
        }
    }
}

impl std::error::Error for ReadError {}
