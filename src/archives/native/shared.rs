//! What all archives of a repository share.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::directories::Private;
use borg_repository::Repository;

pub struct Shared {
    pub repository: Repository,
    /// The repository is on this machine.
    pub is_local: bool,
    /// Where chunks are kept for the next mount; the repository uses its path as long as it is open.
    _chunks: Option<Private>,
    ending: AtomicBool,
}

impl Shared {
    pub fn new(repository: Repository, is_local: bool, chunks: Option<Private>) -> Self {
        Shared { repository, is_local, _chunks: chunks, ending: AtomicBool::new(false) }
    }

    /// The mount ends: reads fail from here on.
    pub fn end(&self) {
        self.ending.store(true, Ordering::Release);
    }

    pub fn is_ending(&self) -> bool {
        self.ending.load(Ordering::Acquire)
    }
}
