//! Qubes OS, from dom0: a qube on the way of connections.
//!
//! Each user of a qube holds a shared lock on a file in the state directory. Whoever finds the qube
//! halted starts it, and notes this in the file. A keeper, which is a process of its own, waits for
//! the exclusive lock, and then shuts the qube down if the file has that note. The kernel releases
//! the locks of dead processes, so this works even after a SIGKILL. The lock on a second file
//! prevents a second keeper.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use nix::fcntl::{Flock, FlockArg};

use super::ssh::quote;
use crate::directories;
use crate::error::{Error, Result};
use crate::process::{Command, Ended, is_program};

/// The tools of Qubes OS that a bridge uses.
pub const PROGRAMS: [&str; 4] = ["qvm-run", "qvm-check", "qvm-start", "qvm-shutdown"];

/// How long a qube may take to start, and to halt.
const PATIENCE: Duration = Duration::from_secs(180);
const LOOK: Duration = Duration::from_secs(1);

/// A qube in use. We do not shut it down as long as this lives.
pub struct Use {
    lock: Flock<File>,
}

impl Use {
    /// Starts the qube if it is halted.
    ///
    /// # Errors
    /// When there is no such qube, it does not start, or this machine is not a dom0.
    pub fn begin(qube: &str) -> Result<Use> {
        let file = open(qube, "lock")?;
        // Waits for a keeper that is about to shut it down.
        let mut lock = locked(file, FlockArg::LockShared, qube)?;
        if !is_running(qube)? {
            tracing::info!("starting the qube {qube}");
            mark(&mut lock, true).map_err(|e| cannot_keep(qube, e))?;
            start(qube).inspect_err(|_| drop(mark(&mut lock, false)))?;
        }
        if is_marked(&mut lock).map_err(|e| cannot_keep(qube, e))? {
            let program = std::env::current_exe().map_err(|e| cannot_keep(qube, e))?;
            let keeper = Command::new(program).args(["bridge", "--keep", qube]);
            keeper.current_dir(Path::new("/")).env_remove("BORG_PASSPHRASE").leave()?;
        }
        Ok(Use { lock })
    }

    /// The lock as a descriptor, for a program that replaces this process.
    ///
    /// # Errors
    /// When it cannot be duplicated.
    pub fn into_fd(self) -> Result<OwnedFd> {
        let fd = self.lock.try_clone().map(OwnedFd::from);
        // The duplicate shares the lock, which dropping the guard would release.
        std::mem::forget(self.lock);
        fd.map_err(|e| Error::failed("cannot keep the qube for borg").because(e))
    }
}

/// Waits until nobody uses the qube, then shuts it down if we started it. Does nothing if another
/// keeper is waiting.
///
/// # Errors
/// When it does not halt.
pub fn keep(qube: &str) -> Result<()> {
    let Ok(only) = Flock::lock(open(qube, "keeper")?, FlockArg::LockExclusiveNonblock) else {
        return Ok(());
    };
    let mut lock = locked(open(qube, "lock")?, FlockArg::LockExclusive, qube)?;
    let done = shut_down(qube, &mut lock);
    // Before the other lock is released: whoever waits for that one may need a new keeper.
    drop(only);
    done
}

fn shut_down(qube: &str, lock: &mut File) -> Result<()> {
    if !is_marked(lock).map_err(|e| cannot_keep(qube, e))? {
        return Ok(());
    }
    mark(lock, false).map_err(|e| cannot_keep(qube, e))?;
    let output = Command::new("qvm-shutdown").args(["--quiet", qube]).finish(PATIENCE)?;
    if output.ended != Ended::Code(0) {
        return Err(failed(format!("cannot shut the qube {qube} down"), &output.stderr));
    }
    // A new user would find the qube running, and lose it.
    for _ in 0..PATIENCE.as_secs() {
        if !is_running(qube)? {
            return Ok(());
        }
        std::thread::sleep(LOOK);
    }
    Err(Error::failed(format!("the qube {qube} does not halt")))
}

/// Runs `words` in the qube as `user` (or its default user), between our standard input and output.
/// Like another account, the qube does not get our terminal.
///
/// # Errors
/// When the qube is gone afterwards.
pub fn run(qube: &str, user: Option<&str>, words: &[OsString]) -> Result<Ended> {
    let mut command = Command::new("qvm-run").args(["--pass-io", "--nogui"]);
    if let Some(user) = user {
        command = command.args(["--user", user]);
    }
    // A shell in the qube splits it again.
    let mut text = OsString::from("exec ");
    text.push(quote(words));
    let ended = super::ssh::between(command.args([OsStr::new(qube), &text]).die_with_parent())?;
    if ended != Ended::Code(0) && !is_running(qube)? {
        return Err(Error::failed(format!("the qube {qube} is not running any more"))
            .hint("see /var/log/xen/console/ and `qvm-ls`; the next connection starts it again"));
    }
    Ok(ended)
}

