//! The files of one archive, by their chunks.

use std::ops::Range;
use std::sync::Arc;

use borg_repository::Id;

use super::fetcher::{Fetcher, Group};
use super::readahead::Readahead;
use super::shared::Shared;
use super::single_flight::Bytes;
use super::spans::{self, Span};
use crate::archive::tree::{ContentId, Tree};
use crate::archives::source::{CacheSink, ContentSource, Keep, ReadError};
use crate::error::Error;

pub struct ChunkSource {
    tree: Arc<Tree>,
    sink: Arc<dyn CacheSink>,
    fetcher: Arc<Fetcher>,
    readahead: Readahead,
    shared: Arc<Shared>,
    /// Zeros stand for lost chunks, as long as the archive with this id exists.
    fill: Option<Id>,
}

impl ChunkSource {
    pub fn new(
        shared: Arc<Shared>,
        fetcher: Arc<Fetcher>,
        tree: Arc<Tree>,
        sink: Arc<dyn CacheSink>,
    ) -> Self {
        let readahead = Readahead::new(Arc::clone(&tree), shared.is_local);
        ChunkSource { tree, sink, readahead, fetcher, shared, fill: None }
    }

    /// Follows a read, and asks for what comes next. Returns where what is read is to be kept.
    fn follow(&self, content: ContentId, span: &Range<u64>) -> Keep {
        self.readahead.follow(content, span, &mut |spans, keep| {
            self.fetcher.ahead(Group { spans, keep, sink: Arc::clone(&self.sink) })
        })
    }

    pub fn filling(mut self, fill: Option<Id>) -> Self {
        self.fill = fill;
        self
    }

    /// The bytes of the chunk at `span`; `None` if it is lost and zeros stand for it.
    fn chunk(&self, span: &Span, keep: Keep) -> Result<Option<Bytes>, ReadError> {
        match (self.fetcher.chunk(span, keep, &self.sink), &self.fill) {
            (Err(ReadError::Gone(why) | ReadError::Incomplete(why)), Some(archive)) => {
                // All chunks of a deleted archive are gone, too.
                if self.shared.repository.archive(archive).is_err() {
                    return Err(ReadError::Gone(why));
                }
                tracing::warn!("bytes {} to {} are lost, zeros are shown: {why}", span.start, span.end);
                Ok(None)
            }
            (chunk, _) => chunk.map(Some),
        }
    }
}

impl ContentSource for ChunkSource {
    fn keeps_what_it_fetches(&self) -> bool {
        true
    }

    fn passed(&self, content: ContentId, span: &Range<u64>) {
        self.follow(content, span);
    }

    fn fetch(&self, content: ContentId, wanted: Range<u64>) -> Result<Vec<u8>, ReadError> {
        let failed = |e: Error| ReadError::Failed(e.chain());
        let listed = self.tree.content(content).map_err(failed)?;
        let listed = listed.ok_or_else(|| ReadError::Failed(format!("there is no content {content}")))?;
        if wanted.is_empty() || wanted.end > listed.size {
            return Err(ReadError::Failed(format!("{wanted:?} is not within the {} bytes", listed.size)));
        }
        let keep = self.follow(content, &wanted);
        let mut bytes = Vec::with_capacity((wanted.end - wanted.start) as usize);
        let mut at = wanted.start;
        while at < wanted.end {
            let span = spans::span(&self.tree, content, at).map_err(failed)?;
            let span = span.ok_or_else(|| ReadError::Incomplete(format!("no chunk has the byte {at}")))?;
            let end = span.end.min(wanted.end);
            let range = (at - span.start) as usize..(end - span.start) as usize;
            let chunk = span.chunk.map(|_| self.chunk(&span, keep)).transpose()?.flatten();
            match chunk {
                None => bytes.resize(bytes.len() + range.len(), 0),
                Some(chunk) => {
                    let part = chunk.get(range);
                    let short = || ReadError::Incomplete("a chunk is shorter than listed".into());
                    bytes.extend_from_slice(part.ok_or_else(short)?);
                }
            }
            at = end;
        }
        Ok(bytes)
    }
}
