//! The directory of our state, and the lock that allows one `create` at a time.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use chrono::{DateTime, Local, SecondsFormat};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

use crate::directories::{self, make_private};
use crate::error::{Error, Kind, Result};
use crate::process::interrupt;
use crate::tools::mounts;

const LOCK: &str = "create.lock";
/// How often a waiting run looks whether the other one has finished.
const LOOK: Duration = Duration::from_millis(100);

/// Our directory for state until the next boot; only its owner can enter it.
pub struct StateDir(PathBuf);

impl StateDir {
    /// Makes it if it is missing.
    ///
    /// # Errors
    /// When it cannot be made, belongs to somebody else, or is below a mount.
    pub fn open() -> Result<StateDir> {
        let path = directories::state_dir()?;
        // We must not write to what is mounted over it, nor close it to others.
        if let Some(mount) = mounts::at(&path)? {
            let label = path.display();
            return Err(Error::failed(format!("{label} lies under a mount of {}", mount.source.display()))
                .hint(format!("see who uses it (`fuser -vm {label}`), then `umount {label}`")));
        }
        make_private(&path)?;
        Ok(StateDir(path))
    }

    /// Takes the lock that a `create` holds while it runs. If another one holds it, waits for at
    /// most `wait`, and passes the holder to `waiting` once. Returns the lock, with the killed run
    /// that held it before.
    ///
    /// # Errors
    /// [`Kind::Busy`], with the holder and the time; [`Kind::Interrupted`].
    pub fn lock(
        &self,
        wait: Duration,
        waiting: &dyn Fn(Option<&LockHolder>),
    ) -> Result<(RunLock, Option<LockHolder>)> {
        let begun = Instant::now();
        let mut is_told = false;
        loop {
            let by = match self.try_lock()? {
                Attempt::Ours(lock, stale) => return Ok((lock, stale)),
                Attempt::Held(by) => by,
            };
            let left = wait.saturating_sub(begun.elapsed());
            if left.is_zero() {
                let error = Error::new(Kind::Busy, "another `create` is running");
                let error = match by {
                    Some(run) => error.hint(run.to_string()),
                    None => error,
                };
                return Err(error.hint("try again when it is done; `--lock-wait` waits for it"));
            }
            if !is_told {
                waiting(by.as_ref());
                is_told = true;
            }
            std::thread::sleep(LOOK.min(left));
            interrupt::check()?;
        }
    }

    /// Takes the lock, or returns who holds it.
    ///
    /// # Errors
    /// When the lock's file cannot be used.
    pub fn try_lock(&self) -> Result<Attempt> {
        let path = self.0.join(LOCK);
        let to_error = |e: io::Error| Error::failed(format!("cannot lock {}", path.display())).because(e);
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false);
        let file = options.mode(0o600).custom_flags(libc::O_NOFOLLOW).open(&path).map_err(to_error)?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(mut file) => {
                let stale = read_run(&mut file);
                write_run(&mut file, Some(&LockHolder::this())).map_err(to_error)?;
                Ok(Attempt::Ours(RunLock(file), stale))
            }
            Err((mut file, Errno::EWOULDBLOCK)) => Ok(Attempt::Held(read_run(&mut file))),
            Err((_, e)) => Err(to_error(e.into())),
        }
    }

    /// The run that holds the lock, with what is known of it; `None` if there is none.
    pub fn holder(&self) -> Option<Option<LockHolder>> {
        let file = File::open(self.0.join(LOCK)).ok()?;
        match Flock::lock(file, FlockArg::LockSharedNonblock) {
            Err((mut file, Errno::EWOULDBLOCK)) => Some(read_run(&mut file)),
            _ => None,
        }
    }

    /// The killed run that the lock's file still names; `None` if there is none, or a run is
    /// active.
    pub fn stale_run(&self) -> Option<LockHolder> {
        let file = File::open(self.0.join(LOCK)).ok()?;
        let mut file = Flock::lock(file, FlockArg::LockExclusiveNonblock).ok()?;
        read_run(&mut file)
    }
}

/// The result of an attempt to take the lock.
pub enum Attempt {
    /// With the run that held it before and was killed.
    Ours(RunLock, Option<LockHolder>),
    Held(Option<LockHolder>),
}

/// The lock. Its file stays when it is released: if it were removed, two runs could lock two files
/// of this name.
pub struct RunLock(Flock<File>);

impl Drop for RunLock {
    fn drop(&mut self) {
        let _ = write_run(&mut self.0, None);
    }
}

/// A run of `create`, as the lock file describes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockHolder {
    pub pid: u32,
    /// The time with date and zone, in ISO format.
    pub since: String,
}

impl LockHolder {
    fn this() -> LockHolder {
        LockHolder {
            pid: std::process::id(),
            since: Local::now().to_rfc3339_opts(SecondsFormat::Secs, false),
        }
    }
}

impl std::fmt::Display for LockHolder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match DateTime::parse_from_rfc3339(&self.since) {
            Ok(since) => write!(f, "pid {}, since {}", self.pid, since.format("%Y-%m-%d %H:%M:%S")),
            Err(_) => write!(f, "pid {}", self.pid),
        }
    }
}

fn read_run(file: &mut File) -> Option<LockHolder> {
    let mut text = Vec::new();
    file.rewind().ok()?;
    file.take(4096).read_to_end(&mut text).ok()?;
    serde_json::from_slice(&text).ok()
}

fn write_run(file: &mut File, run: Option<&LockHolder>) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    match run {
        Some(run) => file.write_all(&serde_json::to_vec(run)?),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> (tempfile::TempDir, StateDir) {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir(dir.path().join("state"));
        make_private(&state.0).unwrap();
        (dir, state)
    }

    #[test]
    fn the_second_run_is_told_who_the_first_is() {
        let (_dir, state) = state();
        let lock = |wait| state.lock(wait, &|_| {});
        let held = lock(Duration::ZERO).unwrap();
        let Err(error) = lock(Duration::ZERO) else { panic!("two runs hold the lock") };
        assert_eq!(error.kind(), Kind::Busy);
        assert!(error.hints()[0].contains(&format!("pid {}, since 2", std::process::id())), "{error:?}");
        drop(held);
        assert!(matches!(state.try_lock().unwrap(), Attempt::Ours(_, None)));
    }

    #[test]
    fn a_killed_run_is_known_by_what_it_wrote() {
        let (_dir, state) = state();
        let dead = LockHolder { pid: 12, since: "2026-11-24T07:20:00+01:00".into() };
        std::fs::write(state.0.join(LOCK), serde_json::to_vec(&dead).unwrap()).unwrap();
        assert_eq!(state.stale_run(), Some(dead.clone()));
        assert_eq!(dead.to_string(), "pid 12, since 2026-11-24 07:20:00");
        let Attempt::Ours(lock, stale) = state.try_lock().unwrap() else { panic!("a dead run holds it") };
        assert_eq!(stale, Some(dead));
        assert_eq!(state.stale_run(), None, "a live run is no stale one");
        drop(lock);
        assert_eq!(state.stale_run(), None);
    }
}
