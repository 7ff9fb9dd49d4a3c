//! A program on a terminal of its own, with somebody who types.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::openpty;

const DEADLINE: Duration = Duration::from_secs(120);

/// Runs `command`; each time the screen has one of `dialogue`'s questions next, its answer is typed. How it ended, and
/// what stood on the screen.
pub fn on_terminal(mut command: Command, dialogue: &[(&str, &str)]) -> (ExitStatus, String) {
    let pty = openpty(None, None).unwrap();
    let slave = File::from(pty.slave);
    command.stdin(slave.try_clone().unwrap()).stdout(slave.try_clone().unwrap()).stderr(slave);
    // SAFETY: plain system calls, allowed between fork and exec.
    unsafe {
        command.pre_exec(|| {
            libc::setsid();
            match libc::ioctl(0, libc::TIOCSCTTY, 0) {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            }
        });
    }
    let mut child = command.spawn().unwrap();
    // It holds the terminal's other end open.
    drop(command);
    let mut master = File::from(pty.master);
    let (mut screen, mut seen) = (Vec::new(), 0);
    let mut dialogue = dialogue.iter();
    let mut next = dialogue.next();
    let end = Instant::now() + DEADLINE;
    loop {
        assert!(Instant::now() < end, "still running: {}", String::from_utf8_lossy(&screen));
        let fd = nix::unistd::dup(&master).unwrap();
        let mut fds = [PollFd::new(std::os::fd::AsFd::as_fd(&fd), PollFlags::POLLIN)];
        if poll(&mut fds, PollTimeout::from(100u8)).unwrap() == 0 {
            continue;
        }
        let mut piece = [0; 4096];
        match master.read(&mut piece) {
            // The last holder of the other end is gone.
            Ok(0) | Err(_) => break,
            Ok(length) => screen.extend_from_slice(&piece[..length]),
        }
        if let Some((question, answer)) = next
            && let Some(at) = String::from_utf8_lossy(&screen[seen..]).find(question)
        {
            seen += at + question.len();
            quiet(&master);
            master.write_all(format!("{answer}\n").as_bytes()).unwrap();
            next = dialogue.next();
        }
    }
    let screen = String::from_utf8_lossy(&screen).into_owned();
    (child.wait().unwrap(), screen)
}

/// Waits until what is typed is not shown: what comes before that is thrown away.
fn quiet(master: &File) {
    let end = Instant::now() + DEADLINE;
    loop {
        let flags = nix::sys::termios::tcgetattr(master).unwrap().local_flags;
        if !flags.contains(nix::sys::termios::LocalFlags::ECHO) {
            return;
        }
        assert!(Instant::now() < end, "fd {} shows what is typed", master.as_raw_fd());
        std::thread::sleep(Duration::from_millis(2));
    }
}
