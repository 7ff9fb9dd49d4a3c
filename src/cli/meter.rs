//! How work on an image is told while it goes on: a line that is redrawn on a terminal, a line a
//! minute elsewhere, nothing when quiet.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::console::{self, Console};
use super::units;
use crate::archives::progress::{Progress, Step};

const REDRAW: Duration = Duration::from_millis(100);
const PLAIN: Duration = Duration::from_secs(60);
/// An estimate from less than this is no better than a guess.
const WARM_UP: Duration = Duration::from_secs(3);

/// Tells progress on the console.
pub struct Drawn {
    console: Console,
    state: Mutex<State>,
}

struct State {
    step: Option<Step>,
    begun: Instant,
    told: Instant,
    drawn: bool,
}

impl Drawn {
    pub fn new(console: Console) -> Self {
        let now = Instant::now();
        Drawn { console, state: Mutex::new(State { step: None, begun: now, told: now, drawn: false }) }
    }

    pub fn tell(&self, progress: Progress) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.step != Some(progress.step) {
            let now = Instant::now();
            (state.step, state.begun, state.told) = (Some(progress.step), now, now);
        }
        let interactive = self.console.is_interactive();
        if state.told.elapsed() < if interactive { REDRAW } else { PLAIN } {
            return;
        }
        state.told = Instant::now();
        let text = text(&progress, state.begun.elapsed());
        if interactive {
            console::redraw(&text);
            state.drawn = true;
        } else {
            self.console.say(&text);
        }
    }

    /// Takes the line away.
    pub fn end(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if std::mem::take(&mut state.drawn) {
            console::redraw("");
        }
    }
}

/// The line is drawn anew after so many entries of an archive.
const ENTRIES_DRAWN: u64 = 10_000;

/// Tells how many entries of an archive were read.
pub fn entries(console: Console, entries: u64) {
    if entries.is_multiple_of(ENTRIES_DRAWN) && console.is_interactive() {
        console::redraw(&format!("  files      {} entries", units::count(entries)));
    }
}

fn text(progress: &Progress, time: Duration) -> String {
    let label = match progress.step {
        Step::Restore => "restore",
        Step::ReadBack => "read back",
        Step::Compare => "compare",
        Step::Read => "read",
        Step::Extract => "extract",
    };
    let (done, total) = (units::size(progress.done), units::size(progress.total));
    let mut text = format!("  {label:<9}  {done} of {total}");
    let rate = progress.done as f64 / time.as_secs_f64();
    if rate.is_finite() && progress.done > 0 {
        text.push_str(&format!("   {}/s", units::size(rate as u64)));
        if time >= WARM_UP && progress.done < progress.total {
            let left = Duration::from_secs_f64((progress.total - progress.done) as f64 / rate);
            text.push_str(&format!("   {} left", units::duration(left)));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_tells_how_far_how_fast_and_how_long() {
        let progress = Progress { step: Step::Restore, done: 2_000_000_000, total: 8_000_000_000 };
        let told = text(&progress, Duration::from_secs(10));
        assert_eq!(told, "  restore    2.0 GB of 8.0 GB   200 MB/s   30 s left");
        assert_eq!(text(&progress, Duration::from_secs(1)), "  restore    2.0 GB of 8.0 GB   2.0 GB/s");
        let none = Progress { step: Step::ReadBack, done: 0, total: 5 };
        assert_eq!(text(&none, Duration::ZERO), "  read back  0 B of 5 B");
    }
}
