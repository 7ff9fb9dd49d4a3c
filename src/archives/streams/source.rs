//! The files of one archive, through streams.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::batch::Batches;
use super::context::Context;
use super::long::LongStreams;
use crate::archive::tree::ContentId;
use crate::archives::source::{ContentSource, ReadError};

/// The pause before a new connection is tried.
const RECONNECT: Duration = Duration::from_secs(3);
/// How often a read is retried after its stream died.
const RETRIES: u32 = 2;

pub struct Streams {
    context: Arc<Context>,
    long: Arc<LongStreams>,
    batches: Batches,
}

impl Streams {
    pub fn new(context: Context) -> Self {
        let context = Arc::new(context);
        let batches = Batches::new(Arc::clone(&context));
        Streams { long: Arc::new(LongStreams::new(Arc::clone(&context))), batches, context }
    }
}

impl ContentSource for Streams {
    fn fetch(&self, id: ContentId, span: Range<u64>) -> Result<Vec<u8>, ReadError> {
        let file = self.context.file(id)?;
        if span.is_empty() || span.end > file.size {
            return Err(ReadError::Failed(format!("{span:?} is not within the {} bytes", file.size)));
        }
        let mut failures = 0;
        let mut disconnected_since = None;
        loop {
            let result = if Batches::takes(&file) {
                let bytes = self.batches.fetch(id);
                bytes.map(|bytes| bytes[span.start as usize..span.end as usize].to_vec())
            } else {
                self.long.fetch(id, &span)
            };
            match result {
                Err(ReadError::Failed(why)) if failures < RETRIES => {
                    failures += 1;
                    tracing::warn!("{}: {why}; trying again", file.name());
                    self.context.slots.pause(Duration::from_secs(u64::from(failures)))?;
                }
                Err(ReadError::Disconnected(why))
                    if since(&mut disconnected_since) < self.context.limits.stall =>
                {
                    tracing::warn!("{}: {why}; connecting again", file.name());
                    self.context.slots.pause(RECONNECT)?;
                }
                result => return result,
            }
        }
    }
}

/// How long ago it happened; the first call starts the clock. A read tolerates a lost connection
/// for as long as silence.
fn since(first: &mut Option<Instant>) -> Duration {
    first.get_or_insert_with(Instant::now).elapsed()
}
