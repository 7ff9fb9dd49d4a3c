//! A mount of the program under test as a guard.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::machine::{Machine, binary};
use super::own_mounts::is_mounted;
use super::program::Program;
use super::repository::Flavour;
use super::wait::{SOON, wait_until};

/// Where a mount can have its bytes from.
pub const SOURCES: [&str; 2] = ["native", "stream"];

/// Runs `test` with every borg, and with both sources, but not with each pair of them: sources that
/// show the same with one borg show the same with the other.
pub fn each_way(test: impl Fn(Flavour, &str)) {
    let flavours = [Flavour::V12, Flavour::V14].map(|f| f.is_installed().then_some(f));
    let either = flavours[0].or(flavours[1]);
    for (flavour, source) in [(flavours[0].or(either), "stream"), (flavours[1].or(either), "native")] {
        if let Some(flavour) = flavour {
            eprintln!("with {flavour:?}, {source}");
            test(flavour, source);
        }
    }
}

/// A mount at the machine's mount point. Dropped, it is ended, even when its daemon died.
pub struct Mounted {
    dir: PathBuf,
}

impl Mounted {
    /// Mounts `archive` (`::name`; empty: the whole repository) with `arguments` after the directory.
    pub fn new(machine: &Machine, archive: &str, arguments: &[&str]) -> Self {
        let dir = machine.mount_point();
        Self::command(machine, archive, &dir, arguments).ok();
        Mounted::at(dir)
    }

    /// The same, with the bytes from `source`.
    pub fn by(source: &str, machine: &Machine, archive: &str, arguments: &[&str]) -> Self {
        Self::new(machine, archive, &[&["--source", source], arguments].concat())
    }

    /// The guard for a mount that was made at `dir`.
    pub fn at(dir: PathBuf) -> Self {
        assert!(is_mounted(&dir), "nothing is mounted at {}", dir.display());
        Mounted { dir }
    }

    /// The command that mounts.
    pub fn command(machine: &Machine, archive: &str, dir: &Path, arguments: &[&str]) -> Program {
        let program = machine.offsite(["mount"]);
        let program = if archive.is_empty() { program } else { program.arg(archive) };
        program.arg(dir).args(arguments)
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    pub fn path(&self, relative: impl AsRef<OsStr>) -> PathBuf {
        self.dir.join(Path::new(relative.as_ref()))
    }

    /// The process that serves it.
    pub fn daemon(&self) -> Pid {
        daemon_of(&self.dir).expect("no process serves the mount")
    }

    /// Ends it as a user does.
    pub fn umount(self, machine: &Machine) {
        machine.offsite(["umount"]).arg(&self.dir).ok();
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        while is_mounted(&self.dir) && umount2(&self.dir, MntFlags::MNT_DETACH).is_ok() {}
        if is_mounted(&self.dir) {
            Program::new("fusermount3").args(["-u", "-z"]).arg(&self.dir).run();
        }
        if let Some(pid) = daemon_of(&self.dir)
            && !wait_until(SOON, || daemon_of(&self.dir).is_none())
        {
            let _ = kill(pid, Signal::SIGKILL);
            assert!(std::thread::panicking(), "the daemon {pid} outlived its mount");
        }
    }
}

/// The running process of our program that has `dir` on its command line.
fn daemon_of(dir: &Path) -> Option<Pid> {
    let is_ours = |pid: &i32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let mut words = line.split(|b| *b == 0);
        words.next() == Some(binary().as_os_str().as_bytes())
            && words.any(|word| word == dir.as_os_str().as_bytes())
    };
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let mut pids = entries.filter_map(|e| e.file_name().to_str()?.parse().ok());
    pids.find(is_ours).map(Pid::from_raw)
}

/// The running processes below `ancestor` (in any depth) whose command line holds `word`.
pub fn descendants(ancestor: Pid, word: &str) -> Vec<Pid> {
    let children = |pid: Pid| -> Vec<Pid> {
        let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        tasks
            .filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok())
            .flat_map(|list| list.split_whitespace().map(|p| p.parse().unwrap()).collect::<Vec<i32>>())
            .map(Pid::from_raw)
            .collect()
    };
    let has_word = |pid: &Pid| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.split(|b| *b == 0).any(|w| w == word.as_bytes())
    };
    let mut found = Vec::new();
    let mut open = children(ancestor);
    while let Some(pid) = open.pop() {
        open.extend(children(pid));
        if has_word(&pid) {
            found.push(pid);
        }
    }
    found
}
