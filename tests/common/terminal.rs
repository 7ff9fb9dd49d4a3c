//! A program on a terminal of its own, as a person at a console has it.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use nix::sys::termios::{LocalFlags, tcgetattr};

use super::wait::{SOON, wait_until};

/// The terminal and the program that it controls.
pub struct Terminal {
    child: Child,
    keyboard: File,
    shown: Arc<Mutex<Vec<u8>>>,
    reader: JoinHandle<()>,
}

impl Terminal {
    pub(super) fn start(command: &mut Command) -> Terminal {
        let pty = nix::pty::openpty(None, None).unwrap();
        let slave = File::from(pty.slave);
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
        let keyboard = File::from(pty.master);
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
    pub fn shown(&self) -> String {
        String::from_utf8_lossy(&self.shown.lock().unwrap()).into_owned()
    }

    /// Each time one of `dialogue`'s questions is shown next, its answer is typed, unseen; then as [`Terminal::ends`].
    pub fn answers(mut self, dialogue: &[(&str, &str)]) -> (Option<i32>, String) {
        let mut seen = 0;
        for (question, answer) in dialogue {
            let mut asked = None;
            let waits = wait_until(SOON, || {
                let ended = self.reader.is_finished();
                let shown = self.shown();
                asked = shown[seen..].find(question).map(|at| seen + at + question.len());
                ended || asked.is_some()
            });
            assert!(waits, "it still runs, and does not ask {question:?}: {}", self.shown());
            let Some(end) = asked else { break };
            seen = end;
            // What comes before that is thrown away.
            let is_hidden = || !tcgetattr(&self.keyboard).unwrap().local_flags.contains(LocalFlags::ECHO);
            assert!(wait_until(SOON, is_hidden), "it shows what is typed: {}", self.shown());
            self.types(format!("{answer}\n").as_bytes());
        }
        self.ends()
    }

    /// Waits for the program's end: its exit code (`None`: a signal), and all that was shown.
    pub fn ends(mut self) -> (Option<i32>, String) {
        let mut status = None;
        let ended = wait_until(SOON, || {
            status = self.child.try_wait().unwrap();
            status.is_some() && self.reader.is_finished()
        });
        let shown = self.shown();
        if !ended {
            let _ = self.child.kill();
        }
        assert!(ended, "it still runs, or holds the terminal: {shown}");
        (status.unwrap().code(), shown)
    }
}
