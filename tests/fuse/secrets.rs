//! Keys in memory.

use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::common::mounted::wait_until;
use crate::common::{Flavour, Need, Repository, Sandbox, available, binary};

#[test]
fn keys_are_locked_in_memory_and_a_crash_leaves_no_core() {
    if !available(&[Need::Root, Need::Fuse]) {
        return;
    }
    let Some(flavour) = Flavour::any() else { return };
    let sandbox = Sandbox::new(flavour);
    std::fs::write(sandbox.source().join("letter"), "dear").unwrap();
    let repository = Repository::init(&sandbox, "repokey-blake2");
    repository.create(&sandbox, "2026-03-14");
    sandbox.configure(&repository, "");
    let letter = sandbox.mount_point().join("letter");
    let mut mount = sandbox
        .program("sh")
        .args(["-c", "ulimit -c unlimited; exec \"$@\"", "sh"])
        .arg(binary())
        .arg("--config")
        .arg(sandbox.config())
        .args(["mount", "--foreground", "::2026-03-14"])
        .arg(sandbox.mount_point())
        .current_dir(&sandbox.path("out"))
        .spawn();
    assert!(wait_until(Duration::from_secs(60), || letter.exists()));
    let status = std::fs::read_to_string(format!("/proc/{}/status", mount.id())).unwrap();
    let locked = status.lines().find_map(|line| line.strip_prefix("VmLck:")).unwrap();
    let pages: u64 = locked.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(pages >= 8, "{locked}");
    kill(Pid::from_raw(mount.id() as i32), Signal::SIGABRT).unwrap();
    let ended = mount.wait().unwrap();
    sandbox.program("umount").arg("--lazy").arg(sandbox.mount_point()).run();
    assert_eq!((ended.signal(), ended.core_dumped()), (Some(libc::SIGABRT), false));
}
