//! The text of a progress report.

use std::time::{Duration, Instant};

use crate::cli::units;
use crate::escape;
use crate::progress::{Progress, Total, Unit};

/// An estimate needs at least this much time.
const WARM_UP: Duration = Duration::from_secs(3);

/// The current step, and its start.
#[derive(Default)]
pub struct Clock(Option<(&'static str, Instant)>);

impl Clock {
    /// The duration of `step`, and whether it begins now.
    pub fn elapsed(&mut self, step: &'static str) -> (Duration, bool) {
        match self.0 {
            Some((current, begun)) if current == step => (begun.elapsed(), false),
            _ => {
                self.0 = Some((step, Instant::now()));
                (Duration::ZERO, true)
            }
        }
    }
}

/// `41.2 GB of about 96.1 GB   212 MB/s   4 min 20 s left   dev/zvol/tank/…`
pub fn text(progress: &Progress<'_>, elapsed: Duration) -> String {
    let mut text = match (progress.unit, total(progress)) {
        (Unit::Entries, _) => format!("{} entries", units::count(progress.done)),
        (Unit::Bytes, Some(total)) => {
            let about = if matches!(progress.total, Total::About(_)) { "about " } else { "" };
            format!("{} of {about}{}", units::size(progress.done), units::size(total))
        }
        (Unit::Bytes, None) => units::size(progress.done),
    };
    if progress.unit == Unit::Bytes && progress.done > 0 {
        text.push_str(&speed(progress, elapsed));
    }
    if !progress.subject.is_empty() {
        text.push_str(&format!("   {}", escape::line(progress.subject)));
    }
    text
}

/// The total; `None` also if more was done than expected.
pub fn total(progress: &Progress<'_>) -> Option<u64> {
    match progress.total {
        Total::Exactly(total) => Some(total),
        Total::About(total) => Some(total).filter(|total| *total >= progress.done),
        Total::Unknown => None,
    }
}

fn speed(progress: &Progress<'_>, elapsed: Duration) -> String {
    let rate = progress.done as f64 / elapsed.as_secs_f64();
    if !rate.is_finite() || rate < 1.0 {
        return String::new();
    }
    let mut text = format!("   {}/s", units::size(rate as u64));
    let remaining = total(progress).map_or(0, |total| total.saturating_sub(progress.done));
    if remaining > 0 && elapsed >= WARM_UP {
        let left = Duration::from_secs_f64(remaining as f64 / rate);
        text.push_str(&format!("   {} left", units::duration(left)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEN: Duration = Duration::from_secs(10);

    #[test]
    fn a_report_says_how_far_how_fast_and_how_long() {
        let exactly = Progress::bytes("restore", 2_000_000_000, Total::Exactly(8_000_000_000));
        assert_eq!(text(&exactly, TEN), "2.0 GB of 8.0 GB   200 MB/s   30 s left");
        assert_eq!(text(&exactly, Duration::from_secs(1)), "2.0 GB of 8.0 GB   2.0 GB/s");
        let nothing = Progress::bytes("read back", 0, Total::Exactly(5));
        assert_eq!(text(&nothing, Duration::ZERO), "0 B of 5 B");
        assert_eq!(text(&Progress::entries("files", 214_310), TEN), "214,310 entries");
    }

    #[test]
    fn the_remaining_time_comes_from_the_rate_and_the_last_run() {
        let about = |total| Progress::bytes("archive", 1_000_000_000, total).with_subject("x");
        let message = text(&about(Total::About(7_000_000_000)), TEN);
        assert_eq!(message, "1.0 GB of about 7.0 GB   100 MB/s   1 min 0 s left   x");
        assert_eq!(text(&about(Total::Unknown), TEN), "1.0 GB   100 MB/s   x");
        let more_than_last_time = text(&about(Total::About(5)), TEN);
        assert_eq!(more_than_last_time, "1.0 GB   100 MB/s   x");
    }

    #[test]
    fn a_name_does_not_steer_the_terminal() {
        let message =
            text(&Progress::bytes("archive", 1000, Total::Unknown).with_subject("a\x1b[2Jb\n"), TEN);
        assert!(message.ends_with("a\\u{1b}[2Jb\\n"), "{message:?}");
    }
}
