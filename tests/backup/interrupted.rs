//! Signals, locks, full disks, and what a killed run leaves.

use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;

use nix::mount::{MsFlags, mount};
use nix::sys::signal::Signal;

use crate::common::{Machine, SOON, STAGING, bind, mounts, tmpfs, today, wait_until};

/// With so much to compress that borg takes a while.
fn slow_machine() -> Machine {
    let mut machine = Machine::with_repository();
    machine.write_random("data/big", 40_000_000);
    machine.list(&["data"]);
    machine.slow();
    machine
}

#[test]
fn while_it_runs_only_borg_sees_the_staged_tree_and_cannot_write_to_it() {
    let machine = slow_machine();
    let before = mounts();
    let create = machine.start(&[]);
    let borg = machine.wait_for_borg(&today());
    assert_eq!(mounts(), before);
    let staged = format!("{STAGING}{}", machine.path("data").display());
    let seen = fs::read_to_string(format!("/proc/{borg}/mountinfo")).unwrap();
    let line = seen.lines().find(|l| l.split(' ').nth(4) == Some(&staged)).unwrap();
    let options = line.split(' ').nth(5).unwrap();
    assert!(options.starts_with("ro,nosuid,nodev,noexec"), "{line}");
    assert!(!line.contains("master:") && !line.contains("shared:"), "not private: {line}");
    assert_eq!(fs::read_link(format!("/proc/{borg}/cwd")).unwrap().to_str(), Some(STAGING));
    let status = fs::read_to_string(format!("/proc/{borg}/stat")).unwrap();
    let nice = status.rsplit(')').next().unwrap().split(' ').nth(17).unwrap();
    assert_eq!(nice, "19");
    // The class of I/O as ioprio_get(2) has it: 3 is idle.
    // SAFETY: it takes two numbers.
    let class = unsafe { libc::syscall(libc::SYS_ioprio_get, 1, borg) } >> 13;
    assert_eq!(class, 3);
    drop(create);
    machine.wait_for_no_borg();
}

#[test]
fn each_signal_to_end_stops_borg_and_leaves_nothing() {
    let machine = slow_machine();
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        let before = mounts();
        let create = machine.start(&[]);
        machine.wait_for_borg(&today());
        create.signal(signal);
        create.end().exits(1).says("stopped by a signal").says("was not made");
        machine.assert_nothing_is_left();
        assert_eq!(mounts(), before);
        assert!(machine.archives().is_empty());
    }
}

#[test]
fn after_a_kill_borg_ends_the_mounts_are_gone_and_the_next_run_works() {
    let mut machine = slow_machine();
    let create = machine.start(&[]);
    machine.wait_for_borg(&today());
    create.signal(Signal::SIGKILL);
    drop(create);
    machine.wait_for_no_borg();
    machine.set("compression", "none");
    machine.run(["create"]).succeeds().says("Removed the mark of a killed `create` (pid ");
    assert_eq!(machine.archives(), [today()]);
    machine.assert_nothing_is_left();
}

#[test]
fn a_kill_takes_borg_along_also_when_that_says_nothing_and_waits_for_nobody() {
    let mut machine = Machine::with_repository();
    machine.write("data/x", "x");
    machine.list(&["data"]);
    let file = machine.path("pid");
    let script = format!("if [ $1 = create ]; then echo $$ > {}; exec sleep 600; fi", file.display());
    let create = machine.with_borg(&script, ["create"]).start();
    let pid = || fs::read_to_string(&file).ok()?.trim().parse::<u32>().ok();
    assert!(wait_until(SOON, || pid().is_some()), "there is no borg");
    let pid = pid().unwrap();
    let sleeps = || fs::read(format!("/proc/{pid}/comm")).is_ok_and(|name| name == b"sleep\n");
    assert!(wait_until(SOON, sleeps), "there is no sleep");
    drop(create);
    assert!(wait_until(SOON, || !fs::exists(format!("/proc/{pid}")).unwrap()), "it goes on");
}

#[test]
fn the_second_of_two_is_told_who_runs() {
    let machine = slow_machine();
    let create = machine.start(&[]);
    machine.wait_for_borg(&today());
    let pid = format!("pid {}, since {}", create.id(), today());
    machine.run(["create", "--lock-wait", "0"]).exits(75).says("another `create` is running").says(&pid);
    let ran = machine.run(["cleanup"]).succeeds().says(&pid);
    assert_eq!(ran.stdout(), "", "it took something from the run");
    assert!(fs::read_to_string(format!("{STAGING}/create.lock")).unwrap().contains("pid"));
    assert!(!machine.borgs().is_empty(), "the first one was disturbed");
}

#[test]
fn a_second_create_waits_for_the_first_as_long_as_it_is_told_to() {
    let machine = slow_machine();
    let first = machine.start(&[]);
    machine.wait_for_borg(&today());
    let second = ["create", "--lock-wait", "600", "--if-exists", "skip"];
    let mut second = machine.offsite(second).start();
    let line = second.line();
    assert!(line.contains(&format!("running (pid {}, since {}", first.id(), today())), "{line}");
    assert!(line.contains("waiting for it, 10 min 0 s at most"), "{line}");
    first.signal(Signal::SIGTERM);
    first.end().exits(1);
    second.end().succeeds();
    assert_eq!(machine.archives(), [today()]);
}

