//! The server of a remote repository: `borg serve`, started like borg's own client does.

use std::ffi::OsString;
use std::io::{self, ErrorKind, Read};
use std::process::ChildStdin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};

use super::client::Borg;
use super::log::{Level, Line};
use crate::process::{Child, Command, TimedPipe, interrupt};

/// The version of borg whose client we imitate.
const CLIENT_VERSION: &str = "1.4.5";

/// How long a server may take to end after the end of its input.
const PARTING: Duration = Duration::from_millis(500);
/// So many lines are kept that come before a server works.
const EARLY: usize = 100;
/// How often a read without bytes is restarted; the caller that waits for an answer has a limit of
/// its own.
const READ: Duration = Duration::from_secs(60);

/// Starts servers of one repository, and ends them.
pub struct Server {
    words: Vec<OsString>,
    path: String,
    /// Servers are being ended: what they say of it is no news.
    ended: Arc<AtomicBool>,
    /// What servers say before the first one was accepted: if it is not, a preflight says it better.
    early: Arc<Mutex<Option<Vec<Vec<u8>>>>>,
    state: Mutex<ServerState>,
}

#[derive(Default)]
struct ServerState {
    running: Vec<Weak<Mutex<Child>>>,
}

/// A running server. Dropping `child` ends and reaps it, and must happen after `input` was dropped.
pub struct Serving {
    pub output: Output,
    pub input: ChildStdin,
    pub child: Guard,
}

impl Borg {
    /// Prepares servers of the remote repository; `Err` gives the reason why only borg can use it.
    pub fn server(&self) -> Result<Server, String> {
        let route = self.route().ok_or("it is on this machine")?;
        let path = self.address()?.path().to_owned();
        let words = route.serve(self.remote_program()?).map_err(|e| e.to_string())?;
        let early = Arc::new(Mutex::new(Some(Vec::new())));
        Ok(Server { words, path, ended: Arc::default(), early, state: Mutex::default() })
    }
}

impl Server {
    /// The path of the repository that is sent to the server.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Starts a server. Its messages go to the log.
    ///
    /// # Errors
    /// [`ErrorKind::ConnectionAborted`] after [`Server::end`], and when a signal asked this process
    /// to end; others when the program cannot be started.
    pub fn start(&self) -> io::Result<Serving> {
        if interrupt::requested() {
            return Err(ErrorKind::ConnectionAborted.into());
        }
        let mut child = Command::new(&self.words[0])
            .args(&self.words[1..])
            .piped_stdin()
            .env("BORG_VERSION", CLIENT_VERSION)
            // ssh must not see secrets.
            .env_remove("BORG_PASSPHRASE")
            .spawn({
                let (ended, early) = (Arc::clone(&self.ended), Arc::clone(&self.early));
                move |line| match &mut *lock(&early) {
                    Some(lines) if lines.len() < EARLY => lines.push(line.to_vec()),
                    Some(_) => {}
                    None => message(line, ended.load(Ordering::Relaxed)),
                }
            })
            .map_err(io::Error::other)?;
        let (Some(input), Some(output)) = (child.stdin(), child.stdout()) else {
            return Err(io::Error::other("the server has no pipes"));
        };
        let child = Arc::new(Mutex::new(child));
        let mut state = lock(&self.state);
        if self.ended.load(Ordering::Relaxed) {
            // Dropping it ends the child.
            return Err(ErrorKind::ConnectionAborted.into());
        }
        state.running.retain(|child| child.strong_count() > 0);
        state.running.push(Arc::downgrade(&child));
        Ok(Serving { output: Output(TimedPipe::new(output, READ)), input, child: Guard(child) })
    }

    /// A server works: logs what it said so far, and from now on everything at once.
    pub fn accept(&self) {
        let early = lock(&self.early).take();
        early.iter().flatten().for_each(|line| message(line, false));
    }

    /// No server works: what they said is only for debugging, since a preflight says it better.
    pub fn give_up(&self) {
        let early = lock(&self.early).take();
        early.iter().flatten().for_each(|line| message(line, true));
    }

    /// Ends all servers, and prevents new ones.
    pub fn end(&self) {
        let mut state = lock(&self.state);
        self.ended.store(true, Ordering::Relaxed);
        let running = std::mem::take(&mut state.running);
        drop(state);
        for child in running.iter().filter_map(Weak::upgrade) {
            lock(&child).stop();
        }
    }
}

/// The output of a server. It also ends when a signal asks this process to end.
pub struct Output(TimedPipe);

impl Read for Output {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.0.read(buffer) {
                Err(e) if e.kind() == ErrorKind::TimedOut => {}
                result => return result,
            }
        }
    }
}

/// Ends and reaps a server.
pub struct Guard(Arc<Mutex<Child>>);

impl Drop for Guard {
    fn drop(&mut self) {
        // The server ends with its input, unless the connection is dead.
        let _ = lock(&self.0).wait_at_most(PARTING);
    }
}

/// Logs a line of standard error: JSON from the server's borg, plain text from ssh and shells.
fn message(line: &[u8], is_ended: bool) {
    match Line::parse(line) {
        Line::Message { text, .. } if text.trim().is_empty() => {}
        Line::Message { level: Level::Warning | Level::Error, text, .. } if !is_ended => {
            tracing::warn!("the server says: {text}");
        }
        Line::Message { text, .. } => tracing::debug!("the server says: {text}"),
        _ => {}
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock()
}
