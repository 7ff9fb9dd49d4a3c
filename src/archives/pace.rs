//! How often a mount looks for new archives.

use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};

use crate::error::Result;
use crate::tools::borg::Borg;

/// In a directory of this machine a look costs a list of some names.
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
    /// To be made before the archives are listed. `every` replaces what suits the repository.
    pub fn new(borg: &Borg, every: Option<Duration>) -> Self {
        let usual = if borg.local().is_some() { LOCAL } else { REMOTE };
        let last = Last { looked: Instant::now(), transaction: borg.transaction() };
        Pace { every: every.unwrap_or(usual), last: Mutex::new(last) }
    }

    /// The same, `every` so often if it is said.
    pub fn looking_every(self, every: Option<Duration>) -> Self {
        Pace { every: every.unwrap_or(self.every), ..self }
    }

    pub fn is_due(&self) -> bool {
        self.last().looked.elapsed() >= self.every
    }

    /// Lets `list` list the archives, if something may have been committed to the repository since that
    /// was last done.
    ///
    /// # Errors
    /// Those of `list`; the next look is not spared then.
    pub fn look<T>(&self, borg: &Borg, list: impl FnOnce() -> Result<Option<T>>) -> Result<Option<T>> {
        // What is committed from here on is seen by the next look.
        let transaction = borg.transaction();
        let known = transaction.is_some() && transaction == self.last().transaction;
        let listed = if known { Ok(None) } else { list() };
        // A look may take longer than the time between two.
        *self.last() = Last { looked: Instant::now(), transaction: transaction.filter(|_| listed.is_ok()) };
        listed
    }

    fn last(&self) -> MutexGuard<'_, Last> {
        self.last.lock()
    }
}