#[test]
fn a_lock_held_by_another_borg_is_waited_for_and_its_holder_named() {
    let mut machine = Machine::with_repository();
    machine.write("data/x", "x");
    machine.list(&["data"]);
    let repository = machine.repository();
    let mut holder =
        machine.borg(["with-lock", repository.to_str().unwrap(), "sh", "-c", "echo held; cat"]).spawn_piped();
    let mut word = [0; 5];
    holder.stdout.as_mut().unwrap().read_exact(&mut word).unwrap();
    let ran = machine.run(["create", "--lock-wait", "1"]).exits(75).says("is locked");
    ran.says(&format!("held by: pid {}", holder.id()));
    drop(holder.stdin.take());
    holder.wait().unwrap();
    machine.assert_nothing_is_left();
}

#[test]
fn a_full_disk_of_the_repository_is_told_as_such() {
    let mut machine = Machine::isolated();
    tmpfs(&machine.path("disk"), "size=4m");
    machine.set("backup_path", machine.path("disk/repository").to_str().unwrap());
    machine.run(["init", "-e", "none"]).succeeds();
    machine.write_random("data/big", 10_000_000);
    machine.list(&["data"]);
    machine.run(["create"]).exits(1).says("cannot make the archive").says("a disk is full");
    assert!(machine.archives().is_empty());
    assert!(!machine.path("disk/repository/lock.exclusive").exists());
    machine.assert_nothing_is_left();
}

#[test]
fn cleanup_removes_dead_mounts_open_stages_and_marks_but_no_more() {
    let machine = Machine::with_repository();
    machine.write("data/x", "x");
    machine.write("kept/x", "x");
    let dead = machine.path("dead");
    fs::create_dir(&dead).unwrap();
    let server = fs::File::options().read(true).write(true).open("/dev/fuse").unwrap();
    let fd = std::os::fd::AsRawFd::as_raw_fd(&server);
    let options = format!("fd={fd},rootmode=40000,user_id=0,group_id=0");
    let kind = Some("fuse.borg-offsite-backup");
    mount(Some("repository"), &dead, kind, MsFlags::empty(), Some(options.as_str())).unwrap();
    drop(server);
    // As a tool that stages in the open does; and as somebody does who has a use of his own for the place.
    let staged = format!("{STAGING}{}", machine.path("data").display());
    bind(&machine.path("data"), staged.as_ref());
    let foreign = format!("{STAGING}/boot/efi");
    bind(&machine.path("kept"), foreign.as_ref());
    fs::write(format!("{STAGING}/create.lock"), r#"{"pid": 1, "since": "2026-01-01T00:00:00+00:00"}"#)
        .unwrap();
    bind(&machine.path("data"), &machine.path("foreign"));

    let before = mounts();
    let ran = machine.run(["cleanup", "--dry-run"]).succeeds();
    assert_eq!(
        ran.stdout().lines().filter(|l| l.starts_with("would remove ")).count(),
        3,
        "{}",
        ran.stdout()
    );
    assert_eq!(mounts(), before);

    let ran = machine.run(["cleanup"]).succeeds();
    assert!(
        ran.stdout().contains(&format!("removed the dead mount at {}", dead.display())),
        "{}",
        ran.stdout()
    );
    assert!(ran.stdout().contains(&format!("removed the staging mount at {staged}")), "{}", ran.stdout());
    assert!(ran.stdout().contains("removed the mark of a killed `create` (pid 1"), "{}", ran.stdout());
    assert!(!mounts().contains(dead.to_str().unwrap()), "{}", mounts());
    assert!(machine.path("foreign/x").exists() && machine.path("data/x").exists());
    assert!(mounts().contains(&foreign) && fs::exists(format!("{foreign}/x")).unwrap(), "{}", mounts());
    nix::mount::umount(foreign.as_str()).unwrap();
    fs::remove_dir_all(format!("{STAGING}/boot")).unwrap();
    machine.assert_nothing_is_left();
    machine.run(["cleanup"]).succeeds().says("nothing to clean up");
}

#[test]
fn a_create_clears_an_open_stage_that_lies_over_its_state_by_itself() {
    let mut machine = Machine::with_repository();
    machine.write("data/x", "x");
    machine.list(&["data"]);
    bind("/".as_ref(), STAGING.as_ref());
    machine.run(["create"]).succeeds().says("Removed the staging mount at");
    assert_eq!(machine.archives(), [today()]);
    machine.assert_nothing_is_left();
}

#[test]
fn what_somebody_else_mounted_over_the_state_is_left_as_it_is() {
    let mut machine = Machine::with_repository();
    machine.write("data/x", "x");
    machine.list(&["data"]);
    fs::set_permissions(machine.path("data"), fs::Permissions::from_mode(0o755)).unwrap();
    bind(&machine.path("data"), STAGING.as_ref());
    for command in ["create", "cleanup"] {
        machine.run([command]).exits(1).says("lies under a mount").says(&format!("`umount {STAGING}`"));
    }
    assert!(fs::exists(format!("{STAGING}/x")).unwrap(), "it is still mounted");
    assert_eq!(fs::metadata(machine.path("data")).unwrap().permissions().mode() & 0o777, 0o755);
    assert_eq!(fs::read_dir(machine.path("data")).unwrap().count(), 1);
    nix::mount::umount(STAGING).unwrap();
    tmpfs(STAGING.as_ref(), "mode=700");
    machine.run(["create"]).exits(1).says("lies under a mount");
    nix::mount::umount(STAGING).unwrap();
    machine.run(["create"]).succeeds();
}
