//! How a program is started: what it inherits, at which priority, in which process group.

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

/// A program to be started, with a pinned environment.
///
/// Defaults: `LC_ALL=C.UTF-8` (messages can be parsed, raw bytes in arguments survive), standard
/// input is `/dev/null`, and the child leads a process group of its own, so that a Ctrl-C on the
/// terminal reaches it only through us.
pub struct Command {
    inner: std::process::Command,
    program: OsString,
    inherited: Vec<OwnedFd>,
    /// It leads a session of its own, not just a process group.
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

    /// Hands `secret` to the child through a pipe whose number is in the variable `var`, as borg
    /// reads `BORG_PASSPHRASE_FD`: it stands on no command line and in no environment.
    ///
    /// # Errors
    /// When no pipe can be made, or the secret is longer than a pipe holds (64 KiB).
    pub fn secret_fd(mut self, var: &str, secret: &Zeroizing<Vec<u8>>) -> Result<Self> {
        let to_error = |e| Error::failed("cannot hand the passphrase to borg").because(e);
        let read = filled_pipe(secret).map_err(to_error)?;
        self.inner.env(var, read.as_raw_fd().to_string());
        Ok(self.hold(read))
    }

    /// What the program reads from its standard input. It stands in memory, however long it is.
    ///
    /// # Errors
    /// When there is no memory.
    pub fn input(mut self, bytes: &[u8]) -> Result<Self> {
        let to_error = |e: std::io::Error| Error::failed("cannot prepare the input of a program").because(e);
        let fd = memfd_create("input", MFdFlags::MFD_CLOEXEC).map_err(|e| to_error(e.into()))?;
        let mut file = File::from(fd);
        file.write_all(bytes).and_then(|()| file.rewind()).map_err(to_error)?;
        self.inner.stdin(file);
        Ok(self)
    }

    /// For a program that is not trusted with what we have: it gets a session of its own, so that it
    /// has no terminal, and no descriptor but its standard ones and those that were made for it.
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

    /// Waits for the program end with an error, and it with them, when for `limit` it neither said
    /// nor did anything; `hint` is then the next step.
    pub fn stalls_after(mut self, limit: Duration, hint: impl Into<String>) -> Self {
        self.stall = Some(Stall::new(limit, hint.into()));
        self
    }

    /// The program sees `mounts`, where those of this thread are others.
    pub fn seeing(mut self, mounts: &Mounts) -> Self {
        if let Some(fd) = mounts.foreign() {
            // SAFETY: setns is a plain system call; who made the command keeps `mounts`.
            unsafe {
                self.inner.pre_exec(move || match libc::setns(fd, libc::CLONE_NEWNS) {
                    0 => Ok(()),
                    _ => Err(std::io::Error::last_os_error()),
                });
            }
        }
        self
    }

    /// Lets the child have `fd` open, as long as it lives.
    pub fn hold(mut self, fd: OwnedFd) -> Self {
        self.inherited.push(fd);
        self
    }

    /// Lowest processor priority and the idle I/O class, for work that must not be felt.
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

    /// Standard input is a pipe ([`Child::stdin`]).
    pub fn piped_stdin(mut self) -> Self {
        self.inner.stdin(Stdio::piped());
        self
    }

    /// The child gets SIGTERM when the thread that started it dies, also by SIGKILL. Only for
    /// children of a thread that lives as long as their work (the main thread).
    pub fn die_with_parent(mut self) -> Self {
        let parent = std::process::id() as libc::pid_t;
        // SAFETY: signal, prctl and getppid are allowed between fork and exec.
        unsafe {
            self.inner.pre_exec(move || {
                // A handler of ours would only set a mark in this copy of us, and exec go on.
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

    /// Starts the program; its standard output is a pipe ([`Child::stdout`]), each line that it
    /// writes to standard error (without the line end) goes to `on_stderr`, from another thread.
    ///
    /// # Errors
    /// When the program is not there or cannot be started; the error names it.
    pub fn spawn(mut self, on_stderr: impl FnMut(&[u8]) + Send + 'static) -> Result<Child> {
        self.inner.stdout(Stdio::piped());
        self.spawn_between(on_stderr)
    }

    /// As [`Command::spawn`], but with our own standard input and output.
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

    /// The child leads a process group; who leads a session does that already.
    fn lead(&mut self) {
        if !self.apart {
            self.inner.process_group(0);
        }
    }

    /// As [`Command::spawn`], but the lines of both streams go to `on_line`, in their order.
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

    /// Runs the program to its end and keeps all that it wrote.
    ///
    /// # Errors
    /// As [`Command::spawn`], and with [`Kind::Interrupted`] when a signal ended the wait; when it
    /// writes without end. An exit status other than 0 is no error here: the caller knows what it means.
    pub fn output(self) -> Result<Output> {
        self.answer(&Limits::default())
    }

    /// As [`Command::output`], for what has to answer in `time`.
    ///
    /// # Errors
    /// As [`Command::output`], and when it took longer; then the program is stopped.
    pub fn output_within(self, time: Duration) -> Result<Output> {
        self.answer(&Limits { time: Some(time), ..Limits::default() })
    }

    /// As [`Command::output`], but the program is stopped after `time`, or when it wrote more than
    /// `bytes`; [`Output::exceeded`] says so.
    ///
    /// # Errors
    /// As [`Command::spawn`], and when a signal ended the wait.
    pub fn taste(self, bytes: usize, time: Duration) -> Result<Output> {
        self.collect(&Limits { bytes, time: Some(time), ..Limits::default() })
    }

    /// As [`Command::output`], for what must be done also after a signal asked us to end. After
    /// `limit` the program is stopped.
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

    /// As [`Command::collect`]; a program that was stopped has not answered.
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

    /// Runs the program with our terminal and streams, to its end. A signal that asks us to end is
    /// passed on.
    ///
    /// # Errors
    /// When it cannot be started, or signals not be heeded.
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
        // It may have it from the terminal already; one more does no harm.
        let _ = kill(pid, Signal::SIGTERM);
        Ok(child.wait_unless(|| false)?.unwrap_or(Ended::Signal(libc::SIGTERM)))
    }

    /// Starts the program in a session of its own, without our streams, and leaves it to itself:
    /// it outlives us, and the signals that end us.
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

    /// Becomes the program: terminal, streams, signals and exit code are then its own. Returns
    /// only when it cannot be started.
    pub fn replace(mut self) -> Error {
        self.inherit();
        self.inner.stdin(Stdio::inherit());
        let e = self.inner.exec();
        cannot_start(&self.program, e)
    }

    /// Lets the child, and only it, have the descriptors that were made for it.
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

/// Nothing from this descriptor on is open any more after exec.
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

/// The read end of a pipe that holds `bytes` and then ends.
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
