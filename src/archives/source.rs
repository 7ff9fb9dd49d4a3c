//! The interface of sources: what a source promises, and where it puts what it reads. A source
//! knows neither FUSE nor the cache's inside; the cache and the reader know no source.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use crate::archive::name::Archive;
use crate::archive::origin::Origin;
use crate::archive::tree::{ContentId, Tree, View};
use crate::error::Result;
use crate::progress::Monitor;

/// Lists the archives of a repository and their items.
pub trait Catalog: Send + Sync {
    /// Lists the archives in the order in which the mount shows them.
    ///
    /// # Errors
    /// When the repository cannot be read.
    fn archives(&self) -> Result<Vec<Archive>>;

    /// The origin of `archive`. If it cannot be read, it is unknown.
    ///
    /// # Errors
    /// When the repository cannot be read.
    fn origin(&self, _archive: &Archive) -> Result<Origin> {
        Ok(Origin::default())
    }

    /// Whether enough time has passed to call [`Catalog::look_again`]. Never blocks.
    fn is_stale(&self) -> bool {
        false
    }

    /// Lists the archives again; `None` if nothing changed.
    ///
    /// # Errors
    /// As [`Catalog::archives`].
    fn look_again(&self) -> Result<Option<Vec<Archive>>> {
        Ok(None)
    }

    /// The tree of `archive` as `view` shows it. `monitor` receives the number of items that were read.
    ///
    /// # Errors
    /// When the archive cannot be read to its end, or its name now belongs to another archive.
    fn tree(&self, archive: &Archive, view: &View, monitor: &dyn Monitor) -> Result<Tree>;

    /// How the cache keeps the bytes of this archive, which has the number `number` in the mount.
    fn layout(&self, archive: &Archive, number: u32, tree: &Arc<Tree>) -> Arc<dyn Layout>;

    /// The content source of one archive; it puts all bytes that it comes by into `kept`.
    fn contents(
        &self,
        archive: &Archive,
        tree: Arc<Tree>,
        sink: Arc<dyn CacheSink>,
    ) -> Arc<dyn ContentSource>;

    /// Stops children and threads; waiting reads fail. Called once, at the end.
    fn shut_down(&self);
}

/// Returns the bytes of the files of one archive.
pub trait ContentSource: Send + Sync {
    /// All bytes at `span` of `content`, or an error. Blocks until then, but not forever. `span`
    /// must not be empty and must end within the content. Other bytes that the source comes by go
    /// into its [`CacheSink`] before a reader can miss them, so that no stream has to pass them
    /// twice.
    ///
    /// # Errors
    /// [`ReadError`]. Bytes that are not certain are never returned.
    fn fetch(&self, content: ContentId, span: Range<u64>) -> Result<Vec<u8>, ReadError>;

    /// Whether all that [`fetch`](ContentSource::fetch) returns goes into its [`CacheSink`], too.
    fn keeps_what_it_fetches(&self) -> bool {
        false
    }

    /// Called for a read that the cache has answered, so that the source can read ahead. Never
    /// blocks.
    fn passed(&self, _content: ContentId, _span: &Range<u64>) {}
}

/// Where a source puts bytes, and looks for bytes that it had before: the cache, as a source sees
/// it.
pub trait CacheSink: Send + Sync {
    /// Keeps those frames of `content` that `bytes`, at `offset`, cover entirely.
    fn put(&self, content: ContentId, offset: u64, bytes: &[u8]);

    /// Keeps all of what the cache knows as `whole`.
    fn put_whole(&self, _whole: u128, _bytes: &Arc<Vec<u8>>, _keep: Keep) {}

    /// Whether the cache has the beginning of what it knows as `whole`.
    fn has_whole(&self, _whole: u128) -> bool {
        false
    }

    /// All bytes at `span`, if the cache has them.
    fn get(&self, content: ContentId, span: Range<u64>) -> Option<Vec<u8>>;

    /// Whether the cache has all of the content, which has `size` bytes.
    fn has_all(&self, content: ContentId, size: u64) -> bool;

    /// Drops what was put for `content`, because it cannot be trusted.
    fn forget(&self, content: ContentId, size: u64);
}

/// Where bytes are kept that can be fetched again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// In memory, for those who read the same place now.
    InMemory,
    /// Also on disk, behind the readers.
    OnDisk,
}

/// The size of a frame in bytes; the last one of a content may be shorter.
pub const FRAME: u64 = 64 * 1024;

/// The name of a frame: the number of a file in the mount, or what a chunk that files share is known by,
/// and the number of the frame in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key {
    pub whole: u128,
    pub frame: u32,
}

/// A part of a content that is kept as one frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// `None` if there are only zeros, which need not be kept.
    pub key: Option<Key>,
    /// The position in the content.
    pub span: Range<u64>,
}

/// How contents are divided into frames.
pub trait Layout: Send + Sync {
    /// The piece with the byte `at` of `content`; `None` past the end.
    ///
    /// # Errors
    /// When the archive cannot be read.
    fn piece(&self, content: ContentId, at: u64) -> Result<Option<Piece>>;

    /// The bytes of `content` that are known to be in holes. Called for every stat.
    ///
    /// # Errors
    /// When the archive cannot be read.
    fn holes(&self, content: ContentId) -> Result<u64>;
}

/// Why a read failed. The reader of the file sees EIO; the log has the reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReadError {
    /// The source returned fewer bytes than the archive lists.
    Incomplete(String),
    /// The archive was deleted or replaced during the mount.
    Gone(String),
    /// Nothing arrived for as long as a read may wait.
    Stalled(String),
    /// The connection dropped; on a new one the read may succeed.
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
