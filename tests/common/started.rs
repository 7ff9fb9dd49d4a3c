//! A program that runs while a test goes on.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStderr};
use std::thread::JoinHandle;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::program::drain;
use super::run::Run;

/// Dropped, it is killed.
pub struct Started {
    what: OsString,
    child: Child,
    stdout: Option<JoinHandle<Vec<u8>>>,
    stderr: BufReader<ChildStderr>,
}

impl Started {
    pub(super) fn new(what: OsString, mut child: Child) -> Self {
        let stdout = Some(drain(child.stdout.take()));
        let stderr = BufReader::new(child.stderr.take().unwrap());
        Started { what, child, stdout, stderr }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).unwrap();
    }

    /// The next line that it says on standard error.
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.stderr.read_line(&mut line).unwrap();
        line
    }

    /// Reads what it says up to a line with these words in it.
    #[track_caller]
    pub fn wait_for_line(&mut self, words: &str) {
        let mut said = String::new();
        loop {
            let line = self.line();
            said.push_str(&line);
            assert!(!line.is_empty(), "it ended without {words:?}, having said: {said}");
            if line.split_whitespace().eq(words.split_whitespace()) {
                return;
            }
        }
    }

    /// Waits for its end; of standard error the [`Run`] has what was not read before.
    pub fn end(mut self) -> Run {
        let mut stderr = Vec::new();
        self.stderr.read_to_end(&mut stderr).unwrap();
        let status = self.child.wait().unwrap();
        let stdout = self.stdout.take().unwrap().join().unwrap();
        Run::new(std::mem::take(&mut self.what), status, stdout, stderr)
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
