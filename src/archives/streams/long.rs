//! The stream of one large file, which all its readers share.
//!
//! It reads a window ahead of what was asked for, and the window grows as long as the reads follow
//! each other, so that copying is not slowed down and a look at the first block does not pull the
//! whole image. Then it waits: borg waits with it, holding the lock that every reader holds in the
//! repository; and when nobody asks for some seconds, the stream ends and gives it back.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::{Condvar, Mutex, MutexGuard};

use super::extract::Extract;
use super::slots::Slot;
use super::{Shared, shown};
use crate::archive::tree::{Content, ContentId};
use crate::archives::source::{FRAME, ReadError};

/// How far a stream reads ahead of a read that follows no other, in bytes.
const FIRST_WINDOW: u64 = 1024 * 1024;
/// How far it reads ahead at most.
const LAST_WINDOW: u64 = 64 * 1024 * 1024;
/// Reads that start this near to the last one's end follow it: the kernel's read-ahead does not
/// come in order.
const NEAR: u64 = 4 * 1024 * 1024;
const BUFFER: usize = 1024 * 1024;

/// A running stream.
pub struct Stream {
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

/// What [`join`] found.
pub enum Joined {
    /// The bytes had passed in the meantime.
    Had(Vec<u8>),
    Waiting(Waiting),
}

/// A place in the queue of a stream, given up when dropped.
pub struct Waiting {
    stream: Arc<Stream>,
    ticket: u64,
}

/// Finds a stream of the file that will still pass `span`, or starts one.
pub fn join(shared: &Arc<Shared>, id: ContentId, span: &Range<u64>) -> Result<Joined, ReadError> {
    if let Some(joined) = join_running(shared, id, span) {
        return Ok(joined);
    }
    let slot = shared.slots.acquire()?;
    // Another reader may have started the stream while this one waited for the slot; and two must
    // not start it at once.
    let starting = shared.starting.lock();
    if let Some(joined) = join_running(shared, id, span) {
        return Ok(joined);
    }
    let stream = Arc::new(Stream::new());
    let waiting = stream
        .wait_for(shared, id, span)
        .ok_or_else(|| ReadError::Failed("a new stream is at its end".into()))?;
    shared.slots.enlist(&stream);
    let mut state = shared.state();
    state.streams.entry(id).or_default().push(Arc::clone(&stream));
    drop(state);
    drop(starting);
    let (shared_too, stream_too) = (Arc::clone(shared), Arc::clone(&stream));
    let thread = std::thread::Builder::new().name("stream".into());
    let spawned = thread.spawn(move || stream_too.run(&shared_too, id, slot));
    if let Err(e) = spawned {
        let error = ReadError::Failed(format!("cannot start a thread: {e}"));
        stream.close(shared, id, Err(error.clone()));
        return Err(error);
    }
    Ok(Joined::Waiting(waiting))
}

fn join_running(shared: &Shared, id: ContentId, span: &Range<u64>) -> Option<Joined> {
    let streams = shared.state().streams.get(&id).cloned().unwrap_or_default();
    if let Some(waiting) = streams.iter().find_map(|stream| stream.wait_for(shared, id, span)) {
        return Some(Joined::Waiting(waiting));
    }
    // Streams have passed it: the bytes may have come since the reader looked into the cache.
    shared.kept.get(id, span.clone()).map(Joined::Had)
}

impl Waiting {
    /// The bytes, when the stream has passed them.
    pub fn bytes(self) -> Result<Vec<u8>, ReadError> {
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
    fn wait_for(self: &Arc<Self>, shared: &Shared, id: ContentId, span: &Range<u64>) -> Option<Waiting> {
        let mut inner = self.lock();
        if inner.quit || inner.ended.is_some() || inner.position >= span.end {
            return None;
        }
        let bytes = match span.start..inner.position {
            passed if passed.is_empty() => Vec::new(),
            passed => shared.kept.get(id, passed)?,
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

    /// Since when nobody has waited for it; `None` while somebody does, or when it is ending.
    pub fn unused_since(&self) -> Option<Instant> {
        let inner = self.lock();
        let unused = inner.waiters.is_empty() && !inner.quit && inner.ended.is_none();
        unused.then_some(inner.last_used)
    }

    /// Asks it to end soon.
    pub fn end(&self) {
        self.lock().quit = true;
        self.changed.notify_all();
    }

    fn run(&self, shared: &Shared, id: ContentId, slot: Slot) {
        let result = shared.content(id).and_then(|content| {
            let result = self.pump(shared, id, &content);
            if let Err(ReadError::Incomplete(_)) = &result
                && self.lock().position >= content.size
            {
                // It gave more than the file: then the right bytes were perhaps others.
                shared.kept.forget(id, content.size);
            }
            if let Err(e) = &result
                && !matches!(e, ReadError::Ending)
            {
                tracing::warn!("{}: {e}", shown(&content));
            }
            result
        });
        self.close(shared, id, result);
        drop(slot);
    }

    /// Takes the stream out of the file's list and wakes all who wait for it.
    fn close(&self, shared: &Shared, id: ContentId, result: Result<(), ReadError>) {
        let mut state = shared.state();
        if let Some(streams) = state.streams.get_mut(&id) {
            streams.retain(|s| !std::ptr::eq(&**s, self));
            if streams.is_empty() {
                state.streams.remove(&id);
            }
        }
        drop(state);
        self.lock().ended = Some(result);
        self.changed.notify_all();
    }

    fn pump(&self, shared: &Shared, id: ContentId, content: &Content) -> Result<(), ReadError> {
        let mut extract = Extract::start(shared, &[*content])?;
        let total = content.before + content.size + content.after;
        let mut buffer = vec![0; BUFFER];
        let mut frame = Vec::with_capacity(FRAME as usize);
        let mut got = 0u64;
        loop {
            if got < total && !self.wanted(shared)? {
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
            self.take(shared, (id, content.size), &buffer[from as usize..to as usize], &mut frame);
        }
    }

    /// Waits until somebody wants bytes beyond those delivered; false: nobody has for too long.
    fn wanted(&self, shared: &Shared) -> Result<bool, ReadError> {
        let mut inner = self.lock();
        loop {
            if inner.quit {
                return if shared.slots.ending() { Err(ReadError::Ending) } else { Ok(false) };
            }
            if inner.position < inner.horizon {
                return Ok(true);
            }
            let unused = inner.last_used.elapsed();
            let Some(rest) = shared.limits.idle.checked_sub(unused).filter(|rest| !rest.is_zero()) else {
                // From here on nobody can join: wait_for sees it under the same lock.
                inner.quit = true;
                return Ok(false);
            };
            self.changed.wait_for(&mut inner, rest);
        }
    }

    /// Cuts bytes of the file into frames; each full one is kept, then given to those who wait.
    fn take(&self, shared: &Shared, (id, size): (ContentId, u64), mut bytes: &[u8], frame: &mut Vec<u8>) {
        while !bytes.is_empty() {
            let n = bytes.len().min(FRAME as usize - frame.len());
            frame.extend_from_slice(&bytes[..n]);
            bytes = &bytes[n..];
            let start = self.lock().position;
            if frame.len() as u64 == FRAME || start + frame.len() as u64 == size {
                shared.kept.put(id, start, frame);
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
