//! Checks, before borg starts, that the server can be reached and serves the repository. borg
//! itself reports a failed connection only as closed.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use rmp::encode::{write_array_len, write_bool, write_map_len, write_str, write_uint};

use super::client::Borg;
use super::failure::explain;
use super::foreign::{self, Foreign};
use super::log::{Level, Line};
use super::obstacle::Obstacle;
use crate::error::{Error, Kind, Result};
use crate::process::Command;
use crate::tools::qubes;
use crate::tools::ssh::Route;

/// How long a server may take to answer: its disks may have to spin up first.
const PATIENCE: Duration = Duration::from_secs(180);
/// The longest answer to our questions, in bytes.
const LONGEST_ANSWER: usize = 1 << 20;

/// What borg is going to do with the repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Use it.
    Repository,
    /// Read it, with commands of borg that lock it if possible.
    Reading,
    /// Create it.
    Place,
}

/// A server that answered. The qube on the way stays up as long as this lives.
#[must_use]
pub struct Preflight {
    qube: Option<qubes::Use>,
}

impl Preflight {
    /// Keeps the qube running for the process that `command` becomes.
    ///
    /// # Errors
    /// When the qube cannot be handed over.
    pub fn hand_over(self, command: Command) -> Result<Command> {
        match self.qube {
            Some(qube) => Ok(command.hold(qube.into_fd()?)),
            None => Ok(command),
        }
    }
}

impl Borg {
    /// Connects once and asks the server for the repository, in order to `doing` ("list the
    /// archives"). A local repository needs no question. With `asks`, ssh may ask a person later
    /// what it could not ask now, so that is not an error.
    ///
    /// # Errors
    /// The obstacle, with the next step.
    pub fn preflight(&self, doing: &str, need: Need, asks: bool) -> Result<Preflight> {
        let reached = self.reach(doing)?;
        match self.route() {
            Some(route) => self.ask(route, doing, need, asks).map(|()| reached),
            None => Ok(reached),
        }
    }

    /// The same without a connection, for our own reader: it makes one anyway, and
    /// [`Borg::explain_unopened`] finds the obstacle if it cannot.
    ///
    /// # Errors
    /// When a local repository is not borg's, or the qube on the way does not start.
    pub fn reach(&self, doing: &str) -> Result<Preflight> {
        let Some(route) = self.route() else {
            let foreign = self.local().and_then(foreign::at);
            return foreign.map_or(Ok(Preflight { qube: None }), |found| Err(self.foreign(doing, &found)));
        };
        let qube = route.qube().map(qubes::Use::begin).transpose()?;
        Ok(Preflight { qube })
    }

    /// Why our own reader could not open the repository: what a preflight finds, else `error`.
    pub fn explain_unopened(&self, doing: &str, error: Error) -> Error {
        match self.route() {
            Some(_) if !matches!(error.kind(), Kind::Interrupted) => {
                self.preflight(doing, Need::Repository, false).err().unwrap_or(error)
            }
            _ => error,
        }
    }

    fn ask(&self, route: &Route, doing: &str, need: Need, asks: bool) -> Result<()> {
        // Only borg can fill in this name, so only borg can ask.
        let Ok(program) = self.remote_program() else { return Ok(()) };
        let words = route.serve(program)?;
        let output = Command::new(&words[0])
            .args(&words[1..])
            // No ssh may ask at the terminal, not even one that the user configured.
            .env("SSH_ASKPASS_REQUIRE", "force")
            .env("SSH_ASKPASS", "/bin/false")
            .env_remove("BORG_PASSPHRASE")
            .input(&questions(self.path_on_server(), need == Need::Reading))?
            .taste(LONGEST_ANSWER, PATIENCE.min(self.stall_limit()))?;
        if !speaks_borg(&output.stdout) || output.exceeded.is_some() {
            let obstacle = Obstacle::of(&output);
            return if asks && route.can_ask() && obstacle.can_be_asked() {
                Ok(())
            } else {
                Err(obstacle.error(self, route, doing, &output))
            };
        }
        let exception = exception(&output.stdout);
        let foreign = match exception.as_deref() {
            Some("AtticRepository") => Foreign::attic(),
            // The exceptions of a server's borg if config is not the text file that it expects.
            Some("IsADirectoryError") => Foreign::borg_2(),
            Some("UnicodeDecodeError" | "MissingSectionHeaderError") => Foreign::restic(),
            _ => None,
        };
        if let Some(found) = foreign {
            return Err(self.foreign(doing, &found));
        }
        let id = match exception.as_deref() {
            Some("PathNotAllowed") => "PathNotAllowed",
            Some("DoesNotExist") if need != Need::Place => "Repository.DoesNotExist",
            Some("InvalidRepository") if need != Need::Place => "Repository.InvalidRepository",
            Some("LockFailed") => {
                self.server_cannot_lock.store(true, Relaxed);
                return Ok(());
            }
            // borg itself reports anything else better.
            _ => return Ok(()),
        };
        let line = Line::Message { level: Level::Error, id: Some(id.into()), text: String::new() };
        Err(explain(self, doing, output.ended, &[line]))
    }

