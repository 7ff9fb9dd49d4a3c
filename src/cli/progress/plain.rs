//! Progress as plain lines, for a journal or a log.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::text::{Clock, text};
use crate::cli::console::Console;
use crate::progress::{Monitor, Progress};

/// The interval between two lines.
const PAUSE: Duration = Duration::from_secs(60);

/// Prints a line a minute.
pub struct Lines {
    console: Console,
    state: Mutex<(Clock, Instant)>,
}

impl Lines {
    pub fn new(console: Console) -> Self {
        Lines { console, state: Mutex::new((Clock::default(), Instant::now())) }
    }

    /// Restarts the clock for the next step, even if it has the same name.
    pub fn restart(&self) {
        self.state.lock().0 = Clock::default();
    }
}

impl Monitor for Lines {
    fn progress(&self, progress: Progress<'_>) {
        let (clock, last) = &mut *self.state.lock();
        let (elapsed, is_new) = clock.elapsed(progress.step);
        if is_new {
            *last = Instant::now();
        }
        if last.elapsed() >= PAUSE {
            *last = Instant::now();
            self.console.step(progress.step, &text(&progress, elapsed));
        }
    }
}
