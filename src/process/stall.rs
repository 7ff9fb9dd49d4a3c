//! Detects a program that makes no progress: it neither prints nor works.

use std::ffi::OsStr;
use std::time::{Duration, Instant};

use crate::error::Error;

/// How many checks a limit has, and the longest time between two.
const LOOKS: u32 = 8;
const RARELY: Duration = Duration::from_secs(30);
/// The part of the time between two checks for which a working program has a processor. A waiting
/// program also runs now and then, to check for input.
const WORKING: f64 = 0.05;

/// Ends the wait for a program that does nothing.
pub struct Stall {
    limit: Duration,
    hint: String,
    /// When it last made progress.
    since: Instant,
    looked: Instant,
    last: Doings,
}

/// What a program has done so far.
#[derive(Default, Clone, Copy, PartialEq)]
struct Doings {
    /// Lines on standard error.
    lines: u64,
    /// Bytes read and written.
    moved: u64,
    /// Seconds on a processor.
    worked: f64,
    /// Somebody stopped it with a signal, and may continue it.
    paused: bool,
}

impl Stall {
    pub(super) fn new(limit: Duration, hint: String) -> Stall {
        let now = Instant::now();
        Stall { limit, hint, since: now, looked: now, last: Doings::default() }
    }

    /// Whether the process `pid`, which has printed this many lines, did nothing for the limit.
    pub(super) fn is_over(&mut self, pid: u32, lines: u64) -> bool {
        if self.looked.elapsed() < (self.limit / LOOKS).min(RARELY) {
            return false;
        }
        let (time, now) = (self.looked.elapsed().as_secs_f64(), doings(pid, lines));
        self.looked = Instant::now();
        let last = std::mem::replace(&mut self.last, now);
        let got_on = now.lines != last.lines
            || now.moved != last.moved
            || now.worked - last.worked >= time * WORKING
            || now.paused;
        if got_on {
            self.since = self.looked;
        }
        self.since.elapsed() >= self.limit
    }

    pub(super) fn error(&self, program: &OsStr) -> Error {
        let (name, seconds) = (program.display(), self.limit.as_secs_f32());
        Error::failed(format!("{name} was stopped: it did nothing for {seconds} s")).hint(self.hint.clone())
    }
}

fn doings(pid: u32, lines: u64) -> Doings {
    let io = std::fs::read_to_string(format!("/proc/{pid}/io")).unwrap_or_default();
    let count = |name: &str| io.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok());
    let moved = ["rchar:", "wchar:"].iter().filter_map(|name| count(name)).sum();
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name in front of it may contain anything.
    let fields: Vec<&str> = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
    let ticks = |n: usize| fields.get(n).and_then(|ticks| ticks.parse::<u64>().ok()).unwrap_or_default();
    // SAFETY: it only asks for a number.
    let second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) }.max(1) as f64;
    let paused = fields.first().is_some_and(|state| *state == "T");
    Doings { lines, moved, worked: (ticks(11) + ticks(12)) as f64 / second, paused }
}

#[cfg(test)]
mod tests {
    use super::super::Command;
    use super::*;

    fn run(script: &str, limit: Duration) -> Result<super::super::Output, Error> {
        Command::new("sh").args(["-c", script]).stalls_after(limit, "see to it").output()
    }

    #[test]
    fn who_does_nothing_is_stopped_and_named() {
        let error = run("sleep 600", Duration::from_millis(300)).unwrap_err();
        assert_eq!(error.to_string(), "sh was stopped: it did nothing for 0.3 s");
        assert_eq!(error.hints(), ["see to it"]);
    }

    #[test]
    fn who_speaks_reads_or_works_is_left_alone_however_long_it_takes() {
        let limit = Duration::from_secs(4);
        let slowly = |step: &str| format!("for i in $(seq 16); do {step}; sleep 0.3; done");
        let busy = "end=$(($(cut -d. -f1 /proc/uptime) + 6)); while :; do i=0; while [ $i -lt 20000 ]; do
            i=$((i+1)); done; [ $(cut -d. -f1 /proc/uptime) -lt $end ] || exit 0; done";
        std::thread::scope(|scope| {
            for script in [slowly("echo on >&2"), slowly("read line < /proc/uptime"), busy.to_owned()] {
                scope.spawn(move || run(&script, limit).unwrap());
            }
        });
    }

    #[test]
    fn who_was_stopped_by_somebody_may_go_on() {
        let limit = Duration::from_millis(200);
        let child = Command::new("sh").args(["-c", "kill -STOP $$; echo on"]).stalls_after(limit, "");
        let mut child = child.spawn(|_| {}).unwrap();
        let (pid, begun) = (nix::unistd::Pid::from_raw(child.id() as i32), Instant::now());
        let ended = child.wait_patiently(|| {
            if begun.elapsed() > 5 * limit {
                let _ = nix::sys::signal::kill(pid, nix::sys::signal::SIGCONT);
            }
            false
        });
        assert_eq!(ended.unwrap(), Some(super::super::Ended::Code(0)));
    }
}
