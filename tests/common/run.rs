//! How a run of a program went.

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

#[derive(Debug)]
pub struct Run {
    what: OsString,
    status: ExitStatus,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
}

impl Run {
    pub(super) fn new(what: OsString, status: ExitStatus, stdout: Vec<u8>, stderr: Vec<u8>) -> Self {
        Run { what, status, stdout, stderr }
    }

    /// The exit code; `None` when a signal ended it.
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }

    pub fn stdout(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    #[track_caller]
    pub fn exits(self, code: i32) -> Run {
        assert!(self.code() == Some(code), "not exit code {code}: {self}");
        self
    }

    #[track_caller]
    pub fn succeeds(self) -> Run {
        self.exits(0)
    }

    /// `words` are in what it said on standard error.
    #[track_caller]
    pub fn says(self, words: &str) -> Run {
        assert!(self.stderr().contains(words), "{words:?} is not in what it said: {self}");
        self
    }

    /// It succeeded without a word.
    #[track_caller]
    pub fn says_nothing(self) -> Run {
        assert!(self.stdout.is_empty() && self.stderr.is_empty(), "it was to say nothing: {self}");
        self.succeeds()
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
