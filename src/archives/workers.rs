//! Threads that share work; the first error of one stops all.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use crate::error::{Error, Result};
use crate::process::interrupt;

/// Each thread holds some chunks.
const MOST: usize = 8;

/// One for each processor, but at most eight.
pub fn count() -> usize {
    // Finding out reads files of cgroups, and batches ask for every chunk.
    static COUNT: OnceLock<usize> = OnceLock::new();
    *COUNT.get_or_init(|| std::thread::available_parallelism().map_or(1, usize::from).min(MOST))
}

/// The first error of several threads.
#[derive(Default)]
pub struct Failure {
    happened: AtomicBool,
    error: Mutex<Option<Error>>,
}

impl Failure {
    /// Keeps the error, if `result` is the first.
    pub fn note(&self, result: Result<()>) {
        if let Err(error) = result {
            let mut first = self.error.lock();
            self.happened.store(true, Ordering::Release);
            first.get_or_insert(error);
        }
    }

    /// Whether another thread failed, so that continuing is useless.
    ///
    /// # Errors
    /// When a signal asks this process to end.
    pub fn ended(&self) -> Result<bool> {
        interrupt::check()?;
        Ok(self.happened.load(Ordering::Acquire))
    }

    /// # Errors
    /// The first error.
    pub fn into_result(self) -> Result<()> {
        let error = self.error.into_inner();
        error.map_or(Ok(()), Err)
    }
}

/// Runs `work` on [some threads](count) and waits for all of them.
///
/// # Errors
/// The first error of a thread.
pub fn run(work: impl Fn(&Failure) -> Result<()> + Sync) -> Result<()> {
    let failure = Failure::default();
    std::thread::scope(|scope| {
        for _ in 0..count() {
            scope.spawn(|| failure.note(work(&failure)));
        }
    });
    failure.into_result()
}
