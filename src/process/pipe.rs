//! Reads the output of a child without waiting forever.

use std::io::{Error, ErrorKind, Read, Result};
use std::os::fd::{AsFd, AsRawFd};
use std::process::ChildStdout;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::interrupt;

/// The size of the pipe: borg writes 2 MiB at a time, and would wait for what does not fit. Root
/// may have the first size, everybody the second.
const CAPACITIES: [libc::c_int; 2] = [8 << 20, 1 << 20];
/// How often a wait checks whether it should end.
const LOOK: Duration = Duration::from_millis(100);

/// The standard output of a child. A read fails if nothing arrives in time.
pub struct TimedPipe {
    pipe: ChildStdout,
    stall: Duration,
}

impl TimedPipe {
    pub fn new(pipe: ChildStdout, stall: Duration) -> Self {
        // SAFETY: a plain fcntl on a pipe that we own. If it fails, the pipe is only smaller.
        let resize = |size: libc::c_int| unsafe { libc::fcntl(pipe.as_raw_fd(), libc::F_SETPIPE_SZ, size) };
        CAPACITIES.into_iter().find(|size| resize(*size) >= 0);
        TimedPipe { pipe, stall }
    }

    /// The next bytes; 0 at the end.
    ///
    /// # Errors
    /// [`ErrorKind::TimedOut`] when nothing arrives in time, [`ErrorKind::ConnectionAborted`] when
    /// `stop` returns true.
    pub fn read_unless(&mut self, buffer: &mut [u8], stop: impl Fn() -> bool) -> Result<usize> {
        let deadline = Instant::now() + self.stall;
        while !self.readable()? {
            if stop() {
                return Err(ErrorKind::ConnectionAborted.into());
            }
            if Instant::now() >= deadline {
                let why = format!("nothing came for {} s", self.stall.as_secs_f32());
                return Err(Error::new(ErrorKind::TimedOut, why));
            }
        }
        self.pipe.read(buffer)
    }

    fn readable(&self) -> Result<bool> {
        let mut fds = [PollFd::new(self.pipe.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, PollTimeout::try_from(LOOK).unwrap_or(PollTimeout::ZERO)) {
            Ok(n) => Ok(n > 0),
            Err(Errno::EINTR) => Ok(false),
            Err(e) => Err(e.into()),
        }
    }
}

/// Also ends when a signal asks this process to end.
impl Read for TimedPipe {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        self.read_unless(buffer, interrupt::requested)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Command;
    use super::*;

    #[test]
    fn a_child_that_goes_silent_is_an_error_after_the_bytes_it_gave() {
        let mut child = Command::new("sh").args(["-c", "printf abc; sleep 60"]).spawn(|_| {}).unwrap();
        let mut pipe = TimedPipe::new(child.stdout().unwrap(), Duration::from_millis(300));
        let mut bytes = Vec::new();
        let e = pipe.read_to_end(&mut bytes).unwrap_err();
        assert_eq!((e.kind(), &bytes[..]), (ErrorKind::TimedOut, &b"abc"[..]));
        let e = pipe.read_unless(&mut [0; 8], || true).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::ConnectionAborted);
    }
}
