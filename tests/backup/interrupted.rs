//! Signals, locks, full disks, and what a killed run leaves.

use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use nix::mount::{MsFlags, mount};
use nix::sys::signal::Signal;

use crate::world::{STAGING, World, bind, mounts, tmpfs, today, until};

/// With so much to compress that borg takes a while.
fn slow_world() -> World {
    let mut world = World::new();
    world.write_random("data/big", 40_000_000);
    world.list(&["data"]);
    world.slow();
    world
}

#[test]
fn while_it_runs_only_borg_sees_the_staged_tree_and_cannot_write_to_it() {
    let world = slow_world();
    let before = mounts();
    let create = world.start(&[]);
    let borg = world.wait_for_borg(&today());
    assert_eq!(mounts(), before);
    let staged = format!("{STAGING}{}", world.path("data").display());
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
    world.wait_for_no_borg();
}

#[test]
fn each_signal_to_end_stops_borg_and_leaves_nothing() {
    let world = slow_world();
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        let before = mounts();
        let create = world.start(&[]);
        world.wait_for_borg(&today());
        create.signal(signal);
        create.end().exits(1).says("stopped by a signal").says("was not made");
        world.assert_nothing_is_left();
        assert_eq!(mounts(), before);
        assert!(world.archives().is_empty());
    }
}

#[test]
fn after_a_kill_borg_ends_the_mounts_are_gone_and_the_next_run_works() {
    let mut world = slow_world();
    let create = world.start(&[]);
    world.wait_for_borg(&today());
    create.signal(Signal::SIGKILL);
    drop(create);
    world.wait_for_no_borg();
    world.set("compression", "none");
    world.run(&["create"]).succeeds().says("Removed the mark of a killed `create` (pid ");
    assert_eq!(world.archives(), [today()]);
    world.assert_nothing_is_left();
}

#[test]
fn a_kill_takes_borg_along_also_when_that_says_nothing_and_waits_for_nobody() {
    let mut world = World::new();
    world.write("data/x", "x");
    world.list(&["data"]);
    let file = world.path("pid");
    let script = format!("if [ $1 = create ]; then echo $$ > {}; exec sleep 600; fi", file.display());
    let mut create = world.with_borg(&script, &["create"]).spawn().unwrap();
    let pid = until("borg", || fs::read_to_string(&file).ok()?.trim().parse::<u32>().ok());
    until("sleep", || fs::read(format!("/proc/{pid}/comm")).is_ok_and(|c| c == b"sleep\n").then_some(()));
    create.kill().unwrap();
    create.wait().unwrap();
    until("its end", || (!fs::exists(format!("/proc/{pid}")).unwrap()).then_some(()));
}

#[test]
fn the_second_of_two_is_told_who_runs() {
    let world = slow_world();
    let create = world.start(&[]);
    world.wait_for_borg(&today());
    let pid = format!("pid {}, since {}", create.child.id(), today());
    world.run(&["create", "--lock-wait", "0"]).exits(75).says("another `create` is running").says(&pid);
    let ran = world.run(&["cleanup"]).succeeds().says(&pid);
    assert_eq!(ran.stdout, "", "it took something from the run");
    assert!(fs::read_to_string(format!("{STAGING}/create.lock")).unwrap().contains("pid"));
    assert!(!world.borgs().is_empty(), "the first one was disturbed");
}

#[test]
fn a_second_create_waits_for_the_first_as_long_as_it_is_told_to() {
    let world = slow_world();
    let first = world.start(&[]);
    world.wait_for_borg(&today());
    let mut second = world.command(&["create", "--lock-wait", "600", "--if-exists", "skip"]).spawn().unwrap();
    let mut said = std::io::BufReader::new(second.stderr.take().unwrap());
    let mut line = String::new();
    std::io::BufRead::read_line(&mut said, &mut line).unwrap();
    assert!(line.contains(&format!("running (pid {}, since {}", first.child.id(), today())), "{line}");
    assert!(line.contains("waiting for it, 10 min 0 s at most"), "{line}");
    first.signal(Signal::SIGTERM);
    first.end().exits(1);
    let mut rest = String::new();
    said.read_to_string(&mut rest).unwrap();
    assert!(second.wait().unwrap().success(), "{rest}");
    assert_eq!(world.archives(), [today()]);
}

