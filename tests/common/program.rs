//! Running a program with a deadline, so that a hang is a failed test and not a hung suite.

use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use super::pty::Terminal;

const DEADLINE: Duration = Duration::from_secs(120);

/// A program to be run.
pub struct Program(Command, OsString);

/// How it went.
#[derive(Debug)]
pub struct Run {
    what: OsString,
    status: ExitStatus,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
}

impl Program {
    #[allow(clippy::disallowed_methods)]
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        let mut command = Command::new(program.as_ref());
        command.stdin(Stdio::null()).env("LC_ALL", "C.UTF-8");
        // The tests may themselves be run by something that ignores signals, as nohup does.
        // SAFETY: signal is allowed between fork and exec.
        unsafe {
            command.pre_exec(|| {
                for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP] {
                    libc::signal(signal, libc::SIG_DFL);
                }
                Ok(())
            });
        }
        Program(command, program.as_ref().to_owned())
    }

    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.1.push(" ");
        self.1.push(&arg);
        self.0.arg(arg);
        self
    }

    pub fn args<S: AsRef<OsStr>>(self, args: impl IntoIterator<Item = S>) -> Self {
        args.into_iter().fold(self, Self::arg)
    }

    pub fn env(mut self, key: &str, value: impl AsRef<OsStr>) -> Self {
        self.0.env(key, value);
        self
    }

    pub fn current_dir(mut self, dir: &Path) -> Self {
        self.0.current_dir(dir);
        self
    }

    /// Starts it and leaves it running; standard output is a pipe.
    pub fn spawn(mut self) -> Child {
        let spawned = self.0.stdout(Stdio::piped()).spawn();
        spawned.unwrap_or_else(|e| panic!("cannot start {}: {e}", self.1.display()))
    }

    /// Starts it with a pipe for each of its streams, and leaves it running.
    pub fn spawn_piped(mut self) -> Child {
        let streams = self.0.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        streams.spawn().unwrap_or_else(|e| panic!("cannot start {}: {e}", self.1.display()))
    }

    /// Starts it on a terminal of its own.
    pub fn on_terminal(mut self) -> Terminal {
        Terminal::start(&mut self.0)
    }

    /// Runs it to its end, and until its outputs are closed.
    pub fn run(mut self) -> Run {
        let spawned = self.0.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = spawned.unwrap_or_else(|e| panic!("cannot start {}: {e}", self.1.display()));
        let stdout = drain(child.stdout.take().unwrap());
        let stderr = drain(child.stderr.take().unwrap());
        let deadline = Instant::now() + DEADLINE;
        let until = |done: &mut dyn FnMut() -> bool, what: &str| {
            while !done() {
                assert!(Instant::now() < deadline, "{}: {what} after {DEADLINE:?}", self.1.display());
                std::thread::sleep(Duration::from_millis(2));
            }
        };
        let mut status = None;
        until(
            &mut || {
                status = child.try_wait().unwrap();
                status.is_some()
            },
            "still running",
        );
        until(&mut || stdout.is_finished() && stderr.is_finished(), "its output is still open");
        Run {
            what: self.1,
            status: status.unwrap(),
            stdout: stdout.join().unwrap(),
            stderr: stderr.join().unwrap(),
        }
    }

    /// Runs it; it must end with exit code 0.
    pub fn ok(self) -> Run {
        let run = self.run();
        assert!(run.status.success(), "{run}");
        run
    }

    /// Runs it; it must fail, and not by a signal. Returns what it said on standard error.
    pub fn fails(self) -> String {
        let run = self.run();
        assert!(run.code().is_some_and(|c| c != 0), "it was expected to fail: {run}");
        run.stderr()
    }
}

fn drain(mut pipe: impl Read + Send + 'static) -> std::thread::JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = pipe.read_to_end(&mut bytes);
        bytes
    })
}

impl Run {
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }

    pub fn stdout(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }
}

impl std::fmt::Display for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "`{}` ended with {:?}", self.what.display(), self.status.code())?;
        if let Some(signal) = self.status.signal() {
            write!(f, " (signal {signal})")?;
        }
        write!(f, "\n--- stdout\n{}\n--- stderr\n{}", self.stdout(), self.stderr())
    }
}
