//! A running program as a guard. Dropping it asks the program to stop, then kills it, and always
//! reaps it.

use std::ffi::{OsStr, OsString};
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::ExitStatusExt;
use std::process::{ChildStdin, ChildStdout, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::interrupt;
use super::stall::Stall;
use crate::error::{Error, Kind, Result};

/// How long a child may take to end between SIGTERM and SIGKILL: borg must release its locks.
const GRACE: Duration = Duration::from_secs(10);
pub(super) const POLL: Duration = Duration::from_millis(5);
/// How long we read the pipe of a silent child that has ended: a process that it left may hold the
/// pipe forever.
pub(super) const LAST_WORDS: Duration = Duration::from_secs(2);
/// The longest line of standard error; the rest of a longer line is dropped.
const MAX_LINE: u64 = 64 * 1024;

/// How a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The exit code.
    Code(i32),
    /// The signal.
    Signal(i32),
}

impl From<ExitStatus> for Ended {
    fn from(status: ExitStatus) -> Self {
        match (status.code(), status.signal()) {
            (Some(code), _) => Ended::Code(code),
            (None, signal) => Ended::Signal(signal.unwrap_or_default()),
        }
    }
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Ended::Code(code) => write!(f, "exit code {code}"),
            Ended::Signal(signal) => match Signal::try_from(*signal) {
                Ok(name) => write!(f, "killed by {name}"),
                Err(_) => write!(f, "killed by signal {signal}"),
            },
        }
    }
}

/// A running program, and the thread that drains its standard error.
pub struct Child {
    inner: std::process::Child,
    program: OsString,
    stderr: Option<Listener>,
    stall: Option<Stall>,
    ended: Option<Ended>,
}

impl Child {
    /// Passes each line of `pipe` to `on_line`.
    pub(super) fn new(
        inner: std::process::Child,
        program: OsString,
        pipe: Option<impl Read + Send + 'static>,
        stall: Option<Stall>,
        mut on_line: impl FnMut(&[u8]) + Send + 'static,
    ) -> Self {
        let stderr = pipe.map(|pipe| {
            let steps = Arc::new(AtomicU64::new(0));
            let counter = Arc::clone(&steps);
            let thread = std::thread::spawn(move || {
                let mut reader = BufReader::new(pipe);
                let mut line = Vec::new();
                loop {
                    line.clear();
                    let read = reader.by_ref().take(MAX_LINE).read_until(b'\n', &mut line);
                    counter.fetch_add(1, Ordering::Relaxed);
                    match read {
                        Ok(0) | Err(_) => return,
                        Ok(_) => on_line(line.trim_ascii_end()),
                    }
                    if line.len() as u64 == MAX_LINE && !line.ends_with(b"\n") {
                        let _ = reader.skip_until(b'\n');
                    }
                    counter.fetch_add(1, Ordering::Relaxed);
                }
            });
            Listener { thread, steps }
        });
        Child { inner, program, stderr, stall, ended: None }
    }

    pub fn id(&self) -> u32 {
        self.inner.id()
    }

    /// The read end of its standard output; `None` if it was taken before.
    pub fn stdout(&mut self) -> Option<ChildStdout> {
        self.inner.stdout.take()
    }

    /// Waits for the end, or until `give_up` returns true, which is called every few milliseconds.
    /// Then returns `None`, and the child keeps running.
    ///
    /// # Errors
    /// When the kernel refuses the call.
    pub fn wait_unless(&mut self, mut give_up: impl FnMut() -> bool) -> Result<Option<Ended>> {
        while self.ended.is_none() {
            if give_up() {
                return Ok(None);
            }
            match self.inner.try_wait().map_err(|e| self.cannot_wait(e))? {
                Some(status) => return Ok(Some(self.settle(status))),
                None => std::thread::sleep(POLL),
            }
        }
        Ok(self.ended)
    }

    /// The write end of its standard input, if that is a pipe; `None` if it was taken before.
    pub fn stdin(&mut self) -> Option<ChildStdin> {
        self.inner.stdin.take()
    }

    /// Waits for the end. Stops the child after `time`.
    ///
    /// # Errors
    /// When the kernel refuses the call.
    pub fn wait_at_most(&mut self, time: Duration) -> Result<Ended> {
        let deadline = Instant::now() + time;
        let ended = self.wait_unless(|| Instant::now() >= deadline)?;
        Ok(ended.unwrap_or_else(|| self.stop()))
    }

