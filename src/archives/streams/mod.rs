//! Source one: streams of `borg extract --stdout`. It works with every borg there is, and the bytes
//! are borg's own; but a stream starts at byte 0 of a file and only goes forward.
//!
//! So: one stream a file, which every reader of the file joins ([`long`]); what passes is kept; many
//! small files come through one stream ([`batch`]); the number of borg processes is bounded
//! ([`slots`]); a stream that nobody needs ends, and with it the lock that it holds in the
//! repository; and nothing is given out before it is sure that it is still the same archive
//! ([`pin`]).

mod batch;
mod catalog;
mod extract;
mod long;
mod pin;
mod slots;

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};

pub use catalog::BorgCatalog;

use crate::archive::name::Archive;
use crate::archive::tree::{Content, ContentId, Tree};
use crate::archives::source::{ContentSource, Kept, ReadError};
use crate::tools::borg::Borg;

use batch::{Batch, Folders};
use long::{Joined, Stream};
use pin::Pin;
use slots::Slots;

/// How long things may take, and how much may be under way at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// borg processes at once. Each takes 60 to 100 MB of memory and most of a processor.
    pub processes: usize,
    /// A stream that nobody asked anything of for this long is ended. Longer spares a reader that
    /// pauses the way from byte 0; shorter gives the repository's lock back sooner.
    pub idle: Duration,
    /// A stream from which nothing came for this long is given up. Longer than ssh takes to notice
    /// that the line is cut (60 s).
    pub stall: Duration,
    /// How long borg waits for the repository's lock.
    pub lock_wait: Duration,
    /// How often new archives are looked for; `None`: as suits the repository.
    pub look: Option<Duration>,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            processes: 4,
            idle: Duration::from_secs(10),
            stall: Duration::from_secs(120),
            lock_wait: Duration::from_secs(60),
            look: None,
        }
    }
}

/// Files up to this many bytes come in batches; larger ones have a stream of their own.
const SMALL: u64 = 1024 * 1024;
/// How long to wait before a cut line is tried again.
const RECONNECT: Duration = Duration::from_secs(3);
/// How often a read is tried again when its stream died.
const RETRIES: u32 = 2;

/// The files of one archive, through streams.
pub struct Streams {
    shared: Arc<Shared>,
    folders: Folders,
}

/// What the threads of an archive's streams have in common.
struct Shared {
    borg: Borg,
    archive: Archive,
    tree: Arc<Tree>,
    kept: Arc<dyn Kept>,
    slots: Arc<Slots>,
    limits: Limits,
    pin: Pin,
    state: Mutex<State>,
    /// Held from the look for a stream of a file to the start of one.
    starting: Mutex<()>,
}

#[derive(Default)]
struct State {
    streams: HashMap<ContentId, Vec<Arc<Stream>>>,
    batches: HashMap<ContentId, Arc<Batch>>,
    /// Files that once came wrong in a batch: they are fetched by themselves.
    alone: HashSet<ContentId>,
    walk: batch::Walk,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    fn content(&self, id: ContentId) -> Result<Content<'_>, ReadError> {
        self.tree.content(id).ok_or_else(|| ReadError::Failed(format!("content {id} is not in the archive")))
    }
}

impl Streams {
    fn new(shared: Shared) -> Self {
        let folders = Folders::new(&shared.tree);
        Streams { shared: Arc::new(shared), folders }
    }

    /// A read of a large file: from the stream that will pass it, or from a new one.
    fn fetch_long(&self, id: ContentId, span: &Range<u64>) -> Result<Vec<u8>, ReadError> {
        let waiting = match long::join(&self.shared, id, span)? {
            Joined::Had(bytes) => return Ok(bytes),
            Joined::Waiting(waiting) => waiting,
        };
        waiting.bytes()
    }
}

impl ContentSource for Streams {
    fn fetch(&self, id: ContentId, span: Range<u64>) -> Result<Vec<u8>, ReadError> {
        let content = self.shared.content(id)?;
        if span.is_empty() || span.end > content.size {
            return Err(ReadError::Failed(format!("{span:?} is not within the {} bytes", content.size)));
        }
        let small = content.size <= SMALL && content.before == 0 && content.after == 0;
        let mut failures = 0;
        let mut cut_since = None;
        loop {
            let result = if small {
                batch::fetch(&self.shared, &self.folders, id).map(|bytes| bytes[to_usize(&span)].to_vec())
            } else {
                self.fetch_long(id, &span)
            };
            match result {
                Err(ReadError::Failed(why)) if failures < RETRIES => {
                    failures += 1;
                    tracing::warn!("{}: {why}; trying again", shown(&content));
                    self.shared.slots.pause(Duration::from_secs(u64::from(failures)))?;
                }
                Err(ReadError::Disconnected(why)) if cut_for(&mut cut_since) < self.shared.limits.stall => {
                    tracing::warn!("{}: {why}; connecting again", shown(&content));
                    self.shared.slots.pause(RECONNECT)?;
                }
                result => return result,
            }
        }
    }
}

/// For how long the line has been cut: each read bears that as long as it bears silence.
fn cut_for(since: &mut Option<Instant>) -> Duration {
    since.get_or_insert_with(Instant::now).elapsed()
}

/// The path of a content, for people.
fn shown(content: &Content) -> String {
    content.path().escape_ascii().to_string()
}

/// A span within a file that is in memory.
fn to_usize(span: &Range<u64>) -> Range<usize> {
    span.start as usize..span.end as usize
}