/// Whether this machine can attach devices to qubes: dom0, or a qube with its role.
pub fn is_admin() -> bool {
    Path::new("/etc/qubes-release").exists() || is_program("qvm-block")
}

/// Attaches the block device to the running qube, read-only unless `writable` is set.
///
/// # Errors
/// When there is no such qube, or this machine is not a dom0.
pub fn attach_block(qube: &str, device: &Path, writable: bool) -> Result<()> {
    let mut command = Command::new("qvm-block").arg("attach");
    if !writable {
        command = command.arg("--ro");
    }
    let output = command.args([qube, &block_name(device)]).output_within(PATIENCE)?;
    match output.ended {
        Ended::Code(0) => Ok(()),
        _ => Err(failed(format!("cannot hand {} to the qube {qube}", device.display()), &output.stderr)
            .hint("`qvm-ls` shows all qubes; it must be running, or `qvm-start` starts it")),
    }
}

/// Detaches it again.
///
/// # Errors
/// When the qube does not have it.
pub fn detach_block(qube: &str, device: &Path) -> Result<()> {
    let command = Command::new("qvm-block").args(["detach", qube, &block_name(device)]);
    let output = command.finish(PATIENCE)?;
    match output.ended {
        Ended::Code(0) => Ok(()),
        _ => Err(failed(format!("cannot take {} from the qube {qube}", device.display()), &output.stderr)),
    }
}

/// The name for `qvm-block`: `dom0:loop7`.
fn block_name(device: &Path) -> String {
    format!("dom0:{}", device.file_name().unwrap_or_default().display())
}

fn is_running(qube: &str) -> Result<bool> {
    let output = Command::new("qvm-check").args(["--quiet", "--running", qube]).output_within(PATIENCE)?;
    match output.ended {
        Ended::Code(0) => Ok(true),
        Ended::Code(1) => Ok(false),
        _ => Err(no_qube(qube, &output.stderr)),
    }
}

fn start(qube: &str) -> Result<()> {
    let output = Command::new("qvm-start").args(["--quiet", "--skip-if-running", qube]).finish(PATIENCE)?;
    match output.ended {
        Ended::Code(0) => Ok(()),
        _ => Err(no_qube(qube, &output.stderr)),
    }
}

fn no_qube(qube: &str, stderr: &[Vec<u8>]) -> Error {
    failed(format!("cannot start the qube {qube}"), stderr)
        .hint("`bridge_vm` in the configuration names the qube with the network; `qvm-ls` shows all")
}

fn failed(what: String, stderr: &[Vec<u8>]) -> Error {
    let lines: Vec<_> = stderr.iter().map(|line| String::from_utf8_lossy(line)).collect();
    Error::failed(what).because(if lines.is_empty() { "it said nothing".into() } else { lines.join("; ") })
}

/// The file `qube-NAME.KIND` in the state directory.
fn open(qube: &str, kind: &str) -> Result<File> {
    let dir = directories::state_dir()?;
    directories::make_private(&dir)?;
    let path = dir.join(format!("qube-{qube}.{kind}"));
    let opened = File::options().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
    opened.map_err(|e| Error::failed(format!("cannot open {}", path.display())).because(e))
}

fn locked(file: File, how: FlockArg, qube: &str) -> Result<Flock<File>> {
    let mut file = file;
    loop {
        match Flock::lock(file, how) {
            Ok(lock) => return Ok(lock),
            Err((again, nix::errno::Errno::EINTR)) => file = again,
            Err((_, e)) => return Err(cannot_keep(qube, e.into())),
        }
    }
}

/// The note that we started the qube.
fn mark(file: &mut File, ours: bool) -> std::io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    if ours { file.write_all(b"started by borg-offsite-backup\n") } else { Ok(()) }
}

fn is_marked(file: &mut File) -> std::io::Result<bool> {
    file.rewind()?;
    Ok(file.read(&mut [0])? > 0)
}

fn cannot_keep(qube: &str, e: std::io::Error) -> Error {
    Error::failed(format!("cannot keep account of who uses the qube {qube}")).because(e)
}
