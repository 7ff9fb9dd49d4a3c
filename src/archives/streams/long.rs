//! The stream of one large file, which all its readers share.
//!
//! It reads a window ahead of what was asked for, and the window grows as long as the reads follow
//! each other, so that copying is not slowed down and a look at the first block does not pull the
//! whole image. Then it waits: borg waits with it, holding the lock that every reader holds in the
//! repository; and when nobody asks for some seconds, the stream ends and gives it back.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Weak};
use std::time::Instant;

use super::context::{Context, path_of};
use super::extract::Extract;
use super::slots::Evictable;
use crate::archive::tree::{Content, ContentId};
use crate::archives::source::{FRAME, ReadError};
use parking_lot::{Condvar, Mutex, MutexGuard};

/// How far a stream reads ahead of a read that follows no other, in bytes.
const FIRST_WINDOW: u64 = 1024 * 1024;
/// How far it reads ahead at most.
const LAST_WINDOW: u64 = 64 * 1024 * 1024;
/// Reads that start this near to the last one's end follow it: the kernel's read-ahead does not
/// come in order.
const NEAR: u64 = 4 * 1024 * 1024;
const BUFFER: usize = 1024 * 1024;

/// A running stream.
struct Stream {
    inner: Mutex<Inner>,
    changed: Condvar,
}

struct Inner {
    /// All bytes before this one were delivered.
    position: u64,
    /// The stream reads up to here without being asked again.
    horizon: u64,
    window: u64,
    last_end: u64,
    last_used: Instant,
    waiters: HashMap<u64, Waiter>,
    tickets: u64,
    /// Somebody wants it to end.
    quit: bool,
    ended: Option<Result<(), ReadError>>,
}

struct Waiter {
    span: Range<u64>,
    bytes: Vec<u8>,
}

impl Waiter {
    fn is_served(&self) -> bool {
        self.bytes.len() as u64 == self.span.end - self.span.start
    }
}

/// The streams of an archive's large files.
pub struct LongStreams {
    context: Arc<Context>,
    by_file: Mutex<HashMap<ContentId, Vec<Arc<Stream>>>>,
    /// Held from the look for a stream of a file to the start of one.
    starting: Mutex<()>,
}

/// What [`LongStreams::join`] found.
enum Joined {
    /// The bytes had passed in the meantime.
    Had(Vec<u8>),
    Waiting(Waiting),
}

/// A place in the queue of a stream, given up when dropped.
struct Waiting {
    stream: Arc<Stream>,
    ticket: u64,
}

impl LongStreams {
    pub fn new(context: Arc<Context>) -> Self {
        LongStreams { context, by_file: Mutex::default(), starting: Mutex::default() }
    }

    /// The bytes `span` of a file, from the stream that will pass them, or from a new one.
    pub fn fetch(self: &Arc<Self>, id: ContentId, span: &Range<u64>) -> Result<Vec<u8>, ReadError> {
        match self.join(id, span)? {
            Joined::Had(bytes) => Ok(bytes),
            Joined::Waiting(waiting) => waiting.bytes(),
        }
    }

    /// Finds a stream of the file that will still pass `span`, or starts one.
    fn join(self: &Arc<Self>, id: ContentId, span: &Range<u64>) -> Result<Joined, ReadError> {
        if let Some(joined) = self.join_running(id, span) {
            return Ok(joined);
        }
        let slot = self.context.slots.acquire()?;
        // Another reader may have started the stream while this one waited for the slot; and two must
        // not start it at once.
        let starting = self.starting.lock();
        if let Some(joined) = self.join_running(id, span) {
            return Ok(joined);
        }
        let stream = Arc::new(Stream::new());
        let waiting = stream
            .wait_for(&self.context, id, span)
            .ok_or_else(|| ReadError::Failed("a new stream is at its end".into()))?;
        let tenant: Weak<dyn Evictable> = Arc::<Stream>::downgrade(&stream);
        self.context.slots.enlist(tenant);
        self.by_file().entry(id).or_default().push(Arc::clone(&stream));
        drop(starting);
        let (this, running) = (Arc::clone(self), Arc::clone(&stream));
        let spawned = std::thread::Builder::new().name("stream".into()).spawn(move || {
            let result = running.run(&this.context, id);
            this.close(&running, id, result);
            drop(slot);
        });
        if let Err(e) = spawned {
            let error = ReadError::Failed(format!("cannot start a thread: {e}"));
            self.close(&stream, id, Err(error.clone()));
            return Err(error);
        }
        Ok(Joined::Waiting(waiting))
    }

