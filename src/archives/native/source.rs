//! The files of one archive, by their chunks.

use std::ops::Range;
use std::sync::Arc;

use crossbeam_channel::bounded;

use super::fetcher::Fetcher;
use super::lists::Lists;
use super::readahead::{self, Readahead};
use super::shared::Shared;
use crate::archive::tree::{ContentId, Tree};
use crate::archives::source::{CacheSink, ContentSource, ReadError};

pub struct ChunkSource {
    tree: Arc<Tree>,
    lists: Arc<Lists>,
    fetcher: Arc<Fetcher>,
    readahead: Readahead,
}

impl ChunkSource {
    pub fn new(shared: Arc<Shared>, tree: Arc<Tree>, lists: Arc<Lists>, sink: Arc<dyn CacheSink>) -> Self {
        let (groups, ahead) = bounded(readahead::CHUNKS);
        let fetcher = Fetcher::start(shared, Arc::clone(&lists), sink, &ahead);
        ChunkSource { tree, readahead: Readahead::new(Arc::clone(&lists), groups), lists, fetcher }
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
            if span.chunk.is_none() {
                bytes.resize(bytes.len() + range.len(), 0);
            } else {
                let chunk = self.fetcher.chunk(content, &span)?;
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