    /// Waits for the end. Stops the child after a signal, or if it
    /// [stalls](super::Command::stalls_after).
    ///
    /// # Errors
    /// [`Kind::Interrupted`] after a signal, [`Kind::Failed`] after a stall.
    pub fn wait_or_interrupt(&mut self) -> Result<Ended> {
        self.wait_patiently(|| false)?.ok_or_else(|| self.interrupted())
    }

    /// As [`Child::wait_or_interrupt`]. If `give_up` returns true, returns `None`, and the child
    /// keeps running.
    pub(super) fn wait_patiently(&mut self, give_up: impl Fn() -> bool) -> Result<Option<Ended>> {
        let mut stall = self.stall.take();
        let steps = self.stderr.as_ref().map(|listener| Arc::clone(&listener.steps));
        let lines = || steps.as_ref().map_or(0, |steps| steps.load(Ordering::Relaxed));
        let (pid, mut stalled) = (self.id(), false);
        let ended = self.wait_unless(|| {
            stalled = stall.as_mut().is_some_and(|stall| stall.is_over(pid, lines()));
            stalled || interrupt::requested() || give_up()
        })?;
        if ended.is_some() {
            return Ok(ended);
        }
        if interrupt::requested() {
            self.stop();
            return Err(self.interrupted());
        }
        match stall {
            Some(stall) if stalled => {
                self.stop();
                Err(stall.error(&self.program))
            }
            _ => Ok(None),
        }
    }

    fn interrupted(&self) -> Error {
        Error::new(Kind::Interrupted, format!("{} was stopped by a signal", self.program.display()))
    }

    pub(super) fn program(&self) -> &OsStr {
        &self.program
    }

    /// Asks the process group to end, kills it after ten seconds, and reaps the child. A child that
    /// the kernel keeps waiting for a disk or a server may not even die then; after ten more
    /// seconds it is abandoned.
    pub fn stop(&mut self) -> Ended {
        self.stop_within(GRACE)
    }

    fn stop_within(&mut self, grace: Duration) -> Ended {
        let group = Pid::from_raw(self.inner.id() as i32);
        let _ = killpg(group, Signal::SIGTERM);
        // A stopped process does not react to any other signal.
        let _ = killpg(group, Signal::SIGCONT);
        if let Some(status) = self.reap_within(grace) {
            return self.settle(status);
        }
        let _ = killpg(group, Signal::SIGKILL);
        match self.reap_within(grace) {
            Some(status) => self.settle(status),
            None => self.settle(Ended::Signal(libc::SIGKILL)),
        }
    }

    fn reap_within(&mut self, time: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + time;
        while Instant::now() < deadline {
            if let Ok(Some(status)) = self.inner.try_wait() {
                return Some(status);
            }
            std::thread::sleep(POLL);
        }
        None
    }

    fn settle(&mut self, ended: impl Into<Ended>) -> Ended {
        let ended = ended.into();
        self.ended = Some(ended);
        if let Some(listener) = self.stderr.take() {
            listener.end();
        }
        ended
    }

    fn cannot_wait(&self, e: std::io::Error) -> Error {
        Error::failed(format!("cannot wait for {}", self.program.display())).because(e)
    }
}

/// The thread that reads what a child prints.
struct Listener {
    thread: JoinHandle<()>,
    /// Increased before and after each line is passed on: odd while a line is being processed.
    steps: Arc<AtomicU64>,
}

