//! A program on a terminal of its own, as a person at a console has it.

use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use super::mounted::wait_until;

/// The terminal and the program that it controls.
pub struct Terminal {
    child: Child,
    keyboard: std::fs::File,
    shown: Arc<Mutex<Vec<u8>>>,
    reader: JoinHandle<()>,
}

impl Terminal {
    pub(super) fn start(command: &mut Command) -> Terminal {
        let pty = nix::pty::openpty(None, None).unwrap();
        let slave = std::fs::File::from(pty.slave);
        let copy = || Stdio::from(slave.try_clone().unwrap());
        command.stdin(copy()).stdout(copy()).stderr(copy());
        let fd = slave.as_raw_fd();
        // SAFETY: plain system calls, allowed between fork and exec.
        unsafe {
            command.pre_exec(move || {
                libc::setsid();
                match libc::ioctl(fd, libc::TIOCSCTTY, 0) {
                    0 => Ok(()),
                    _ => Err(std::io::Error::last_os_error()),
                }
            });
        }
        let child = command.spawn().unwrap();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        drop(slave);
        let keyboard = std::fs::File::from(pty.master);
        let (mut screen, shown) = (keyboard.try_clone().unwrap(), Arc::new(Mutex::new(Vec::new())));
        let sink = Arc::clone(&shown);
        let reader = std::thread::spawn(move || {
            let mut piece = [0; 4096];
            // EIO: nobody has the terminal any more.
            while let Ok(count @ 1..) = screen.read(&mut piece) {
                sink.lock().unwrap().extend_from_slice(&piece[..count]);
            }
        });
        Terminal { child, keyboard, shown, reader }
    }

    pub fn types(&mut self, keys: &[u8]) {
        self.keyboard.write_all(keys).unwrap();
    }

    /// What was shown so far.
    pub fn shown(&self) -> Vec<u8> {
        self.shown.lock().unwrap().clone()
    }

    /// Waits for the program's end: its exit code (`None`: a signal), and all that was shown.
    pub fn ends(mut self) -> (Option<i32>, Vec<u8>) {
        let mut status = None;
        let ended = wait_until(Duration::from_secs(60), || {
            status = self.child.try_wait().unwrap();
            status.is_some() && self.reader.is_finished()
        });
        let shown = self.shown();
        if !ended {
            let _ = self.child.kill();
        }
        assert!(ended, "it still runs, or holds the terminal: {}", String::from_utf8_lossy(&shown));
        (status.unwrap().code(), shown)
    }
}
