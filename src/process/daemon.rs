//! Going to the background once the work is ready, so that the caller's shell learns how it went.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork, setsid};

use super::child::{LAST_WORDS, POLL};
use super::interrupt;
use crate::error::{Error, Result};
use crate::secret;

/// How often the foreground half looks whether a signal asked it to end: in milliseconds.
const LOOK: u8 = 100;
/// How long the background half may take to end after such a signal.
const GRACE: Duration = Duration::from_secs(10);

/// The two processes after [`split`].
pub enum Half {
    /// The caller: `ready` is what the background half has to say (see [`Ready::send`]); without
    /// it that half has ended before it was ready, with the exit code `code`.
    Foreground { ready: Option<Vec<u8>>, code: i32 },
    /// The process that does the work and lives on.
    Background(Ready),
}

/// The background half's promise to say when it is ready.
pub struct Ready(std::io::PipeWriter);

/// Waits until there is only this thread, as [`split`] wants it: those that read what programs say end soon after
/// these. One whose program left something running only waits for that, and is no harm.
pub fn be_alone() {
    let threads = || std::fs::read_dir("/proc/self/task").map_or(1, Iterator::count);
    let deadline = Instant::now() + LAST_WORDS;
    while threads() > 1 && Instant::now() < deadline {
        std::thread::sleep(POLL);
    }
}

/// Splits the process in two. Must be called while there is only one thread.
///
/// # Errors
/// When the process cannot be forked.
pub fn split() -> Result<Half> {
    let to_error = |e: std::io::Error| Error::failed("cannot go to the background").because(e);
    let (mut read, write) = std::io::pipe().map_err(to_error)?;
    // SAFETY: no other thread exists yet (the caller's promise), so the child may do anything.
    match unsafe { fork() }.map_err(|e| to_error(e.into()))? {
        ForkResult::Parent { child } => {
            drop(write);
            let ready = listen(&mut read, child).map_err(to_error)?;
            if !ready.is_empty() {
                return Ok(Half::Foreground { ready: Some(ready), code: 0 });
            }
            let code = match waitpid(child, None).map_err(|e| to_error(e.into()))? {
                WaitStatus::Exited(_, code) => code,
                _ => 1,
            };
            Ok(Half::Foreground { ready: None, code })
        }
        ForkResult::Child => {
            drop(read);
            secret::guard_again();
            close_inherited().map_err(to_error)?;
            Ok(Half::Background(Ready(write)))
        }
    }
}

/// Closes what the caller had open beside the standard streams: it may be a lock, or a pipe whose end
/// somebody waits for. What we opened ourselves is closed on exec, what came through one is not.
fn close_inherited() -> std::io::Result<()> {
    let fds = std::fs::read_dir("/proc/self/fd")?.flatten();
    let fds: Vec<i32> = fds.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    for fd in fds.into_iter().filter(|fd| *fd > 2) {
        // SAFETY: nobody here owns a descriptor without FD_CLOEXEC as a value.
        unsafe {
            if libc::fcntl(fd, libc::F_GETFD) == 0 {
                libc::close(fd);
            }
        }
    }
    Ok(())
}

/// What the background half says. A signal that asks us to end, where it is heeded, is passed on
/// to it, since its end is then ours.
fn listen(read: &mut std::io::PipeReader, child: Pid) -> std::io::Result<Vec<u8>> {
    let mut message = Vec::new();
    let mut signalled: Option<Instant> = None;
    loop {
        if interrupt::requested() {
            let signal = match signalled {
                None => Some(Signal::SIGTERM),
                Some(at) => (at.elapsed() > GRACE).then_some(Signal::SIGKILL),
            };
            signalled = signalled.or_else(|| Some(Instant::now()));
            signal.map(|signal| kill(child, signal));
        }
        let mut fds = [PollFd::new(read.as_fd(), PollFlags::POLLIN)];
        if !matches!(poll(&mut fds, PollTimeout::from(LOOK)), Ok(n) if n > 0) {
            continue;
        }
        let mut piece = [0; 4096];
        match read.read(&mut piece)? {
            0 => return Ok(message),
            len => message.extend_from_slice(&piece[..len]),
        }
    }
}

/// A crash, ours or borg's, must not leave keys and file contents on disk; and no other process of
/// this user's may look into our memory.
pub fn forbid_core_dumps() {
    // Lowering a limit cannot be refused.
    let _ = setrlimit(Resource::RLIMIT_CORE, 0, 0);
    // Where the kernel hands cores to a program, it heeds no limit. A program that we start is not
    // concerned. /proc/self stays ours: a process may always look at itself.
    let _ = nix::sys::prctl::set_dumpable(false);
}

/// Lets this process have as many files open as it may. Programs that it starts get no more than these.
pub fn open_many_files() {
    const ENOUGH: u64 = 4096;
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        // Where it is refused the work is done with fewer.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard.min(ENOUGH).max(soft), hard);
    }
}

/// Lets the threads share their free memory: else each of dozens keeps some megabytes of its own.
pub fn share_free_memory() {
    // SAFETY: it only sets a number inside the allocator; elsewhere than glibc there is none to set.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 2);
    }
}

impl Ready {
    /// Tells the foreground half `message` and lets go of the caller's session and terminal: standard
    /// input and output become `/dev/null`, standard error becomes `log`. Not before the mount stands: an
    /// automount lets only the process group that is to make it touch the directory.
    ///
    /// # Errors
    /// When the caller is gone or a descriptor cannot be replaced.
    pub fn send(mut self, message: &[u8], log: &File) -> Result<()> {
        let to_error = |e: std::io::Error| Error::failed("cannot go to the background").because(e);
        let null = File::options().read(true).write(true).open("/dev/null").map_err(to_error)?;
        std::env::set_current_dir("/").map_err(to_error)?;
        setsid().map_err(|e| to_error(e.into()))?;
        for (from, to) in [(null.as_raw_fd(), 0), (null.as_raw_fd(), 1), (log.as_raw_fd(), 2)] {
            // SAFETY: dup2 onto the standard descriptors, which nobody here owns as values.
            if unsafe { libc::dup2(from, to) } < 0 {
                return Err(to_error(std::io::Error::last_os_error()));
            }
        }
        self.0.write_all(message).map_err(to_error)
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn no_other_process_of_this_user_may_look_into_this_one() {
        super::forbid_core_dumps();
        assert!(!nix::sys::prctl::get_dumpable().unwrap());
    }
}
