//! Starts programs: what they inherit, their priority, and their process group.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{Seek, Write};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use parking_lot::Mutex;
use zeroize::Zeroizing;

use super::child::{Child, Ended};
use super::interrupt;
use super::mounts::Mounts;
use super::output::{Limits, Lines, Output, lock};
use super::packages;
use super::stall::Stall;
use crate::error::{Error, Kind, Result};

/// A program to be started, with a fixed environment.
///
/// Defaults: `LC_ALL=C.UTF-8` (messages can be parsed, and raw bytes in arguments survive);
/// standard input is `/dev/null`; the child leads a process group, so a Ctrl-C on the terminal
/// reaches it only through us.
pub struct Command {
    inner: std::process::Command,
    program: OsString,
    inherited: Vec<OwnedFd>,
    /// The child leads a session, and not just a process group.
    apart: bool,
    stall: Option<Stall>,
}

impl Command {
    #[allow(clippy::disallowed_methods)]
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        let program = program.as_ref().to_owned();
        let mut inner = std::process::Command::new(&program);
        inner.env("LC_ALL", "C.UTF-8").stdin(Stdio::null());
        Command { inner, program, inherited: Vec::new(), apart: false, stall: None }
    }

    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.inner.arg(arg);
        self
    }

    pub fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.inner.args(args);
        self
    }

    pub fn env(mut self, key: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.inner.env(key, value);
        self
    }

    pub fn env_remove(mut self, key: impl AsRef<OsStr>) -> Self {
        self.inner.env_remove(key);
        self
    }

    pub fn current_dir(mut self, dir: &Path) -> Self {
        self.inner.current_dir(dir);
        self
    }

    /// Passes `secret` to the child through a pipe whose number is in the variable `var`, as borg
    /// reads `BORG_PASSPHRASE_FD`. The secret is neither on a command line nor in an environment.
    ///
    /// # Errors
    /// When no pipe can be made, or the secret is longer than a pipe holds (64 KiB).
    pub fn secret_fd(mut self, var: &str, secret: &Zeroizing<Vec<u8>>) -> Result<Self> {
        let to_error = |e| Error::failed("cannot hand the passphrase to borg").because(e);
        let read = filled_pipe(secret).map_err(to_error)?;
        self.inner.env(var, read.as_raw_fd().to_string());
        Ok(self.hold(read))
    }

    /// The standard input of the program, which is kept in memory.
    ///
    /// # Errors
    /// When there is not enough memory.
    pub fn input(mut self, bytes: &[u8]) -> Result<Self> {
        let to_error = |e: std::io::Error| Error::failed("cannot prepare the input of a program").because(e);
        let fd = memfd_create("input", MFdFlags::MFD_CLOEXEC).map_err(|e| to_error(e.into()))?;
        let mut file = File::from(fd);
        file.write_all(bytes).and_then(|()| file.rewind()).map_err(to_error)?;
        self.inner.stdin(file);
        Ok(self)
    }

    /// For a program that must not get what we have. It runs in a session of its own without a
    /// terminal, and only with its standard descriptors and those that were made for it.
    pub fn apart(mut self) -> Self {
        self.apart = true;
        // SAFETY: plain system calls, allowed between fork and exec.
        unsafe {
            self.inner.pre_exec(|| {
                if libc::setsid() < 0 {
                    return Err(std::io::Error::last_os_error());
                }
                close_on_exec_from(3);
                Ok(())
            });
        }
        self
    }

    /// Stops the program with an error if it neither prints nor does anything for `limit`. `hint`
    /// is the next step.
    pub fn stalls_after(mut self, limit: Duration, hint: impl Into<String>) -> Self {
        self.stall = Some(Stall::new(limit, hint.into()));
        self
    }

    /// Runs the program in `mounts`, if this thread has others.
    pub fn seeing(mut self, mounts: &Mounts) -> Self {
        if let Some(fd) = mounts.foreign() {
            // SAFETY: setns is a plain system call; the caller keeps `mounts`.
            unsafe {
                self.inner.pre_exec(move || match libc::setns(fd, libc::CLONE_NEWNS) {
                    0 => Ok(()),
                    _ => Err(std::io::Error::last_os_error()),
                });
            }
        }
        self
    }

    /// Keeps `fd` open in the child as long as it lives.
    pub fn hold(mut self, fd: OwnedFd) -> Self {
        self.inherited.push(fd);
        self
    }

    /// Uses the lowest processor priority and the idle I/O class, for work that must not disturb.
    pub fn background_priority(mut self) -> Self {
        // SAFETY: both are plain system calls, allowed between fork and exec.
        unsafe {
            self.inner.pre_exec(|| {
                const IOPRIO_WHO_PROCESS: libc::c_int = 1;
                const IOPRIO_CLASS_IDLE: libc::c_int = 3 << 13;
                libc::setpriority(libc::PRIO_PROCESS, 0, 19);
                libc::syscall(libc::SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, IOPRIO_CLASS_IDLE);
                Ok(())
            });
        }
        self
    }

    /// Makes standard input a pipe ([`Child::stdin`]).
    pub fn piped_stdin(mut self) -> Self {
        self.inner.stdin(Stdio::piped());
        self
    }

    /// Sends SIGTERM to the child when the thread that started it dies, even by SIGKILL. Only for
    /// threads that live as long as the work of the child (the main thread).
    pub fn die_with_parent(mut self) -> Self {
        let parent = std::process::id() as libc::pid_t;
        // SAFETY: signal, prctl and getppid are allowed between fork and exec.
        unsafe {
            self.inner.pre_exec(move || {
                // A handler of ours would only set a flag in this copy of the process, and exec
                // would continue.
                libc::signal(libc::SIGTERM, libc::SIG_DFL);
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM);
                if libc::getppid() != parent {
                    return Err(std::io::Error::from_raw_os_error(libc::ECHILD));
                }
                Ok(())
            });
        }
        self
    }

    /// Starts the program. Its standard output is a pipe ([`Child::stdout`]). Each line of its
    /// standard error, without the newline, goes to `on_stderr`, from another thread.
    ///
    /// # Errors
    /// When the program is missing or cannot be started; the error names it.
    pub fn spawn(mut self, on_stderr: impl FnMut(&[u8]) + Send + 'static) -> Result<Child> {
        self.inner.stdout(Stdio::piped());
        self.spawn_between(on_stderr)
    }

    /// As [`Command::spawn`], but the child gets our standard input and output.
    ///
    /// # Errors
    /// As [`Command::spawn`].
    pub fn spawn_between_ours(mut self, on_stderr: impl FnMut(&[u8]) + Send + 'static) -> Result<Child> {
        self.inner.stdin(Stdio::inherit()).stdout(Stdio::inherit());
        self.spawn_between(on_stderr)
    }

    fn spawn_between(mut self, on_stderr: impl FnMut(&[u8]) + Send + 'static) -> Result<Child> {
        self.inherit();
        self.lead();
        self.inner.stderr(Stdio::piped());
        let mut child = self.inner.spawn().map_err(|e| cannot_start(&self.program, e))?;
        let stderr = child.stderr.take();
        Ok(Child::new(child, self.program, stderr, self.stall, on_stderr))
    }

    /// The child leads a process group. The leader of a session already does.
    fn lead(&mut self) {
        if !self.apart {
            self.inner.process_group(0);
        }
    }

    /// As [`Command::spawn`], but the lines of both streams go to `on_line`, in order.
    ///
    /// # Errors
    /// As [`Command::spawn`].
    pub fn spawn_merged(mut self, on_line: impl FnMut(&[u8]) + Send + 'static) -> Result<Child> {
        self.inherit();
        self.lead();
        let to_error = |e| cannot_start(&self.program, e);
        let (read, write) = std::io::pipe().map_err(to_error)?;
        self.inner.stdout(write.try_clone().map_err(to_error)?).stderr(write);
        let child = self.inner.spawn().map_err(to_error)?;
        Ok(Child::new(child, self.program, Some(read), self.stall, on_line))
    }

    /// Runs the program to its end, and keeps its output.
    ///
    /// # Errors
    /// As [`Command::spawn`]; [`Kind::Interrupted`] when a signal ends the wait; when the output is
    /// endless. An exit status other than 0 is not an error here: the caller knows its meaning.
    pub fn output(self) -> Result<Output> {
        self.answer(&Limits::default())
    }

    /// As [`Command::output`], for a program that must answer within `time`.
    ///
    /// # Errors
    /// As [`Command::output`], and when it took longer; then the program is stopped.
    pub fn output_within(self, time: Duration) -> Result<Output> {
        self.answer(&Limits { time: Some(time), ..Limits::default() })
    }

    /// As [`Command::output`], but stops the program after `time`, or when it printed more than
    /// `bytes`; then [`Output::exceeded`] is set.
    ///
    /// # Errors
    /// As [`Command::spawn`], and when a signal ends the wait.
    pub fn taste(self, bytes: usize, time: Duration) -> Result<Output> {
        self.collect(&Limits { bytes, time: Some(time), ..Limits::default() })
    }

    /// As [`Command::output`], for what must be done even after a signal. After `limit` the program
    /// is stopped.
    ///
    /// # Errors
    /// As [`Command::spawn`].
    pub fn finish(self, limit: Duration) -> Result<Output> {
        self.collect(&Limits { time: Some(limit), to_the_end: true, ..Limits::default() })
    }

    fn collect(self, limits: &Limits) -> Result<Output> {
        let errors = Arc::new(Mutex::new(Lines::default()));
        let sink = Arc::clone(&errors);
        let child = self.spawn(move |line| lock(&sink).take(line))?;
        Output::collect(child, &errors, limits)
    }

    /// As [`Command::collect`]. A program that was stopped has not answered.
    fn answer(self, limits: &Limits) -> Result<Output> {
        let name = self.program.clone();
        let output = self.collect(limits)?;
        match output.exceeded {
            Some(limit) => {
                Err(Error::failed(format!("{} did not answer", name.display())).because(limit.to_string()))
            }
            None => Ok(output),
        }
    }

    /// Runs the program to its end with our terminal and streams. Passes on signals that ask us to
    /// end.
    ///
    /// # Errors
    /// When it cannot be started, or signals cannot be handled.
    pub fn on_terminal(mut self) -> Result<Ended> {
        interrupt::heed()?;
        self.inherit();
        self.inner.stdin(Stdio::inherit());
        let child = self.inner.spawn().map_err(|e| cannot_start(&self.program, e))?;
        let pid = Pid::from_raw(child.id() as i32);
        let mut child = Child::new(child, self.program, None::<std::io::Empty>, None, |_| {});
        if let Some(ended) = child.wait_unless(interrupt::requested)? {
            return Ok(ended);
        }
        // The terminal may have sent the signal already; another one does no harm.
        let _ = kill(pid, Signal::SIGTERM);
        Ok(child.wait_unless(|| false)?.unwrap_or(Ended::Signal(libc::SIGTERM)))
    }

    /// Starts the program in a session of its own, without our streams, and abandons it. It
    /// survives us, and the signals that end us.
    ///
    /// # Errors
    /// As [`Command::spawn`].
    pub fn leave(mut self) -> Result<()> {
        self.inherit();
        // SAFETY: plain system calls, allowed between fork and exec.
        unsafe {
            self.inner.pre_exec(|| {
                libc::setsid();
                for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP] {
                    libc::signal(signal, libc::SIG_IGN);
                }
                Ok(())
            });
        }
        let started = self.inner.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        started.map(drop).map_err(|e| cannot_start(&self.program, e))
    }

    /// Replaces this process by the program, which gets the terminal, the streams and the signals,
    /// and decides the exit code. Returns only if it cannot be started.
    pub fn replace(mut self) -> Error {
        self.inherit();
        self.inner.stdin(Stdio::inherit());
        let e = self.inner.exec();
        cannot_start(&self.program, e)
    }

    /// Passes the descriptors that were made for the child to it, and only to it.
    fn inherit(&mut self) {
        let fds: Vec<RawFd> = self.inherited.iter().map(AsRawFd::as_raw_fd).collect();
        if fds.is_empty() {
            return;
        }
        // SAFETY: fcntl is allowed between fork and exec; the descriptors live until after spawn.
        unsafe {
            self.inner.pre_exec(move || {
                for fd in &fds {
                    if libc::fcntl(*fd, libc::F_SETFD, 0) < 0 {
                        return Err(std::io::Error::last_os_error());
                    }
                }
                Ok(())
            });
        }
    }
}