    fn join_running(&self, id: ContentId, span: &Range<u64>) -> Option<Joined> {
        let streams = self.by_file().get(&id).cloned().unwrap_or_default();
        if let Some(waiting) = streams.iter().find_map(|stream| stream.wait_for(&self.context, id, span)) {
            return Some(Joined::Waiting(waiting));
        }
        // Streams have passed it: the bytes may have come since the reader looked into the cache.
        self.context.sink.get(id, span.clone()).map(Joined::Had)
    }

    /// Takes the stream out of the file's list and wakes all who wait for it.
    fn close(&self, stream: &Stream, id: ContentId, result: Result<(), ReadError>) {
        let mut by_file = self.by_file();
        if let Some(streams) = by_file.get_mut(&id) {
            streams.retain(|s| !std::ptr::eq(&**s, stream));
            if streams.is_empty() {
                by_file.remove(&id);
            }
        }
        drop(by_file);
        stream.lock().ended = Some(result);
        stream.changed.notify_all();
    }

    fn by_file(&self) -> MutexGuard<'_, HashMap<ContentId, Vec<Arc<Stream>>>> {
        self.by_file.lock()
    }
}

impl Waiting {
    /// The bytes, when the stream has passed them.
    fn bytes(self) -> Result<Vec<u8>, ReadError> {
        let mut inner = self.stream.lock();
        loop {
            if inner.waiters.get(&self.ticket).is_none_or(Waiter::is_served) {
                let served = inner.waiters.remove(&self.ticket);
                inner.last_used = Instant::now();
                return served.map(|w| w.bytes).ok_or_else(|| ReadError::Failed("the read was lost".into()));
            }
            match &inner.ended {
                Some(Err(e)) => return Err(e.clone()),
                Some(Ok(())) => {
                    return Err(ReadError::Failed("the stream ended before the read was served".into()));
                }
                // The stream heeds the limits, so this ends too.
                None => self.stream.changed.wait(&mut inner),
            }
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.stream.lock().waiters.remove(&self.ticket);
    }
}

impl Evictable for Stream {
    fn unused_since(&self) -> Option<Instant> {
        let inner = self.lock();
        let unused = inner.waiters.is_empty() && !inner.quit && inner.ended.is_none();
        unused.then_some(inner.last_used)
    }

    fn end(&self) {
        self.lock().quit = true;
        self.changed.notify_all();
    }
}

impl Stream {
    fn new() -> Self {
        let inner = Inner {
            position: 0,
            horizon: 0,
            window: FIRST_WINDOW,
            last_end: 0,
            last_used: Instant::now(),
            waiters: HashMap::new(),
            tickets: 0,
            quit: false,
            ended: None,
        };
        Stream { inner: Mutex::new(inner), changed: Condvar::new() }
    }

    /// A place in the queue, if the stream will still pass `span`, or is in the middle of it and
    /// what it passed is kept.
    fn wait_for(self: &Arc<Self>, context: &Context, id: ContentId, span: &Range<u64>) -> Option<Waiting> {
        let mut inner = self.lock();
        if inner.quit || inner.ended.is_some() || inner.position >= span.end {
            return None;
        }
        let bytes = match span.start..inner.position {
            passed if passed.is_empty() => Vec::new(),
            passed => context.sink.get(id, passed)?,
        };
        inner.window = match span.start.abs_diff(inner.last_end) < NEAR {
            true => (inner.window * 2).min(LAST_WINDOW),
            false => FIRST_WINDOW,
        };
        inner.horizon = inner.horizon.max(span.end + inner.window);
        inner.last_end = span.end;
        inner.last_used = Instant::now();
        let ticket = inner.tickets;
        inner.tickets += 1;
        inner.waiters.insert(ticket, Waiter { span: span.clone(), bytes });
        drop(inner);
        self.changed.notify_all();
        Some(Waiting { stream: Arc::clone(self), ticket })
    }