#[test]
fn a_lock_held_by_another_borg_is_waited_for_and_its_holder_named() {
    let mut world = World::new();
    world.write("data/x", "x");
    world.list(&["data"]);
    let repository = world.path("repository");
    let mut holder = world
        .borg(&["with-lock", repository.to_str().unwrap(), "sh", "-c", "echo held; cat"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let mut word = [0; 5];
    holder.stdout.as_mut().unwrap().read_exact(&mut word).unwrap();
    let ran = world.run(&["create", "--lock-wait", "1"]).exits(75).says("is locked");
    ran.says(&format!("held by: pid {}", holder.id()));
    drop(holder.stdin.take());
    holder.wait().unwrap();
    world.assert_nothing_is_left();
}

#[test]
fn a_full_disk_of_the_repository_is_told_as_such() {
    let mut world = World::without_repository();
    tmpfs(&world.path("disk"), "size=4m");
    world.set("backup_path", world.path("disk/repository").to_str().unwrap());
    world.run(&["init", "-e", "none"]).succeeds();
    world.write_random("data/big", 10_000_000);
    world.list(&["data"]);
    world.run(&["create"]).exits(1).says("cannot make the archive").says("a disk is full");
    assert!(world.archives().is_empty());
    assert!(!world.path("disk/repository/lock.exclusive").exists());
    world.assert_nothing_is_left();
}

#[test]
fn cleanup_removes_dead_mounts_open_stages_and_marks_but_no_more() {
    let world = World::new();
    world.write("data/x", "x");
    world.write("kept/x", "x");
    let dead = world.path("dead");
    fs::create_dir(&dead).unwrap();
    let server = fs::File::options().read(true).write(true).open("/dev/fuse").unwrap();
    let fd = std::os::fd::AsRawFd::as_raw_fd(&server);
    let options = format!("fd={fd},rootmode=40000,user_id=0,group_id=0");
    let kind = Some("fuse.borg-offsite-backup");
    mount(Some("repository"), &dead, kind, MsFlags::empty(), Some(options.as_str())).unwrap();
    drop(server);
    // As a tool that stages in the open does; and as somebody does who has a use of his own for the place.
    let staged = format!("{STAGING}{}", world.path("data").display());
    bind(&world.path("data"), staged.as_ref());
    let foreign = format!("{STAGING}/boot/efi");
    bind(&world.path("kept"), foreign.as_ref());
    fs::write(format!("{STAGING}/create.lock"), r#"{"pid": 1, "since": "2026-01-01T00:00:00+00:00"}"#)
        .unwrap();
    bind(&world.path("data"), &world.path("foreign"));

    let before = mounts();
    let ran = world.run(&["cleanup", "--dry-run"]).succeeds();
    assert_eq!(ran.stdout.lines().filter(|l| l.starts_with("would remove ")).count(), 3, "{}", ran.stdout);
    assert_eq!(mounts(), before);

    let ran = world.run(&["cleanup"]).succeeds();
    assert!(ran.stdout.contains(&format!("removed the dead mount at {}", dead.display())), "{}", ran.stdout);
    assert!(ran.stdout.contains(&format!("removed the staging mount at {staged}")), "{}", ran.stdout);
    assert!(ran.stdout.contains("removed the mark of a killed `create` (pid 1"), "{}", ran.stdout);
    assert!(!mounts().contains(dead.to_str().unwrap()), "{}", mounts());
    assert!(world.path("foreign/x").exists() && world.path("data/x").exists());
    assert!(mounts().contains(&foreign) && fs::exists(format!("{foreign}/x")).unwrap(), "{}", mounts());
    nix::mount::umount(foreign.as_str()).unwrap();
    fs::remove_dir_all(format!("{STAGING}/boot")).unwrap();
    world.assert_nothing_is_left();
    world.run(&["cleanup"]).succeeds().says("nothing to clean up");
}

#[test]
fn a_create_clears_an_open_stage_that_lies_over_its_state_by_itself() {
    let mut world = World::new();
    world.write("data/x", "x");
    world.list(&["data"]);
    bind("/".as_ref(), STAGING.as_ref());
    world.run(&["create"]).succeeds().says("Removed the staging mount at");
    assert_eq!(until("the archive", || world.archives().pop()), today());
    world.assert_nothing_is_left();
}

#[test]
fn what_somebody_else_mounted_over_the_state_is_left_as_it_is() {
    let mut world = World::new();
    world.write("data/x", "x");
    world.list(&["data"]);
    fs::set_permissions(world.path("data"), fs::Permissions::from_mode(0o755)).unwrap();
    bind(&world.path("data"), STAGING.as_ref());
    for command in ["create", "cleanup"] {
        world.run(&[command]).exits(1).says("lies under a mount").says(&format!("`umount {STAGING}`"));
    }
    assert!(fs::exists(format!("{STAGING}/x")).unwrap(), "it is still mounted");
    assert_eq!(fs::metadata(world.path("data")).unwrap().permissions().mode() & 0o777, 0o755);
    assert_eq!(fs::read_dir(world.path("data")).unwrap().count(), 1);
    nix::mount::umount(STAGING).unwrap();
    tmpfs(STAGING.as_ref(), "mode=700");
    world.run(&["create"]).exits(1).says("lies under a mount");
    nix::mount::umount(STAGING).unwrap();
    world.run(&["create"]).succeeds();
}