/// Closes all descriptors from this one on at exec.
fn close_on_exec_from(first: libc::c_uint) {
    // SAFETY: plain system calls on descriptors of a process that is about to exec.
    unsafe {
        let flags = libc::CLOSE_RANGE_CLOEXEC as libc::c_int;
        if libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, flags) == 0 {
            return;
        }
        // Before Linux 5.11.
        let most = libc::sysconf(libc::_SC_OPEN_MAX).clamp(1024, 1 << 20) as libc::c_int;
        for fd in first as libc::c_int..most {
            libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC);
        }
    }
}

/// The read end of a pipe with `bytes` and then the end of input.
fn filled_pipe(bytes: &[u8]) -> std::io::Result<OwnedFd> {
    if bytes.len() > 65_536 {
        return Err(std::io::ErrorKind::FileTooLarge.into());
    }
    let (read, mut write) = std::io::pipe()?;
    write.write_all(bytes)?;
    Ok(read.into())
}

fn cannot_start(program: &OsStr, e: std::io::Error) -> Error {
    let name = program.display();
    if e.kind() == std::io::ErrorKind::NotFound {
        return Error::new(Kind::NotFound, format!("cannot start {name}: there is no such program on PATH"))
            .hint(packages::hint(&name.to_string()));
    }
    Error::failed(format!("cannot start {name}")).because(e)
}
