//! Keys in memory.

use std::os::unix::process::ExitStatusExt;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::common::{Flavour, Machine, Need, Repository, SOON, available, binary, wait_until};

#[test]
fn keys_are_locked_in_memory_and_a_crash_leaves_no_core() {
    if !available(&[Need::Root, Need::Fuse]) {
        return;
    }
    let Some(flavour) = Flavour::any() else { return };
    let machine = Machine::new(flavour);
    std::fs::write(machine.source().join("letter"), "dear").unwrap();
    let repository = Repository::init(&machine, "repokey-blake2");
    repository.create(&machine, "2026-03-14");
    let letter = machine.mount_point().join("letter");
    let mut mount = machine
        .program("sh")
        .args(["-c", "ulimit -c unlimited; exec \"$@\"", "sh"])
        .arg(binary())
        .arg("--config")
        .arg(machine.config())
        .args(["mount", "--foreground", "::2026-03-14"])
        .arg(machine.mount_point())
        .current_dir(&machine.path("out"))
        .spawn();
    assert!(wait_until(SOON, || letter.exists()));
    let status = std::fs::read_to_string(format!("/proc/{}/status", mount.id())).unwrap();
    let locked = status.lines().find_map(|line| line.strip_prefix("VmLck:")).unwrap();
    let pages: u64 = locked.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(pages >= 8, "{locked}");
    kill(Pid::from_raw(mount.id() as i32), Signal::SIGABRT).unwrap();
    let ended = mount.wait().unwrap();
    machine.program("umount").arg("--lazy").arg(machine.mount_point()).run();
    assert_eq!((ended.signal(), ended.core_dumped()), (Some(libc::SIGABRT), false));
}
