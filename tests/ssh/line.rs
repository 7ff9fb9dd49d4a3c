//! The line to the server under a mount that reads chunks by itself: how it is made, cut, silent,
//! and ended.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};

use crate::common::mounted::descendants;
use crate::common::{
    ARCHIVE, Flavour, Machine, Mounted, Need, Program, Random, Repository, SOON, Sshd, assert_same_bytes,
    available, each_borg, is_mounted, wait_until,
};
use crate::scene_of;

const SIZE: usize = 40 << 20;

/// A mount of `image`, and what is in it.
fn scene(flavour: Flavour, options: &[&str]) -> (Machine, Repository, Sshd, Mounted, Vec<u8>) {
    let bytes = Random::new(3).bytes(SIZE);
    let fill = |source: &std::path::Path| std::fs::write(source.join("image"), &bytes).unwrap();
    let (machine, repository, server) = scene_of(flavour, fill);
    let mounted = Mounted::new(&machine, ARCHIVE, &[&["--source", "native"], options].concat());
    (machine, repository, server, mounted, bytes)
}

/// 4 KiB at `offset`.
fn read(file: &File, offset: usize) -> std::io::Result<Vec<u8>> {
    let mut bytes = vec![0; 4096];
    file.read_exact_at(&mut bytes, offset as u64).map(|()| bytes)
}

#[test]
fn a_mount_of_all_archives_sees_those_that_came_to_the_server() {
    if !available(&[Need::Fuse, Need::Sshd]) {
        return;
    }
    let (machine, repository, _server) = scene_of(Flavour::V12, |source| {
        std::fs::write(source.join("letter"), "dear").unwrap();
    });
    let mounted = Mounted::new(&machine, "", &["--source", "native", "-o", "refresh=1"]);
    assert!(!mounted.path("later").exists());
    repository.create(&machine, "later");
    let shown = || std::fs::read(mounted.path("later/letter")).is_ok_and(|bytes| bytes == b"dear");
    assert!(wait_until(SOON, shown), "the new archive is not shown");
    mounted.umount(&machine);
}

#[test]
fn the_server_is_asked_for_what_borgs_own_client_asks_for_and_takes_no_lock() {
    if !available(&[Need::Fuse, Need::Sshd]) {
        return;
    }
    each_borg(|flavour| {
        let (machine, repository, server, mounted, _) = scene(flavour, &[]);
        assert_eq!(
            server.commands().len(),
            1,
            "one connection finds out what is there, and serves the mount"
        );
        machine.offsite(["list"]).ok();
        let commands = server.commands();
        assert_eq!(commands.len(), 3, "one asks what is in borg's way, one is borg's");
        assert!(commands.iter().all(|command| *command == commands[2]), "{commands:?}");
        assert!(!repository.dir().join("lock.roster").exists());
        assert_same_bytes(&mounted.path("image"), &machine.source().join("image"));
    });
}

#[test]
fn a_line_that_is_cut_again_and_again_in_mid_read_is_only_a_pause() {
    if !available(&[Need::Fuse, Need::Sshd]) {
        return;
    }
    each_borg(|flavour| {
        let (_sandbox, _repository, server, mounted, bytes) = scene(flavour, &[]);
        let file = File::open(mounted.path("image")).unwrap();
        // Backwards, so that nothing was read ahead.
        for offset in (0..SIZE).step_by(1 << 20).rev() {
            if offset % (8 << 20) == 0 {
                server.signal_sessions(Signal::SIGKILL);
            }
            assert!(read(&file, offset).unwrap() == bytes[offset..][..4096], "differs at {offset}");
        }
        assert!(server.commands().len() > 1);
    });
}

