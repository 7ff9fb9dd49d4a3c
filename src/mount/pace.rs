//! How often a mount looks for new archives.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::tools::borg::Borg;

/// In a folder of this machine a look costs a list of some names.
const LOCAL: Duration = Duration::from_secs(1);
/// At a server it costs a new connection.
const REMOTE: Duration = Duration::from_secs(60);

/// When was last looked, and at what.
pub struct Pace {
    every: Duration,
    last: Mutex<Last>,
}

struct Last {
    looked: Instant,
    transaction: Option<u64>,
}

impl Pace {
    /// For archives that were just listed. `every` replaces what suits the repository.
    pub fn new(borg: &Borg, every: Option<Duration>) -> Self {
        let usual = if borg.local().is_some() { LOCAL } else { REMOTE };
        let last = Last { looked: Instant::now(), transaction: borg.transaction() };
        Pace { every: every.unwrap_or(usual), last: Mutex::new(last) }
    }

    pub fn is_due(&self) -> bool {
        self.last().looked.elapsed() >= self.every
    }

    /// Whether something may have been committed to the repository since this was last called.
    pub fn look(&self, borg: &Borg) -> bool {
        let transaction = borg.transaction();
        let mut last = self.last();
        last.looked = Instant::now();
        let known = transaction.is_some() && transaction == last.transaction;
        last.transaction = transaction;
        !known
    }

    /// What was to be read could not be: the next look must not take it for known.
    pub fn forget(&self) {
        self.last().transaction = None;
    }

    fn last(&self) -> MutexGuard<'_, Last> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
