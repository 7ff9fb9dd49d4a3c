//! How far work on an image has come.

use std::sync::atomic::{AtomicU64, Ordering};

/// What is being done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Holding the target against the archive, and writing what differs.
    Restore,
    /// Reading back what was written.
    ReadBack,
    /// Holding the target against the archive.
    Compare,
    /// Reading the archive's data.
    Read,
    /// Files of the archive into a folder.
    Extract,
}

/// Bytes done of all that there are to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    pub step: Step,
    pub done: u64,
    pub total: u64,
}

/// Told of progress, from any thread.
pub type Monitor<'a> = &'a (dyn Fn(Progress) + Sync);

/// Counts one step, whoever works on it.
pub struct Meter<'a> {
    step: Step,
    done: AtomicU64,
    total: u64,
    monitor: Monitor<'a>,
}

impl<'a> Meter<'a> {
    pub fn new(step: Step, total: u64, monitor: Monitor<'a>) -> Self {
        Meter { step, done: AtomicU64::new(0), total, monitor }
    }

    pub fn add(&self, bytes: u64) {
        let done = self.done.fetch_add(bytes, Ordering::Relaxed) + bytes;
        (self.monitor)(Progress { step: self.step, done, total: self.total });
    }
}

/// What a restore did, in bytes unless said otherwise.
#[derive(Default)]
pub struct Counts {
    /// Were right already.
    pub right: AtomicU64,
    /// Read from the target to be held against the archive.
    pub read: AtomicU64,
    /// Read of what was proven to be right.
    pub sampled: AtomicU64,
    pub written: AtomicU64,
    /// Made zeros without bytes being sent.
    pub zeroed: AtomicU64,
    /// A number of chunks.
    pub fetched_chunks: AtomicU64,
    /// Over the line, compressed.
    pub fetched: AtomicU64,
}

pub fn add(counter: &AtomicU64, bytes: u64) {
    counter.fetch_add(bytes, Ordering::Relaxed);
}

pub fn of(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}
