//! Mounts that nobody else sees.

use std::fs::File;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};

use super::wait::wait_until;

const NOTHING: Option<&str> = None;

/// A mount table of its own for the calling thread and for the programs that it starts. Dropped, the
/// thread has its old one again.
pub struct MountNamespace {
    before: File,
    directory: PathBuf,
}

impl MountNamespace {
    /// Another process may copy the machine's table at any moment, and a device that is mounted in the
    /// copy stays busy after umount; this one is nobody's to copy.
    pub fn enter() -> Self {
        let before = File::open("/proc/thread-self/ns/mnt").unwrap();
        let directory = std::env::current_dir().unwrap();
        unshare(CloneFlags::CLONE_NEWNS).expect("a mount namespace is for root");
        // Shared, as under systemd, but with nobody outside: what would get out is seen here.
        for propagation in [MsFlags::MS_PRIVATE, MsFlags::MS_SHARED] {
            mount(NOTHING, "/", NOTHING, MsFlags::MS_REC | propagation, NOTHING).unwrap();
        }
        leave_those_of_other_tests();
        MountNamespace { before, directory }
    }
}

impl Drop for MountNamespace {
    fn drop(&mut self) {
        // The kernel lets a thread go back once it shares its directory with no other. One that was
        // just joined may need a moment for its end, one that goes on is left where it is.
        let goes_back = || setns(&self.before, CloneFlags::CLONE_NEWNS).is_ok();
        if wait_until(Duration::from_millis(500), goes_back) {
            let _ = std::env::set_current_dir(&self.directory);
        }
    }
}

/// Does `work` in a thread with mounts of its own.
pub fn with_own_mounts<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    let worker = || {
        let _mounts = MountNamespace::enter();
        work()
    };
    thread::scope(|scope| scope.spawn(worker).join().unwrap_or_else(|panic| resume_unwind(panic)))
}

/// This copy keeps nobody's device or daemon busy either.
fn leave_those_of_other_tests() {
    for line in mounts().lines() {
        let (place, what) = line.split_once(" - ").unwrap();
        if what.starts_with("fuse.borg-offsite-backup")
            || what.split(' ').nth(1).is_some_and(|s| s.starts_with("/dev/loop"))
        {
            let _ = umount2(&mount_point(place), MntFlags::MNT_DETACH);
        }
    }
}

/// Takes down what is mounted at `dir` or below.
pub fn unmount_below(dir: &Path) {
    let mut dirs: Vec<PathBuf> = mounts().lines().map(mount_point).filter(|d| d.starts_with(dir)).collect();
    while let Some(dir) = dirs.pop() {
        let _ = umount2(&dir, MntFlags::MNT_DETACH);
    }
}

/// The mount table as this thread sees it.
pub fn mounts() -> String {
    std::fs::read_to_string("/proc/thread-self/mountinfo").unwrap()
}

/// The directory that a line of the mount table is about.
fn mount_point(line: &str) -> PathBuf {
    line.split(' ').nth(4).unwrap().replace("\\040", " ").into()
}

pub fn is_mounted(dir: &Path) -> bool {
    mounts().lines().any(|line| mount_point(line) == dir)
}

pub fn tmpfs(dir: &Path, options: &str) {
    std::fs::create_dir_all(dir).unwrap();
    mount(Some("test"), dir, Some("tmpfs"), MsFlags::empty(), Some(options)).unwrap();
}

pub fn bind(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    mount(Some(from), to, NOTHING, MsFlags::MS_BIND, NOTHING).unwrap();
}
