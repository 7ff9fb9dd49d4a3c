//! The interface of sources: what a source promises, and where it puts what it reads. A source
//! knows neither FUSE nor the cache's inside; the cache and the reader know no source.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use borg_repository::Item;

use crate::archive::name::Archive;
use crate::archive::origin::Origin;
use crate::archive::tree::{ContentId, Tree, View};
use crate::error::Result;

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

    /// Passes every item of `archive` to `each`, once, in the order of the archive.
    ///
    /// # Errors
    /// When the archive cannot be read to its end, or its name now belongs to another archive.
    fn items(&self, archive: &Archive, each: &mut dyn FnMut(Item)) -> Result<()>;

    /// The remembered tree of `archive` as `view` shows it, if there is one. Does not read items.
    fn remembered(&self, _archive: &Archive, _view: &View) -> Option<Tree> {
        None
    }

    /// Remembers a tree that was made of [`Catalog::items`], if the source can.
    fn remember(&self, _archive: &Archive, _view: &View, _tree: &Arc<Tree>) {}

    /// Called when the tree of `archive` was dropped: frees what the source kept for it.
    fn forget(&self, _archive: &Archive) {}

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

    /// Called for a read that the cache has answered, so that the source can read ahead. Never
    /// blocks.
    fn passed(&self, _content: ContentId, _span: &Range<u64>) {}
}

/// Where a source puts bytes, and looks for bytes that it had before: the cache, as a source sees
/// it.
pub trait CacheSink: Send + Sync {
    /// Keeps those frames of `content` that `bytes`, at `offset`, cover entirely.
    fn put(&self, content: ContentId, offset: u64, bytes: &[u8]);

    /// All bytes at `span`, if the cache has them.
    fn get(&self, content: ContentId, span: Range<u64>) -> Option<Vec<u8>>;

    /// Whether the cache has all of the content, which has `size` bytes.
    fn has_all(&self, content: ContentId, size: u64) -> bool;

    /// Drops what was put for `content`, because it cannot be trusted.
    fn forget(&self, content: ContentId, size: u64);
}

/// The size of a frame in bytes; the last one of a content may be shorter.
pub const FRAME: u64 = 64 * 1024;

/// The name of a frame: the number of a file (or of a chunk that files share) in the mount, and the
/// number of the frame in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key {
    pub whole: u64,
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
    fn piece(&self, content: ContentId, at: u64) -> Option<Piece>;

    /// The bytes of `content` that are known to be in holes. Called for every stat.
    fn holes(&self, content: ContentId) -> u64;
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
