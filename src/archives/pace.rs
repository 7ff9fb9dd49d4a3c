//! How often a mount looks for new archives.

use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};

use crate::error::Result;
use crate::tools::borg::Borg;

/// Looking into a local directory only lists some names.
const LOCAL: Duration = Duration::from_secs(1);
/// Looking at a server needs a new connection.
const REMOTE: Duration = Duration::from_secs(60);

/// The time of the last look, and the transaction that it found.
pub struct Pace {
    every: Duration,
    last: Mutex<Last>,
}

struct Last {
    looked: Instant,
    transaction: Option<u64>,
}

impl Pace {
    /// Must be made before the archives are listed. `every` overrides the default interval of the
    /// repository.
    pub fn new(borg: &Borg, every: Option<Duration>) -> Self {
        let usual = if borg.local().is_some() { LOCAL } else { REMOTE };
        let last = Last { looked: Instant::now(), transaction: borg.transaction() };
        Pace { every: every.unwrap_or(usual), last: Mutex::new(last) }
    }

    pub fn is_due(&self) -> bool {
        self.last().looked.elapsed() >= self.every
    }

    /// Calls `list` if something may have been committed to the repository since the last call.
    ///
    /// # Errors
    /// Those of `list`; then the next call does not skip `list`.
    pub fn look<T>(&self, borg: &Borg, list: impl FnOnce() -> Result<Option<T>>) -> Result<Option<T>> {
        // The next look finds what is committed from now on.
        let transaction = borg.transaction();
        let known = transaction.is_some() && transaction == self.last().transaction;
        let listed = if known { Ok(None) } else { list() };
        // A look may take longer than the interval.
        *self.last() = Last { looked: Instant::now(), transaction: transaction.filter(|_| listed.is_ok()) };
        listed
    }

    fn last(&self) -> MutexGuard<'_, Last> {
        self.last.lock()
    }
}
