//! The bound on the number of borg processes of a mount, and the word that it ends.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};

use super::long::Stream;
use crate::archives::source::ReadError;

/// How long a read waits until one of the borg processes is free.
const QUEUE: Duration = Duration::from_secs(600);

/// All slots of a mount.
pub struct Slots {
    state: Mutex<State>,
    changed: Condvar,
    limit: usize,
}

struct State {
    used: usize,
    ending: bool,
    streams: Vec<Weak<Stream>>,
}

/// The right to run one borg process, given back when dropped.
pub struct Slot(Arc<Slots>);

impl Slots {
    pub fn new(limit: usize) -> Arc<Self> {
        let state = State { used: 0, ending: false, streams: Vec::new() };
        Arc::new(Slots { state: Mutex::new(state), changed: Condvar::new(), limit: limit.max(1) })
    }

    /// Waits for a slot; a stream that nobody waits for is ended to make one free.
    pub fn acquire(self: &Arc<Self>) -> Result<Slot, ReadError> {
        let deadline = Instant::now() + QUEUE;
        let mut state = self.lock();
        loop {
            if state.ending {
                return Err(ReadError::Ending);
            }
            if state.used < self.limit {
                state.used += 1;
                return Ok(Slot(Arc::clone(self)));
            }
            let now = Instant::now();
            if now >= deadline {
                return Err(ReadError::Stalled(format!("{} streams were busy for too long", self.limit)));
            }
            let streams: Vec<_> = state.streams.iter().filter_map(Weak::upgrade).collect();
            drop(state);
            let unused = streams.iter().filter_map(|s| Some((s.unused_since()?, s))).min_by_key(|(t, _)| *t);
            if let Some((_, stream)) = unused {
                stream.end();
            }
            state = self.lock();
            if state.used >= self.limit && !state.ending {
                // Looks again now and then: a stream can become unused without a word.
                let wait = Duration::from_millis(100).min(deadline - now);
                self.changed.wait_for(&mut state, wait);
            }
        }
    }

    /// A stream that [`Slots::acquire`] and [`Slots::shut_down`] may end.
    pub fn enlist(&self, stream: &Arc<Stream>) {
        let mut state = self.lock();
        state.streams.retain(|s| s.strong_count() > 0);
        state.streams.push(Arc::downgrade(stream));
    }

    pub fn ending(&self) -> bool {
        self.lock().ending
    }

    /// Sleeps, unless the mount ends.
    pub fn pause(&self, time: Duration) -> Result<(), ReadError> {
        let mut state = self.lock();
        self.changed.wait_while_for(&mut state, |state| !state.ending, time);
        if state.ending { Err(ReadError::Ending) } else { Ok(()) }
    }

    /// Ends all streams and waits until every process is gone.
    pub fn shut_down(&self) {
        let mut state = self.lock();
        state.ending = true;
        let streams: Vec<_> = state.streams.iter().filter_map(Weak::upgrade).collect();
        drop(state);
        self.changed.notify_all();
        streams.iter().for_each(|s| s.end());
        let mut state = self.lock();
        while state.used > 0 {
            self.changed.wait(&mut state);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

impl Slot {
    pub fn ending(&self) -> bool {
        self.0.ending()
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.lock().used -= 1;
        self.0.changed.notify_all();
    }
}
