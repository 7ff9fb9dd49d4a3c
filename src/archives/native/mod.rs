//! Source two: chunks, read through `borg_repository`. One seek costs one chunk.
//!
//! Chunks are kept by their own number, not by that of the file, so a chunk that files or archives
//! share is fetched once; chunks of zeros are known by their id and never fetched. A chunk that
//! several reads want at once is fetched by one of them ([`flights`]), and reads that follow each
//! other are read ahead of ([`ahead`]). The repository is not locked: chunks never change, and one
//! that moved is looked up again.

mod ahead;
mod catalog;
mod fetchers;
mod flights;
mod lists;
mod opening;
mod saved;
mod sealed;

use std::ops::Range;
use std::sync::Arc;

pub use catalog::NativeCatalog;
pub use opening::find_passphrase;

use borg_repository::Error;

use crate::archive::tree::{ContentId, Tree};
use crate::archives::source::{ContentSource, Kept, Layout, Piece, ReadError};
use ahead::Ahead;
use fetchers::{Desk, Job};
use flights::{Bytes, Flights};
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
    flights: Arc<Flights>,
    desk: Desk,
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
    /// The plain bytes of the chunk that stands at `span` of `content`, which is not zeros.
    fn chunk(&self, content: ContentId, span: &Span) -> Result<Bytes, ReadError> {
        if self.catalog.ending() {
            return Err(ReadError::Ending);
        }
        let number = self.lists.number(span, &self.catalog.numbers);
        let (Some(number), Some(chunk)) = (number, self.lists.chunk(span)) else {
            return Err(ReadError::Failed("there are too many chunks".into()));
        };
        match self.flights.claim(number) {
            Err(flight) => flight.wait(),
            Ok(pilot) => {
                let flight = Arc::clone(&pilot.flight);
                let request = self.catalog.repository.request_chunk(&chunk);
                self.desk.put(Job { pilot, content, start: span.start, request });
                flight.wait()
            }
        }
    }

    /// The job to fetch a chunk that nobody fetches and that the cache does not have.
    fn unless_there(&self, content: ContentId, span: &Span) -> Option<Job> {
        if self.catalog.ending() || self.kept.get(content, span.start..span.start + 1).is_some() {
            return None;
        }
        let pilot = self.flights.claim(self.lists.number(span, &self.catalog.numbers)?).ok()?;
        let request = self.catalog.repository.request_chunk(&self.lists.chunk(span)?);
        Some(Job { pilot, content, start: span.start, request })
    }

    /// Fetches chunks, answers those who wait, and only then lets the cache keep them.
    fn fetch(&self, jobs: Vec<Job>) {
        let (mut flights, mut requests) = (Vec::new(), Vec::new());
        for Job { pilot, content, start, request } in jobs {
            flights.push((pilot, content, start));
            requests.push(request);
        }
        let mut landed = Vec::new();
        let chunks = self.catalog.repository.receive_all(requests);
        for ((pilot, content, start), chunk) in flights.into_iter().zip(chunks) {
            let chunk = chunk.map(Arc::new).map_err(|e| self.failure(e));
            pilot.flight.land(chunk.clone());
            landed.extend(chunk.ok().map(|bytes| (pilot, content, start, bytes)));
        }
        for (pilot, content, start, bytes) in landed {
            self.kept.put(content, start, &bytes);
            // Whoever comes from here on finds it in the cache.
            drop(pilot);
        }
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
    fn passed(&self, content: ContentId, span: &Range<u64>) {
        if let Some(listed) = self.files.tree.content(content) {
            self.ahead.follow(&self.files, content, listed.item, span);
        }
    }

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
