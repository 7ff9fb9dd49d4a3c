//! The files of one archive, by their chunks.

use std::ops::Range;
use std::sync::Arc;

use borg_repository::Id;
use crossbeam_channel::bounded;

use super::fetcher::Fetcher;
use super::lists::{Lists, Span};
use super::readahead::{self, Readahead};
use super::shared::Shared;
use super::single_flight::Bytes;
use crate::archive::tree::{ContentId, Tree};
use crate::archives::source::{CacheSink, ContentSource, ReadError};

pub struct ChunkSource {
    tree: Arc<Tree>,
    lists: Arc<Lists>,
    fetcher: Arc<Fetcher>,
    readahead: Readahead,
    shared: Arc<Shared>,
    /// Zeros stand for lost chunks, as long as the archive with this id exists.
    fill: Option<Id>,
}

impl ChunkSource {
    pub fn new(shared: Arc<Shared>, tree: Arc<Tree>, lists: Arc<Lists>, sink: Arc<dyn CacheSink>) -> Self {
        let (groups, ahead) = bounded(readahead::CHUNKS);
        let fetcher = Fetcher::start(Arc::clone(&shared), Arc::clone(&lists), sink, &ahead);
        let readahead = Readahead::new(Arc::clone(&lists), groups);
        ChunkSource { tree, readahead, lists, fetcher, shared, fill: None }
    }

    pub fn filling(mut self, fill: Option<Id>) -> Self {
        self.fill = fill;
        self
    }

    /// The bytes of the chunk at `span`; `None` if it is lost and zeros stand for it.
    fn chunk(&self, content: ContentId, span: &Span) -> Result<Option<Bytes>, ReadError> {
        match (self.fetcher.chunk(content, span), &self.fill) {
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
    fn passed(&self, content: ContentId, span: &Range<u64>) {
        if let Some(listed) = self.tree.content(content) {
            self.readahead.follow(content, listed.item, span);
        }
    }

    fn fetch(&self, content: ContentId, wanted: Range<u64>) -> Result<Vec<u8>, ReadError> {
        let listed = self.tree.content(content);
        let listed = listed.ok_or_else(|| ReadError::Failed(format!("there is no content {content}")))?;
        if wanted.is_empty() || wanted.end > listed.size {
            return Err(ReadError::Failed(format!("{wanted:?} is not within the {} bytes", listed.size)));
        }
        self.readahead.follow(content, listed.item, &wanted);
        let mut bytes = Vec::with_capacity((wanted.end - wanted.start) as usize);
        let mut at = wanted.start;
        while at < wanted.end {
            let span = self.lists.span(listed.item, at);
            let span = span.ok_or_else(|| ReadError::Incomplete(format!("no chunk has the byte {at}")))?;
            let end = span.end.min(wanted.end);
            let range = (at - span.start) as usize..(end - span.start) as usize;
            let chunk = span.chunk.map(|_| self.chunk(content, &span)).transpose()?.flatten();
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
