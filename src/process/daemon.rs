//! Goes to the background once the work is ready, so that the caller's shell learns the result.

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

/// How often the foreground half checks for signals, in milliseconds.
const LOOK: u8 = 100;
/// How long the background half may take to end after such a signal.
const GRACE: Duration = Duration::from_secs(10);

/// The two processes after [`split`].
pub enum Half {
    /// The caller. `ready` is the message of the background half (see [`Ready::send`]). If there is
    /// none, that half ended before it was ready, with the exit code `code`.
    Foreground { ready: Option<Vec<u8>>, code: i32 },
    /// The process that does the work and stays.
    Background(Ready),
}

/// With this, the background half reports that it is ready.
pub struct Ready(std::io::PipeWriter);

/// Waits until there is only this thread, as [`split`] requires. Threads that read the output of
/// programs end soon after these. If a program left a process behind, its thread only waits for
/// that, which does no harm.
pub fn be_alone() {
    let threads = || std::fs::read_dir("/proc/self/task").map_or(1, Iterator::count);
    let deadline = Instant::now() + LAST_WORDS;
    while threads() > 1 && Instant::now() < deadline {
        std::thread::sleep(POLL);
    }
}

/// Splits the process into two. Must be called while there is only one thread.
///
/// # Errors
/// When the process cannot fork.
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

/// Closes the descriptors that the caller left open, besides the standard streams: one may be a
/// lock, or a pipe whose end somebody waits for. Our own are closed on exec; inherited ones are
/// not.
fn close_inherited() -> std::io::Result<()> {
    let fds = std::fs::read_dir("/proc/self/fd")?.flatten();
    let fds: Vec<i32> = fds.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    for fd in fds.into_iter().filter(|fd| *fd > 2) {
        // SAFETY: no value here owns a descriptor without FD_CLOEXEC.
        unsafe {
            if libc::fcntl(fd, libc::F_GETFD) == 0 {
                libc::close(fd);
            }
        }
    }
    Ok(())
}

/// Reads the message of the background half. Passes on a signal that asks us to end, if signals are
/// handled, because its end is then ours.
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

/// A crash of ours or of borg's must not leave keys and file contents on disk, and no other process
/// of this user may look into our memory.
pub fn forbid_core_dumps() {
    // Lowering a limit cannot fail.
    let _ = setrlimit(Resource::RLIMIT_CORE, 0, 0);
    // The limit does not apply if the kernel pipes cores to a program. Programs that we start are
    // not affected. We keep access to /proc/self: a process may always look at itself.
    let _ = nix::sys::prctl::set_dumpable(false);
}

/// Raises the number of files that this process may open. Programs that it starts do not get more
/// than these.
pub fn open_many_files() {
    const ENOUGH: u64 = 4096;
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        // If it fails, fewer files must do.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard.min(ENOUGH).max(soft), hard);
    }
}

/// Lets threads share their free memory. Otherwise each of dozens would keep some megabytes of its
/// own.
pub fn share_free_memory() {
    // SAFETY: it only sets a number inside the allocator. Other libraries than glibc do not have
    // it.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 2);
    }
}

impl Ready {
    /// Sends `message` to the foreground half, and leaves the caller's session and terminal:
    /// standard input and output become `/dev/null`, standard error becomes `log`. Must not be
    /// called before the mount is ready: an automount allows only the process group that makes the
    /// mount to touch the directory.
    ///
    /// # Errors
    /// When the caller is gone, or a descriptor cannot be replaced.
    pub fn send(mut self, message: &[u8], log: &File) -> Result<()> {
        let to_error = |e: std::io::Error| Error::failed("cannot go to the background").because(e);
        let null = File::options().read(true).write(true).open("/dev/null").map_err(to_error)?;
        std::env::set_current_dir("/").map_err(to_error)?;
        setsid().map_err(|e| to_error(e.into()))?;
        for (from, to) in [(null.as_raw_fd(), 0), (null.as_raw_fd(), 1), (log.as_raw_fd(), 2)] {
            // SAFETY: dup2 onto the standard descriptors, which no value here owns.
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
