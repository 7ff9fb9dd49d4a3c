//! Shows progress: a bar on a terminal, a line a minute elsewhere, nothing when quiet.

mod plain;
mod terminal;
mod text;

use super::console::Console;
use crate::progress::{Monitor, Progress, Unit};

use plain::Lines;
use terminal::Bar;

/// Entries arrive by the million: only each of so many is shown.
const ENTRIES: u64 = 1024;

/// A monitor on the console.
pub enum Display {
    Terminal(Bar),
    Plain(Lines),
}

impl Display {
    pub fn new(console: Console) -> Self {
        if console.is_interactive() {
            Display::Terminal(Bar::new())
        } else {
            Display::Plain(Lines::new(console))
        }
    }

    /// Removes the bar, for another line or at the end. The next report draws it again.
    pub fn clear(&self) {
        if let Display::Terminal(bar) = self {
            bar.clear();
        }
    }

    /// Restarts the clock for the next step, even if it has the same name as the last one.
    pub fn restart(&self) {
        match self {
            Display::Terminal(bar) => bar.restart(),
            Display::Plain(lines) => lines.restart(),
        }
    }

    /// Shows on a terminal that a step is running whose progress is unknown.
    pub fn activity(&self, step: &'static str) {
        if let Display::Terminal(bar) = self {
            bar.activity(step);
        }
    }
}

impl Monitor for Display {
    fn progress(&self, progress: Progress<'_>) {
        if progress.unit == Unit::Entries && !progress.done.is_multiple_of(ENTRIES) {
            return;
        }
        match self {
            Display::Terminal(bar) => bar.progress(progress),
            Display::Plain(lines) => lines.progress(progress),
        }
    }
}

impl Drop for Display {
    fn drop(&mut self) {
        self.clear();
    }
}