#[test]
fn what_came_from_a_server_is_kept_where_the_user_says_and_is_not_asked_for_again() {
    if !available(&[Need::Fuse, Need::Sshd]) {
        return;
    }
    let Some(flavour) = Flavour::any() else { return };
    let cache = tempfile::tempdir().unwrap();
    let kept = ["--cache-dir", cache.path().to_str().unwrap()];
    let (machine, repository, _server, mounted, bytes) = scene(flavour, &kept);
    assert!(std::fs::read(mounted.path("image")).unwrap() == bytes);
    mounted.umount(&machine);
    damage_the_largest_segment(repository.dir());

    let mounted = Mounted::by("native", &machine, ARCHIVE, &kept);
    assert!(std::fs::read(mounted.path("image")).unwrap() == bytes);
    mounted.umount(&machine);
    let mounted = Mounted::by("native", &machine, ARCHIVE, &[]);
    assert!(std::fs::read(mounted.path("image")).is_err(), "nothing is damaged");
}

/// Flips a bit in the middle of it.
fn damage_the_largest_segment(repository: &std::path::Path) {
    let segments = std::fs::read_dir(repository.join("data/0")).unwrap().map(|e| e.unwrap().path());
    let largest = segments.max_by_key(|path| path.metadata().unwrap().len()).unwrap();
    let mut bytes = std::fs::read(&largest).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&largest, bytes).unwrap();
}

#[test]
fn a_silent_server_is_replaced_and_no_read_waits_for_ever() {
    if !available(&[Need::Fuse, Need::Sshd]) {
        return;
    }
    let Some(flavour) = Flavour::any() else { return };
    let (_sandbox, _repository, server, mounted, bytes) = scene(flavour, &["-o", "stall=4"]);
    let file = File::open(mounted.path("image")).unwrap();
    server.signal_sessions(Signal::SIGSTOP);
    assert!(read(&file, 0).unwrap() == bytes[..4096]);

    // A host from which nothing comes at all, and then comes again.
    server.signal_sessions(Signal::SIGSTOP);
    server.signal(Signal::SIGSTOP);
    let failed = read(&file, 20 << 20).unwrap_err();
    assert_eq!(failed.raw_os_error(), Some(libc::EIO));
    server.signal(Signal::SIGCONT);
    // As soon as it answers in the four seconds that it has for that.
    let right = || read(&file, 20 << 20).is_ok_and(|read| read == bytes[20 << 20..][..4096]);
    assert!(wait_until(SOON, right), "the host is back, and nothing is read");
}

#[test]
fn no_child_outlives_the_mount_even_when_a_read_waits_for_a_server_that_hangs() {
    if !available(&[Need::Fuse, Need::Sshd]) {
        return;
    }
    let Some(flavour) = Flavour::any() else { return };
    let (_sandbox, _repository, server, mounted, _) = scene(flavour, &[]);
    let children = descendants(mounted.daemon(), "ssh");
    assert!(!children.is_empty());
    server.signal_sessions(Signal::SIGSTOP);
    let file = File::open(mounted.path("image")).unwrap();
    let waiting = std::thread::spawn(move || read(&file, 0));
    std::thread::sleep(Duration::from_millis(100));
    kill(mounted.daemon(), Signal::SIGTERM).unwrap();
    let gone = || children.iter().all(|child| kill(*child, None).is_err());
    assert!(wait_until(SOON, gone), "ssh is still there");
    assert!(wait_until(SOON, || !is_mounted(mounted.dir())), "still mounted");
    assert!(waiting.join().unwrap().is_err());
}

#[test]
fn no_child_outlives_a_mount_whose_reader_was_killed_while_the_server_hung() {
    if !available(&[Need::Fuse, Need::Sshd]) {
        return;
    }
    let Some(flavour) = Flavour::any() else { return };
    let (machine, _repository, server, mounted, _) = scene(flavour, &[]);
    let children = descendants(mounted.daemon(), "ssh");
    server.signal_sessions(Signal::SIGSTOP);
    let mut reader = Program::new("cat").arg(mounted.path("image")).spawn();
    // Until its read has come to the mount.
    std::thread::sleep(Duration::from_millis(200));
    reader.kill().unwrap();
    reader.wait().unwrap();
    mounted.umount(&machine);
    let gone = || children.iter().all(|child| kill(*child, None).is_err());
    assert!(wait_until(SOON, gone), "ssh is still there");
}
