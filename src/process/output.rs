//! The output of a program, and how it ended. Both are limited.

use std::collections::VecDeque;
use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};

use super::child::{Child, Ended, LAST_WORDS, POLL};
use crate::error::{Error, Result};

/// The limits on size and time.
pub(super) struct Limits {
    /// Bytes of standard output.
    pub bytes: usize,
    /// The program is stopped after this time.
    pub time: Option<Duration>,
    /// Whether the wait continues after a signal.
    pub to_the_end: bool,
}

impl Default for Limits {
    /// Enough for a list of all archives or datasets.
    fn default() -> Self {
        Limits { bytes: 256 << 20, time: None, to_the_end: false }
    }
}

/// Why a program was stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exceeded {
    /// After this time.
    Time(Duration),
    /// After this many bytes.
    Bytes(usize),
}

impl std::fmt::Display for Exceeded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Exceeded::Time(time) => write!(f, "it took longer than {} s and was stopped", time.as_secs_f32()),
            Exceeded::Bytes(bytes) => write!(f, "it wrote more than {bytes} bytes and was stopped"),
        }
    }
}

/// The output of a program, and how it ended.
#[derive(Debug)]
pub struct Output {
    pub ended: Ended,
    pub stdout: Vec<u8>,
    /// The last thousand lines of standard error.
    pub stderr: Vec<Vec<u8>>,
    /// Set if it was stopped before its end.
    pub exceeded: Option<Exceeded>,
}

impl Output {
    const KEPT_LINES: usize = 1000;
    /// Of standard error, in bytes.
    pub(super) const KEPT: usize = 4 << 20;

    /// Reads the output of `child` until it ends, within `limits`. `errors` receives standard
    /// error.
    pub(super) fn collect(mut child: Child, errors: &Arc<Mutex<Lines>>, limits: &Limits) -> Result<Output> {
        let taker = child.stdout().map(|pipe| Taker::start(pipe, limits.bytes));
        let deadline = limits.time.and_then(|time| Instant::now().checked_add(time));
        let late = || deadline.is_some_and(|deadline| Instant::now() >= deadline);
        let long = || taker.as_ref().is_some_and(|taker| taker.shared.full.load(Ordering::Relaxed));
        let ended = match limits.to_the_end {
            true => child.wait_unless(|| late() || long())?,
            false => child.wait_patiently(|| late() || long())?,
        };
        let exceeded = match ended {
            _ if long() => Some(Exceeded::Bytes(limits.bytes)),
            None => Some(Exceeded::Time(limits.time.unwrap_or_default())),
            Some(_) => None,
        };
        let ended = ended.unwrap_or_else(|| child.stop());
        let stdout = match taker {
            Some(taker) => taker.end().map_err(|e| unreadable(&child).because(e))?,
            None => Vec::new(),
        };
        let stderr = std::mem::take(&mut lock(errors).lines).into();
        Ok(Output { ended, stdout, stderr, exceeded })
    }
}

fn unreadable(child: &Child) -> Error {
    Error::failed(format!("cannot read the output of {}", child.program().display()))
}

/// The last lines of a program's standard error.
#[derive(Default)]
pub(super) struct Lines {
    lines: VecDeque<Vec<u8>>,
    bytes: usize,
}

impl Lines {
    pub(super) fn take(&mut self, line: &[u8]) {
        self.bytes += line.len();
        self.lines.push_back(line.to_vec());
        while self.lines.len() > Output::KEPT_LINES || self.bytes > Output::KEPT {
            self.bytes -= self.lines.pop_front().map_or(0, |line| line.len());
        }
    }
}

/// The thread that reads the output of a child, up to a limit.
struct Taker {
    thread: JoinHandle<std::io::Result<()>>,
    shared: Arc<Taken>,
}

#[derive(Default)]
struct Taken {
    bytes: Mutex<Vec<u8>>,
    /// Set if there was more.
    full: AtomicBool,
}

impl Taker {
    fn start(mut pipe: impl Read + Send + 'static, limit: usize) -> Taker {
        let shared = Arc::new(Taken::default());
        let taken = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            // It may be a passphrase.
            let mut piece = zeroize::Zeroizing::new(vec![0; 64 << 10]);
            loop {
                let count = match pipe.read(&mut piece) {
                    Ok(0) => return Ok(()),
                    Ok(count) => count,
                    Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
                    Err(e) => return Err(e),
                };
                let mut bytes = lock(&taken.bytes);
                let room = limit.saturating_sub(bytes.len()).min(count);
                bytes.extend_from_slice(&piece[..room]);
                if room < count {
                    taken.full.store(true, Ordering::Relaxed);
                    return Ok(());
                }
            }
        });
        Taker { thread, shared }
    }

    /// The output, after the program has ended. A process that it left may hold the pipe forever.
    fn end(self) -> std::io::Result<Vec<u8>> {
        let (mut length, mut silent) = (0, Instant::now());
        while !self.thread.is_finished() && silent.elapsed() < LAST_WORDS {
            let now = lock(&self.shared.bytes).len();
            if now != length {
                (length, silent) = (now, Instant::now());
            }
            std::thread::sleep(POLL);
        }
        if self.thread.is_finished() {
            self.thread.join().unwrap_or_else(|_| Err(std::io::ErrorKind::Other.into()))?;
        }
        Ok(std::mem::take(&mut *lock(&self.shared.bytes)))
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock()
}