impl Listener {
    /// Waits until everything was passed on.
    fn end(self) {
        let (mut steps, mut silent) = (0, Instant::now());
        while !self.thread.is_finished() && silent.elapsed() < LAST_WORDS {
            let now = self.steps.load(Ordering::Relaxed);
            if now != steps || now % 2 == 1 {
                (steps, silent) = (now, Instant::now());
            }
            std::thread::sleep(POLL);
        }
        if self.thread.is_finished() {
            let _ = self.thread.join();
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.ended.is_none() {
            drop(self.inner.stdout.take());
            self.stop();
        }
    }
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;

    use super::super::Command;
    use super::*;

    #[test]
    fn a_dropped_child_is_gone_with_its_group() {
        let child = Command::new("sh").args(["-c", "sleep 600 & wait"]).spawn(|_| {}).unwrap();
        let group = Pid::from_raw(child.id() as i32);
        drop(child);
        let deadline = Instant::now() + Duration::from_secs(5);
        while killpg(group, None).is_ok() {
            assert!(Instant::now() < deadline, "the group still lives");
            std::thread::sleep(POLL);
        }
    }

    /// Traces the process `pid` from another process, so that we cannot reap it. Returns that
    /// process.
    fn trace(pid: u32) -> Pid {
        use std::os::fd::AsRawFd;
        let (mut read, write) = std::io::pipe().unwrap();
        // SAFETY: the child makes only plain system calls.
        let tracer = unsafe {
            match libc::fork() {
                0 => {
                    let done = libc::ptrace(libc::PTRACE_SEIZE, pid, 0, 0);
                    libc::write(write.as_raw_fd(), [u8::from(done == 0)].as_ptr().cast(), 1);
                    libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                    loop {
                        libc::pause();
                    }
                }
                tracer => tracer,
            }
        };
        drop(write);
        let mut done = [0];
        read.read_exact(&mut done).unwrap();
        assert_eq!(done, [1], "it cannot be traced");
        Pid::from_raw(tracer)
    }

    #[test]
    fn nobody_waits_for_ever_for_what_cannot_be_killed() {
        if !nix::unistd::geteuid().is_root() {
            // Without this, no process may trace one that it did not start.
            return;
        }
        let mut child = Command::new("sleep").arg("600").spawn(|_| {}).unwrap();
        let tracer = trace(child.id());
        let ended = child.stop_within(Duration::from_millis(50));
        nix::sys::signal::kill(tracer, Signal::SIGKILL).unwrap();
        nix::sys::wait::waitpid(tracer, None).unwrap();
        assert_eq!(ended, Ended::Signal(libc::SIGKILL));
        assert_eq!(child.wait_unless(|| false).unwrap(), Some(ended));
    }

    #[test]
    fn a_secret_goes_through_a_pipe_that_only_the_child_has() {
        let secret = zeroize::Zeroizing::new(b"s3cret".to_vec());
        let out = Command::new("sh")
            .args(["-c", "cat /proc/self/fd/$SECRET_FD; env | grep -c s3cret"])
            .secret_fd("SECRET_FD", &secret)
            .and_then(Command::output);
        assert_eq!(out.unwrap().stdout, b"s3cret0\n");
    }

    #[test]
    fn the_rest_of_an_endless_line_is_no_line() {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&heard);
        let mut child = Command::new("sh")
            .args(["-c", "head -c 200000 /dev/zero | tr '\\0' x >&2; echo >&2; echo next >&2"])
            .spawn(move |line| sink.lock().push(line.len()))
            .unwrap();
        child.wait_unless(|| false).unwrap();
        assert_eq!(*heard.lock(), [MAX_LINE as usize, 4]);
    }

    #[test]
    fn who_listens_slowly_still_hears_all() {
        let heard = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&heard);
        let mut child = Command::new("sh")
            .args(["-c", "echo 1 >&2; echo 2 >&2"])
            .spawn(move |_| {
                std::thread::sleep(LAST_WORDS + POLL);
                counter.fetch_add(1, Ordering::Relaxed);
            })
            .unwrap();
        child.wait_unless(|| false).unwrap();
        assert_eq!(heard.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn nobody_waits_for_what_a_child_left_running() {
        let begun = Instant::now();
        let mut child = Command::new("sh")
            .args(["-c", "cat; echo out; sleep 600 & echo $!; echo err >&2"])
            .input(b"told\n")
            .and_then(|command| {
                let lines = Arc::new(Mutex::new(Vec::new()));
                let sink = Arc::clone(&lines);
                Ok((command.spawn_merged(move |line| sink.lock().push(line.to_vec()))?, lines))
            })
            .unwrap();
        assert_eq!(child.0.wait_unless(|| false).unwrap(), Some(Ended::Code(0)));
        assert!(begun.elapsed() < Duration::from_secs(60));
        let lines = child.1.lock().clone();
        let _ = killpg(Pid::from_raw(child.0.id() as i32), Signal::SIGKILL);
        assert_eq!([&lines[0], &lines[1], &lines[3]], [&b"told"[..], b"out", b"err"], "{lines:?}");
    }

    #[test]
    fn a_missing_program_is_named() {
        let Err(e) = Command::new("no-such-program-here").spawn(|_| {}) else { panic!("it started") };
        assert_eq!(e.kind(), Kind::NotFound);
        assert!(e.to_string().contains("no-such-program-here"), "{e}");
    }
}