    fn foreign(&self, doing: &str, found: &Foreign) -> Error {
        let repository = self.repository();
        Error::usage(format!("cannot {doing}: {repository} is {}", found.what)).hint(&found.next)
    }
}

/// Two calls of borg's protocol: which version are you, and do you have this repository (unlocked,
/// or with a lock if one is free)? Both are sent at once, followed by the end of input, which ends
/// the server and its lock.
fn questions(path: &str, locks: bool) -> Vec<u8> {
    let mut out = Vec::new();
    // Writing to memory cannot fail.
    let _ = write_questions(&mut out, path, locks);
    out
}

fn write_questions(out: &mut Vec<u8>, path: &str, locks: bool) -> std::io::Result<()> {
    write_call(out, 1, "negotiate", 1)?;
    write_str(out, "client_data")?;
    write_map_len(out, 1)?;
    write_str(out, "client_version")?;
    write_array_len(out, 3)?;
    for number in [1, 2, 0] {
        write_uint(out, number)?;
    }
    write_call(out, 2, "open", 4)?;
    write_str(out, "path")?;
    write_str(out, path)?;
    for (flag, value) in [("create", false), ("lock", locks)] {
        write_str(out, flag)?;
        write_bool(out, value)?;
    }
    write_str(out, "lock_wait")?;
    write_uint(out, 0)?;
    Ok(())
}

fn write_call(out: &mut Vec<u8>, id: u64, method: &str, arguments: u32) -> std::io::Result<()> {
    write_map_len(out, 3)?;
    write_str(out, "i")?;
    write_uint(out, id)?;
    write_str(out, "m")?;
    write_str(out, method)?;
    write_str(out, "a")?;
    write_map_len(out, arguments)?;
    Ok(())
}

/// Answers are maps of msgpack (before borg 1.1: lists). No text begins with their first byte.
fn speaks_borg(answer: &[u8]) -> bool {
    answer.first().is_some_and(|byte| (0x80..=0x9f).contains(byte))
}

/// The class of the exception that a call raised.
fn exception(answers: &[u8]) -> Option<String> {
    const FIELD: &[u8] = b"exception_class";
    let at = memchr::memmem::find(answers, FIELD)? + FIELD.len();
    let name = answers[at..].iter().skip_while(|b| !b.is_ascii_alphabetic() || **b >= 0x80);
    let name: Vec<u8> = name.take_while(|b| b.is_ascii_alphanumeric()).copied().collect();
    String::from_utf8(name).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exception_is_found_among_the_answers() {
        let answers =
            b"\x82\xa1i\x01\xa1r\x80\x85\xa1i\x02\xafexception_class\xaePathNotAllowed\xaeexception_args\x90";
        assert_eq!(exception(answers).as_deref(), Some("PathNotAllowed"));
        let in_bytes = b"\x85\xc4\x01i\x02\xc4\x0fexception_class\xc4\x0cDoesNotExist\xc4\x0e";
        assert_eq!(exception(in_bytes).as_deref(), Some("DoesNotExist"));
        assert_eq!(exception(b"\x82\xa1i\x01\xa1r\x80"), None);
    }
}
