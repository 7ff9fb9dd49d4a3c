//! Progress as a bar on a terminal.

use std::io::Write;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use parking_lot::{Mutex, MutexGuard};

use super::text::{Clock, text, total};
use crate::progress::{Monitor, Progress};

/// The interval between two drawings.
const PAUSE: Duration = Duration::from_millis(100);
const WITH_TOTAL: &str = "  {prefix:<9}  [{bar:20}] {wide_msg}";
const WITHOUT_TOTAL: &str = "  {prefix:<9}  {wide_msg}";

/// Draws a bar on standard error, without colours, and cut at the edge of the terminal.
pub struct Bar {
    bar: ProgressBar,
    state: Mutex<(Clock, Instant)>,
}

impl Bar {
    pub fn new() -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        bar.finish_and_clear();
        Bar { bar, state: Mutex::new((Clock::default(), Instant::now())) }
    }

    /// Draws a step whose progress is unknown.
    pub fn activity(&self, step: &'static str) {
        self.begin(step, WITHOUT_TOTAL, String::new());
    }

    pub fn clear(&self) {
        self.bar.finish_and_clear();
        // A process that was forked with this bar may have drawn it.
        let _ = write!(std::io::stderr().lock(), "\r\x1b[K");
    }

    /// Restarts the clock for the next step, even if it has the same name.
    pub fn restart(&self) {
        self.state().0 = Clock::default();
    }

    /// Everything is set before the bar is drawn.
    fn begin(&self, step: &'static str, template: &str, message: String) {
        self.bar.finish_and_clear();
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        self.bar.set_style(style.progress_chars("=> "));
        self.bar.set_prefix(step);
        self.bar.set_message(message);
        self.bar.reset();
    }

    fn state(&self) -> MutexGuard<'_, (Clock, Instant)> {
        self.state.lock()
    }
}

impl Monitor for Bar {
    fn progress(&self, progress: Progress<'_>) {
        let (clock, last) = &mut *self.state();
        let (elapsed, is_new) = clock.elapsed(progress.step);
        if !is_new && last.elapsed() < PAUSE {
            return;
        }
        *last = Instant::now();
        let (total, message) = (total(&progress), text(&progress, elapsed));
        if let Some(total) = total {
            self.bar.set_length(total);
        }
        if is_new || self.bar.is_finished() {
            let template = if total.is_some() { WITH_TOTAL } else { WITHOUT_TOTAL };
            self.begin(progress.step, template, message);
        } else {
            self.bar.set_message(message);
        }
        self.bar.set_position(progress.done);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_templates_are_templates() {
        for template in [WITH_TOTAL, WITHOUT_TOTAL] {
            assert!(ProgressStyle::with_template(template).is_ok(), "{template}");
        }
    }
}
