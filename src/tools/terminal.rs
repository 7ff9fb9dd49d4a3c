//! The person at the terminal.

use std::fs::File;
use std::io::{IsTerminal, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};
use nix::unistd::{getpgrp, tcgetpgrp};
use zeroize::Zeroizing;

use crate::error::{Error, Result};
use crate::process::interrupt;

/// How often a wait for an answer checks for signals, in milliseconds.
const LOOK: u8 = 100;
/// The longest answer in bytes: the kernel does not accept longer lines.
const LONGEST: usize = 4096;

/// Asks `question` on the terminal of this process, without echo. `None` if there is nobody:
/// without a terminal, in the background, or if neither input nor messages are on a terminal.
///
/// # Errors
/// When the terminal cannot be used, or a signal asks this process to end.
pub fn ask_secret(question: &str) -> Result<Option<Zeroizing<Vec<u8>>>> {
    let Some(tty) = attended() else { return Ok(None) };
    // Otherwise a Ctrl-C would leave the terminal without echo.
    interrupt::heed()?;
    let to_error = |e: std::io::Error| Error::failed("cannot ask on the terminal").because(e);
    let silent = Silent::new(&tty).map_err(|e| to_error(e.into()))?;
    (&tty).write_all(question.as_bytes()).map_err(to_error)?;
    let answer = line(&tty).map_err(to_error);
    drop(silent);
    let _ = (&tty).write_all(b"\n");
    interrupt::check()?;
    answer.map(Some)
}

/// Whether there is somebody whom [`ask_secret`] can ask.
pub fn is_attended() -> bool {
    attended().is_some()
}

fn attended() -> Option<File> {
    if !std::io::stdin().is_terminal() && !std::io::stderr().is_terminal() {
        return None;
    }
    let mut options = File::options();
    options.read(true).write(true).custom_flags(libc::O_NOCTTY);
    let tty = options.open("/dev/tty").ok()?;
    (tcgetpgrp(&tty).ok() == Some(getpgrp())).then_some(tty)
}

/// A line without its end; what there is of it if a signal arrived.
fn line(mut tty: &File) -> std::io::Result<Zeroizing<Vec<u8>>> {
    let mut answer = Zeroizing::new(Vec::with_capacity(LONGEST));
    let mut byte = Zeroizing::new([0]);
    while !interrupt::requested() && answer.len() < LONGEST {
        let mut fds = [PollFd::new(tty.as_fd(), PollFlags::POLLIN)];
        if !matches!(poll(&mut fds, PollTimeout::from(LOOK)), Ok(n) if n > 0) {
            continue;
        }
        match tty.read(&mut *byte)? {
            0 => break,
            _ if byte[0] == b'\n' => break,
            _ => answer.push(byte[0]),
        }
    }
    Ok(answer)
}

/// Turns the terminal's echo off as long as this lives.
struct Silent<'a> {
    tty: &'a File,
    before: Termios,
}

impl<'a> Silent<'a> {
    fn new(tty: &'a File) -> nix::Result<Self> {
        let before = tcgetattr(tty)?;
        let mut silent = before.clone();
        silent.local_flags.remove(LocalFlags::ECHO | LocalFlags::ECHONL);
        tcsetattr(tty, SetArg::TCSAFLUSH, &silent)?;
        Ok(Silent { tty, before })
    }
}

impl Drop for Silent<'_> {
    fn drop(&mut self) {
        let _ = tcsetattr(self.tty, SetArg::TCSAFLUSH, &self.before);
    }
}
