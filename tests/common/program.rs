//! Running a program with a deadline, so that a hang is a failed test and not a hung suite.

use std::ffi::{OsStr, OsString};
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::run::Run;
use super::started::Started;
use super::terminal::Terminal;

const DEADLINE: Duration = Duration::from_secs(300);

/// A program to be run.
pub struct Program {
    /// Its name and its arguments.
    words: Vec<OsString>,
    inherits: bool,
    /// What is set or removed, the last one counts.
    variables: Vec<(OsString, Option<OsString>)>,
    directory: Option<PathBuf>,
    input: Option<Vec<u8>>,
    stdout: Option<Stdio>,
    stderr: Option<Stdio>,
    deadline: Duration,
}

impl Program {
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        Program {
            words: vec![program.as_ref().to_owned()],
            inherits: true,
            variables: vec![("LC_ALL".into(), Some("C.UTF-8".into()))],
            directory: None,
            input: None,
            stdout: None,
            stderr: None,
            deadline: DEADLINE,
        }
    }

    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.words.push(arg.as_ref().to_owned());
        self
    }

    pub fn args<S: AsRef<OsStr>>(self, args: impl IntoIterator<Item = S>) -> Self {
        args.into_iter().fold(self, Self::arg)
    }

    /// Is run by `wrapper`, whose last arguments are this program and its arguments.
    pub fn under<S: AsRef<OsStr>>(mut self, wrapper: impl IntoIterator<Item = S>) -> Self {
        self.words.splice(0..0, wrapper.into_iter().map(|word| word.as_ref().to_owned()));
        self
    }

    pub fn env(mut self, key: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.variables.push((key.as_ref().to_owned(), Some(value.as_ref().to_owned())));
        self
    }

    pub fn env_remove(mut self, key: impl AsRef<OsStr>) -> Self {
        self.variables.push((key.as_ref().to_owned(), None));
        self
    }

    /// With no variable but those that are set after this.
    pub fn env_clear(mut self) -> Self {
        self.inherits = false;
        self.variables.clear();
        self
    }

    /// Puts `dir` before all other directories in PATH.
    pub fn search_first(self, dir: impl Into<PathBuf>) -> Self {
        let set = self.variables.iter().rev().find(|(key, _)| key == "PATH").map(|(_, value)| value.clone());
        let path = set.unwrap_or_else(|| std::env::var_os("PATH")).unwrap_or_default();
        let dirs = std::iter::once(dir.into()).chain(std::env::split_paths(&path));
        let path = std::env::join_paths(dirs).unwrap();
        self.env("PATH", path)
    }

    pub fn current_dir(mut self, dir: &Path) -> Self {
        self.directory = Some(dir.to_owned());
        self
    }

    /// What it reads from standard input; otherwise that is empty.
    pub fn input(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.input = Some(bytes.into());
        self
    }

    /// Where its standard output goes; its [`Run`] has nothing of it.
    pub fn stdout(mut self, file: impl Into<Stdio>) -> Self {
        self.stdout = Some(file.into());
        self
    }

    /// The same for standard error.
    pub fn stderr(mut self, file: impl Into<Stdio>) -> Self {
        self.stderr = Some(file.into());
        self
    }

    /// How long it may run.
    pub fn within(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Starts it and leaves it running; standard output is a pipe.
    pub fn spawn(self) -> Child {
        self.start_with(|command| command.stdin(Stdio::null()).stdout(Stdio::piped()))
    }

    /// Starts it with a pipe for each of its streams, and leaves it running.
    pub fn spawn_piped(self) -> Child {
        let piped = Stdio::piped;
        self.start_with(|command| command.stdin(piped()).stdout(piped()).stderr(piped()))
    }

    /// Starts it and leaves it running until it is dropped; what it says can be followed.
    pub fn start(self) -> Started {
        let what = self.name();
        let piped = Stdio::piped;
        Started::new(what, self.start_with(|c| c.stdin(Stdio::null()).stdout(piped()).stderr(piped())))
    }

    /// Starts it on a terminal of its own.
    pub fn on_terminal(self) -> Terminal {
        Terminal::start(&mut self.command())
    }

    /// Runs it to its end, and until its outputs are closed.
    pub fn run(mut self) -> Run {
        let (stdout, stderr) = (self.stdout.take(), self.stderr.take());
        let (input, what, deadline) = (self.input.take(), self.name(), Instant::now() + self.deadline);
        let mut child = self.start_with(|command| {
            command.stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() });
            command.stdout(stdout.unwrap_or_else(Stdio::piped));
            command.stderr(stderr.unwrap_or_else(Stdio::piped))
        });
        feed(&mut child, input);
        let (stdout, stderr) = (drain(child.stdout.take()), drain(child.stderr.take()));
        let until = |done: &mut dyn FnMut() -> bool, why: &str| {
            while !done() {
                assert!(Instant::now() < deadline, "{}: {why} at its deadline", what.display());
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
        let (stdout, stderr) = (stdout.join().unwrap(), stderr.join().unwrap());
        Run::new(what, status.unwrap(), stdout, stderr)
    }

    /// Runs it; it must end with exit code 0.
    #[track_caller]
    pub fn ok(self) -> Run {
        self.run().succeeds()
    }

    /// Runs it; it must fail, and not by a signal. Returns what it said on standard error.
    #[track_caller]
    pub fn fails(self) -> String {
        let run = self.run();
        assert!(run.code().is_some_and(|c| c != 0), "it was expected to fail: {run}");
        run.stderr()
    }

    fn start_with(self, streams: impl FnOnce(&mut Command) -> &mut Command) -> Child {
        let mut command = self.command();
        let spawned = streams(&mut command).spawn();
        spawned.unwrap_or_else(|e| panic!("cannot start {}: {e}", self.name().display()))
    }

    fn name(&self) -> OsString {
        self.words.join(OsStr::new(" "))
    }

    #[allow(clippy::disallowed_methods)]
    fn command(&self) -> Command {
        let mut command = Command::new(&self.words[0]);
        command.args(&self.words[1..]);
        if !self.inherits {
            command.env_clear();
        }
        for (key, value) in &self.variables {
            match value {
                Some(value) => command.env(key, value),
                None => command.env_remove(key),
            };
        }
        if let Some(dir) = &self.directory {
            command.current_dir(dir);
        }
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
        command
    }
}

/// A program that ends without having read everything is no fault of the test's.
fn feed(child: &mut Child, input: Option<Vec<u8>>) {
    if let Some((mut pipe, bytes)) = child.stdin.take().zip(input) {
        std::thread::spawn(move || {
            let _ = pipe.write_all(&bytes);
        });
    }
}

pub(super) fn drain(pipe: Option<impl Read + Send + 'static>) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            let _ = pipe.read_to_end(&mut bytes);
        }
        bytes
    })
}
