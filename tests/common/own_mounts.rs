//! Mounts that nobody else sees.

use std::panic::resume_unwind;
use std::thread;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};

const NOTHING: Option<&str> = None;

/// Does `work` in a thread, and in the programs that it starts, with a mount table of its own. Another
/// process may copy the machine's table at any moment, and a device that is mounted in the copy stays
/// busy after umount; this one is nobody's to copy.
pub fn with_own_mounts<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    let worker = || {
        unshare(CloneFlags::CLONE_NEWNS).unwrap();
        mount(NOTHING, "/", NOTHING, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NOTHING).unwrap();
        leave_those_of_other_tests();
        work()
    };
    thread::scope(|scope| scope.spawn(worker).join().unwrap_or_else(|panic| resume_unwind(panic)))
}

/// This copy keeps nobody's device or daemon busy either.
fn leave_those_of_other_tests() {
    let table = std::fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
    for line in table.lines() {
        let (place, what) = line.split_once(" - ").unwrap();
        let dir = place.split(' ').nth(4).unwrap().replace("\\040", " ");
        if what.starts_with("fuse") || what.split(' ').nth(1).is_some_and(|s| s.starts_with("/dev/loop")) {
            let _ = umount2(dir.as_str(), MntFlags::MNT_DETACH);
        }
    }
}
