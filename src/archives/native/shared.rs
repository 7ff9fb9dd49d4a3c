//! What all archives of a repository share.

use std::sync::atomic::{AtomicBool, Ordering};

use super::lists::Numbers;
use crate::directories::Private;
use borg_repository::Repository;

pub struct Shared {
    pub repository: Repository,
    pub numbers: Numbers,
    /// Where chunks are kept for the next mount.
    pub chunks: Option<Private>,
    ending: AtomicBool,
}

impl Shared {
    pub fn new(repository: Repository) -> Self {
        Shared { repository, numbers: Numbers::default(), chunks: None, ending: AtomicBool::new(false) }
    }

    /// The mount ends: reads fail from here on.
    pub fn end(&self) {
        self.ending.store(true, Ordering::Release);
    }

    pub fn is_ending(&self) -> bool {
        self.ending.load(Ordering::Acquire)
    }
}