    fn run(&self, context: &Context, id: ContentId) -> Result<(), ReadError> {
        let content = context.content(id)?;
        let result = self.pump(context, id, &content);
        if let Err(ReadError::Incomplete(_)) = &result
            && self.lock().position >= content.size
        {
            // It gave more than the file: then the right bytes were perhaps others.
            context.sink.forget(id, content.size);
        }
        if let Err(e) = &result
            && !matches!(e, ReadError::Ending)
        {
            tracing::warn!("{}: {e}", path_of(&content));
        }
        result
    }

    fn pump(&self, context: &Context, id: ContentId, content: &Content) -> Result<(), ReadError> {
        let mut extract = Extract::start(context, &[*content])?;
        let total = content.before + content.size + content.after;
        let mut buffer = vec![0; BUFFER];
        let mut frame = Vec::with_capacity(FRAME as usize);
        let mut got = 0u64;
        loop {
            if got < total && !self.wanted(context)? {
                return Ok(());
            }
            let n = extract.read(&mut buffer, || self.lock().quit)?;
            if n == 0 {
                return extract.judge(got, total);
            }
            let start = got;
            got += n as u64;
            if got > total {
                return Err(ReadError::Incomplete(format!("borg extract gave more than the {total} bytes")));
            }
            // Of the bytes [start, got) of the stream those that are this file's.
            let from = content.before.clamp(start, got) - start;
            let to = (content.before + content.size).clamp(start, got) - start;
            self.take(context, (id, content.size), &buffer[from as usize..to as usize], &mut frame);
        }
    }

    /// Waits until somebody wants bytes beyond those delivered; false: nobody has for too long.
    fn wanted(&self, context: &Context) -> Result<bool, ReadError> {
        let mut inner = self.lock();
        loop {
            if inner.quit {
                return if context.slots.ending() { Err(ReadError::Ending) } else { Ok(false) };
            }
            if inner.position < inner.horizon {
                return Ok(true);
            }
            let unused = inner.last_used.elapsed();
            let Some(rest) = context.limits.idle.checked_sub(unused).filter(|rest| !rest.is_zero()) else {
                // From here on nobody can join: wait_for sees it under the same lock.
                inner.quit = true;
                return Ok(false);
            };
            self.changed.wait_for(&mut inner, rest);
        }
    }

    /// Cuts bytes of the file into frames; each full one is kept, then given to those who wait.
    fn take(&self, context: &Context, (id, size): (ContentId, u64), mut bytes: &[u8], frame: &mut Vec<u8>) {
        while !bytes.is_empty() {
            let n = bytes.len().min(FRAME as usize - frame.len());
            frame.extend_from_slice(&bytes[..n]);
            bytes = &bytes[n..];
            let start = self.lock().position;
            if frame.len() as u64 == FRAME || start + frame.len() as u64 == size {
                context.sink.put(id, start, frame);
                self.deliver(start, frame);
                frame.clear();
            }
        }
    }

    fn deliver(&self, start: u64, frame: &[u8]) {
        let mut inner = self.lock();
        let end = start + frame.len() as u64;
        let mut served = false;
        for waiter in inner.waiters.values_mut() {
            let (from, to) = (waiter.span.start.clamp(start, end), waiter.span.end.clamp(start, end));
            waiter.bytes.extend_from_slice(&frame[(from - start) as usize..(to - start) as usize]);
            served |= waiter.is_served();
        }
        inner.position = end;
        drop(inner);
        if served {
            self.changed.notify_all();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock()
    }
}
