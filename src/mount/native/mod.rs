//! Source two: chunks, read by ourselves through `crate::repository`. One seek costs one chunk.
//!
//! Chunks are kept by their own number, not by that of the file, so a chunk that files or archives
//! share is fetched once; chunks of zeros are known by their id and never fetched. A chunk that
//! several reads want at once is fetched by one of them ([`flights`]), and reads that follow each
//! other are read ahead of ([`ahead`]). The repository is not locked: chunks never change, and one
//! that moved is looked up again.

mod ahead;
mod catalog;
mod flights;
mod lists;
mod saved;
mod sealed;

use std::ops::Range;
use std::sync::Arc;

pub use catalog::NativeCatalog;

use crate::archive::tree::{ContentId, Tree};
use crate::mount::source::{ContentSource, Kept, Layout, Piece, ReadError};
use crate::repository::error::Error;
use ahead::Ahead;
use flights::Flights;
use lists::{Lists, Span};

/// The files of one archive, by their chunks.
struct Native {
    files: Arc<Files>,
    ahead: Ahead,
}

/// What the threads of an archive's reads have in common.
struct Files {
    catalog: Arc<catalog::Shared>,
    tree: Arc<Tree>,
    lists: Arc<Lists>,
    kept: Arc<dyn Kept>,
    flights: Flights,
}

/// Chunks as the cache keeps them.
struct Chunked {
    catalog: Arc<catalog::Shared>,
    tree: Arc<Tree>,
    lists: Arc<Lists>,
}

impl Layout for Chunked {
    fn piece(&self, content: ContentId, at: u64) -> Option<Piece> {
        self.lists.piece(self.tree.content(content)?.item, at, &self.catalog.numbers)
    }

    fn holes(&self, content: ContentId) -> u64 {
        self.tree.content(content).map_or(0, |content| self.lists.holes(content.item))
    }
}

impl Files {
    /// The plain bytes of the chunk that stands at `span` of `content`, which is not zeros; they
    /// are kept.
    fn chunk(&self, content: ContentId, span: &Span) -> Result<Arc<Vec<u8>>, ReadError> {
        if self.catalog.ending() {
            return Err(ReadError::Ending);
        }
        let number = self.lists.number(span, &self.catalog.numbers);
        let (Some(number), Some(chunk)) = (number, self.lists.chunk(span)) else {
            return Err(ReadError::Failed("there are too many chunks".into()));
        };
        self.flights.once(number, || {
            let bytes = self.catalog.repository.read_chunk(&chunk).map_err(|e| self.failure(e))?;
            self.kept.put(content, span.start, &bytes);
            Ok(bytes)
        })
    }

    fn failure(&self, error: Error) -> ReadError {
        match error {
            Error::NotFound(_) => ReadError::Gone(format!(
                "{error}: the archive was deleted while it was mounted, or the repository is damaged"
            )),
            Error::Integrity(_) => ReadError::Incomplete(error.to_string()),
            other => ReadError::Failed(crate::error::Error::from(other).chain()),
        }
    }
}

impl ContentSource for Native {
    fn fetch(&self, content: ContentId, wanted: Range<u64>) -> Result<Vec<u8>, ReadError> {
        let files = &self.files;
        let listed = files.tree.content(content);
        let listed = listed.ok_or_else(|| ReadError::Failed(format!("there is no content {content}")))?;
        if wanted.is_empty() || wanted.end > listed.size {
            return Err(ReadError::Failed(format!("{wanted:?} is not within the {} bytes", listed.size)));
        }
        self.ahead.follow(files, content, listed.item, &wanted);
        let mut bytes = Vec::with_capacity((wanted.end - wanted.start) as usize);
        let mut at = wanted.start;
        while at < wanted.end {
            let span = files.lists.span(listed.item, at);
            let span = span.ok_or_else(|| ReadError::Incomplete(format!("no chunk has the byte {at}")))?;
            let end = span.end.min(wanted.end);
            let range = (at - span.start) as usize..(end - span.start) as usize;
            if span.chunk.is_none() {
                bytes.resize(bytes.len() + range.len(), 0);
            } else {
                let chunk = files.chunk(content, &span)?;
                let part = chunk.get(range);
                bytes.extend_from_slice(
                    part.ok_or_else(|| ReadError::Incomplete("a chunk is shorter than listed".into()))?,
                );
            }
            at = end;
        }
        Ok(bytes)
    }
}
