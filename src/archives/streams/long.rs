//! The stream of one large file, which all its readers share.
//!
//! It reads ahead in a window that grows while reads follow each other, so copying is fast, and a
//! look at the first block does not read the whole image. Then it waits, and borg waits with it and
//! holds the repository's lock, as every reader does. If nobody asks for some seconds, the stream
//! ends and the lock is released.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Weak};
use std::time::Instant;

use super::context::{Context, File};
use super::extract::Extract;
use super::slots::Evictable;
use crate::archive::tree::ContentId;
use crate::archives::source::{FRAME, ReadError};
use parking_lot::{Condvar, Mutex, MutexGuard};

/// How far a stream reads ahead of a random read, in bytes.
const FIRST_WINDOW: u64 = 1024 * 1024;
/// The limit of reading ahead.
const LAST_WINDOW: u64 = 64 * 1024 * 1024;
/// A read that starts this close to the end of the last one continues it: the kernel's readahead
/// arrives out of order.
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
    /// The stream reads up to here without another request.
    horizon: u64,
    window: u64,
    last_end: u64,
    last_used: Instant,
    waiters: HashMap<u64, Waiter>,
    tickets: u64,
    /// Somebody wants the stream to end.
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
    /// Held while a stream of a file is looked for and, if there is none, started.
    starting: Mutex<()>,
}

/// The result of [`LongStreams::join`].
enum Joined {
    /// The bytes have already passed.
    Had(Vec<u8>),
    Waiting(Waiting),
}

/// A place in the queue of a stream; dropping it gives it up.
struct Waiting {
    stream: Arc<Stream>,
    ticket: u64,
}

impl LongStreams {
    pub fn new(context: Arc<Context>) -> Self {
        LongStreams { context, by_file: Mutex::default(), starting: Mutex::default() }
    }

    /// The bytes at `span` of a file, from a stream that has not passed them yet, or from a new
    /// one.
    pub fn fetch(self: &Arc<Self>, id: ContentId, span: &Range<u64>) -> Result<Vec<u8>, ReadError> {
        match self.join(id, span)? {
            Joined::Had(bytes) => Ok(bytes),
            Joined::Waiting(waiting) => waiting.bytes(),
        }
    }

    /// Finds a stream of the file that has not passed `span` yet, or starts one.
    fn join(self: &Arc<Self>, id: ContentId, span: &Range<u64>) -> Result<Joined, ReadError> {
        if let Some(joined) = self.join_running(id, span) {
            return Ok(joined);
        }
        let slot = self.context.slots.acquire()?;
        // Another reader may have started the stream while this one waited for the slot, and two
        // readers must not start it at once.
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
        // Streams have passed the bytes, so they may be in the cache by now.
        self.context.sink.get(id, span.clone()).map(Joined::Had)
    }

    /// Removes the stream from the file's list and wakes all who wait for it.
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
    /// Waits until the stream has passed the bytes, and returns them.
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
                // The stream obeys the limits, so the wait ends.
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

    /// A place in the queue, if the stream has not passed `span` yet, or is in the middle of it and
    /// the cache has the first part.
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
        let file = context.file(id)?;
        let result = self.pump(context, &file);
        if let Err(ReadError::Incomplete(_)) = &result
            && self.lock().position >= file.size
        {
            // The stream returned more than the file has, so the bytes may be wrong, too.
            context.sink.forget(id, file.size);
        }
        if let Err(e) = &result
            && !matches!(e, ReadError::Ending)
        {
            tracing::warn!("{}: {e}", file.name());
        }
        result
    }

    fn pump(&self, context: &Context, file: &File) -> Result<(), ReadError> {
        let mut extract = Extract::start(context, std::slice::from_ref(file))?;
        let (before, after) = (file.place.before, file.place.after);
        let total = before + file.size + after;
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
            // The part of the bytes [start, got) of the stream that belongs to this file.
            let from = before.clamp(start, got) - start;
            let to = (before + file.size).clamp(start, got) - start;
            self.take(context, (file.id, file.size), &buffer[from as usize..to as usize], &mut frame);
        }
    }

    /// Waits until somebody wants bytes beyond those delivered; false if nobody did for too long.
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
                // From here on nobody can join: wait_for checks this under the same lock.
                inner.quit = true;
                return Ok(false);
            };
            self.changed.wait_for(&mut inner, rest);
        }
    }

    /// Divides the bytes of the file into frames; each full one is put into the cache, then given
    /// to those who wait.
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
