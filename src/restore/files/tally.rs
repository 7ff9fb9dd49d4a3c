//! Counts what a restore of files did, from any thread.

use std::sync::atomic::{AtomicU64, Ordering};

/// A number that any thread adds to.
#[derive(Default)]
pub struct Count(AtomicU64);

impl Count {
    pub fn add(&self, number: u64) {
        self.0.fetch_add(number, Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What was done. Entries, unless it says bytes.
#[derive(Default)]
pub struct Tally {
    pub made: Count,
    pub replaced: Count,
    /// Were as they should be.
    pub right: Count,
    /// Had the right bytes, and got their attributes.
    pub repaired: Count,
    pub deleted: Count,
    /// Chunks that were fetched.
    pub fetched_chunks: Count,
    /// Bytes that were fetched, as they are stored.
    pub fetched: Count,
    /// Bytes that lay on this machine.
    pub local: Count,
    /// Bytes that were written.
    pub written: Count,
}
