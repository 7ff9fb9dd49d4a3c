//! The limit on the number of borg processes of a mount, and the signal that the mount ends.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use crate::archives::source::ReadError;
use parking_lot::{Condvar, Mutex, MutexGuard};

/// How long a read waits for a free slot.
const QUEUE: Duration = Duration::from_secs(600);

/// A process that can be ended to free its slot.
pub trait Evictable: Send + Sync {
    /// Since when nobody has used it; `None` while somebody does, or when it is ending.
    fn unused_since(&self) -> Option<Instant>;

    /// Asks it to end soon.
    fn end(&self);
}

/// All slots of a mount.
pub struct Slots {
    state: Mutex<SlotState>,
    changed: Condvar,
    limit: usize,
}

struct SlotState {
    used: usize,
    ending: bool,
    tenants: Vec<Weak<dyn Evictable>>,
}

/// The right to run one borg process, given back when dropped.
pub struct Slot(Arc<Slots>);

impl Slots {
    pub fn new(limit: usize) -> Arc<Self> {
        let state = SlotState { used: 0, ending: false, tenants: Vec::new() };
        Arc::new(Slots { state: Mutex::new(state), changed: Condvar::new(), limit: limit.max(1) })
    }

    /// Waits for a slot. To free one, ends the tenant that has been unused for longest.
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
            let tenants: Vec<_> = state.tenants.iter().filter_map(Weak::upgrade).collect();
            drop(state);
            let unused =
                tenants.iter().filter_map(|t| Some((t.unused_since()?, t))).min_by_key(|(since, _)| *since);
            if let Some((_, tenant)) = unused {
                tenant.end();
            }
            state = self.lock();
            if state.used >= self.limit && !state.ending {
                // Checks again from time to time, because a stream becomes unused without a
                // notification.
                let wait = Duration::from_millis(100).min(deadline - now);
                self.changed.wait_for(&mut state, wait);
            }
        }
    }

    /// Registers `tenant`, so that [`Slots::acquire`] and [`Slots::shut_down`] can end it.
    pub fn enlist(&self, tenant: Weak<dyn Evictable>) {
        let mut state = self.lock();
        state.tenants.retain(|tenant| tenant.strong_count() > 0);
        state.tenants.push(tenant);
    }

    pub fn ending(&self) -> bool {
        self.lock().ending
    }

    /// Sleeps until the time is over or the mount ends.
    pub fn pause(&self, time: Duration) -> Result<(), ReadError> {
        let mut state = self.lock();
        self.changed.wait_while_for(&mut state, |state| !state.ending, time);
        if state.ending { Err(ReadError::Ending) } else { Ok(()) }
    }

    /// Ends all tenants and waits for their processes.
    pub fn shut_down(&self) {
        let mut state = self.lock();
        state.ending = true;
        let tenants: Vec<_> = state.tenants.iter().filter_map(Weak::upgrade).collect();
        drop(state);
        self.changed.notify_all();
        tenants.iter().for_each(|tenant| tenant.end());
        let mut state = self.lock();
        while state.used > 0 {
            self.changed.wait(&mut state);
        }
    }

    fn lock(&self) -> MutexGuard<'_, SlotState> {
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
