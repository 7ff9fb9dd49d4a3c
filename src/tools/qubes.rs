//! Qubes OS, from dom0: a qube that connections go through.
//!
//! Who uses a qube holds a shared lock on a file in the state directory. Who finds the qube halted
//! starts it and marks that in the file; then a keeper, a process of its own, waits until it gets
//! the lock alone, and shuts a marked qube down. The kernel takes the locks of the dead away, so
//! the keeper's turn comes also after a SIGKILL. A second file's lock sees that one keeper is enough.

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
use crate::process::{Command, Ended};

/// All that is used of Qubes OS for a bridge.
pub const PROGRAMS: [&str; 4] = ["qvm-run", "qvm-check", "qvm-start", "qvm-shutdown"];

/// How long a qube may take to start, and to halt.
const PATIENCE: Duration = Duration::from_secs(180);
const LOOK: Duration = Duration::from_secs(1);

/// A qube that is needed: it is not shut down by us as long as this lives.
pub struct Use {
    lock: Flock<File>,
}

impl Use {
    /// Starts the qube if it is halted.
    ///
    /// # Errors
    /// When there is no such qube, or it does not start; on a machine that is no dom0.
    pub fn begin(qube: &str) -> Result<Use> {
        let file = open(qube, "lock")?;
        // Waits for one that is about to shut it down.
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

    /// The lock as a descriptor, for a program that we become.
    ///
    /// # Errors
    /// When it cannot be duplicated.
    pub fn into_fd(self) -> Result<OwnedFd> {
        let fd = self.lock.try_clone().map(OwnedFd::from);
        // A duplicate holds the same lock, and dropping the guard would give it back.
        std::mem::forget(self.lock);
        fd.map_err(|e| Error::failed("cannot keep the qube for borg").because(e))
    }
}

/// Waits until nobody uses the qube any more, then shuts it down if we started it. Does nothing
/// where another keeper waits.
///
/// # Errors
/// When it does not halt.
pub fn keep(qube: &str) -> Result<()> {
    let Ok(only) = Flock::lock(open(qube, "keeper")?, FlockArg::LockExclusiveNonblock) else {
        return Ok(());
    };
    let mut lock = locked(open(qube, "lock")?, FlockArg::LockExclusive, qube)?;
    let done = shut_down(qube, &mut lock);
    // Before the other lock: who waits for that one may need a new keeper.
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
    // Who comes now would find it running, and lose it.
    for _ in 0..PATIENCE.as_secs() {
        if !is_running(qube)? {
            return Ok(());
        }
        std::thread::sleep(LOOK);
    }
    Err(Error::failed(format!("the qube {qube} does not halt")))
}

/// Runs `words` in the qube, as `user` (without one: its default user), between our standard input
/// and output; a qube has no more to do with our terminal than another account.
///
/// # Errors
/// When the qube is not there any more afterwards.
pub fn run(qube: &str, user: Option<&str>, words: &[OsString]) -> Result<Ended> {
    let mut command = Command::new("qvm-run").args(["--pass-io", "--nogui"]);
    if let Some(user) = user {
        command = command.args(["--user", user]);
    }
    // A shell in the qube takes it apart again.
    let mut text = OsString::from("exec ");
    text.push(quote(words));
    let ended = super::ssh::between(command.args([OsStr::new(qube), &text]).die_with_parent())?;
    if ended != Ended::Code(0) && !is_running(qube)? {
        return Err(Error::failed(format!("the qube {qube} is not running any more"))
            .hint("see /var/log/xen/console/ and `qvm-ls`; the next connection starts it again"));
    }
    Ok(ended)
}

/// Whether this machine hands devices to qubes: dom0, or a qube that does its work.
pub fn is_admin() -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    Path::new("/etc/qubes-release").exists()
        || std::env::split_paths(&path).any(|dir| dir.join("qvm-block").is_file())
}

/// Hands the block device to the qube, read-only unless `writable`; which must be running.
///
/// # Errors
/// When there is no such qube, or on a machine that is no dom0.
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

/// Takes it back.
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

/// As `qvm-block` knows it: `dom0:loop7`.
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

/// That we started the qube.
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
