//! What happens in the repository while it is mounted.

use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serial_test::serial;

use crate::common::{
    ARCHIVE, DAY, Flavour, Machine, Mounted, Need, Repository, SOON, assert_same_bytes, available, each_borg,
    wait_until,
};
use crate::scene::{archived, assert_eio, names, read_at, write_random};

const BIG: usize = 64 << 20;

/// A mount with a stream that was begun and that nobody reads on.
fn half_read(flavour: Flavour) -> (Machine, Repository, Mounted, std::fs::File) {
    let (machine, repository) = archived(flavour, |source| write_random(source, "image", BIG));
    let mounted = Mounted::by("stream", &machine, ARCHIVE, &["-o", "idle=1"]);
    let file = std::fs::File::open(mounted.path("image")).unwrap();
    read_at(&file, 0, 1000).unwrap();
    (machine, repository, mounted, file)
}

#[test]
fn an_idle_mount_does_not_keep_borg_from_creating() {
    if !available(&[Need::Fuse]) {
        return;
    }
    each_borg(|flavour| {
        let (machine, repository, mounted, file) = half_read(flavour);
        std::fs::write(machine.source().join("new"), b"new").unwrap();
        repository.create_with(&machine, "2026-03-15", &["--lock-wait", "20"]);
        let original = std::fs::read(machine.source().join("image")).unwrap();
        let end = BIG - 5000;
        assert!(read_at(&file, end as u64, 5000).unwrap() == original[end..]);
        assert_same_bytes(&mounted.path("image"), &machine.source().join("image"));
    });
}

#[test]
#[serial(create)]
fn an_idle_mount_does_not_keep_our_create_from_creating() {
    if !available(&[Need::Fuse, Need::Root]) {
        return;
    }
    let Some(flavour) = Flavour::any() else { return };
    let (mut machine, repository, _mounted, _file) = half_read(flavour);
    machine.list(&["source"]);
    machine.offsite(["create"]).ok();
    assert_eq!(repository.borg(&machine, "list --short").ok().stdout().lines().count(), 2);
}

#[test]
fn streams_never_take_an_archive_made_anew_under_the_same_name_for_the_old_one() {
    if !available(&[Need::Fuse]) {
        return;
    }
    each_borg(|flavour| {
        let (machine, repository) = archived(flavour, |source| {
            write_random(source, "read before", 3000);
            write_random(source, "read after", 2 << 20);
        });
        let mounted = Mounted::by("stream", &machine, ARCHIVE, &["-o", "idle=1"]);
        let before = std::fs::read(mounted.path("read before")).unwrap();
        assert!(before == std::fs::read(machine.source().join("read before")).unwrap());

        repository.borg(&machine, "delete --lock-wait 20").arg(format!("::{DAY}")).ok();
        std::fs::write(machine.source().join("read after"), vec![b'!'; 2 << 20]).unwrap();
        repository.create(&machine, DAY);
        assert_eio(std::fs::read(mounted.path("read after")));
    });
}

#[test]
fn streams_never_show_the_files_of_an_archive_made_anew_where_the_old_one_was_entered() {
    if !available(&[Need::Fuse]) {
        return;
    }
    let Some(flavour) = Flavour::any() else { return };
    let (machine, repository) = archived(flavour, |source| write_random(source, "old", 3000));
    let mounted = Mounted::by("stream", &machine, "", &[]);
    // As a shell whose directory it is: nothing of the archive is loaded.
    let entered = std::fs::OpenOptions::new().read(true).custom_flags(libc::O_PATH).open(mounted.path(DAY));
    let entered = entered.unwrap();
    let old = entered.metadata().unwrap().ino();
    repository.borg(&machine, "delete --lock-wait 20").arg(format!("::{DAY}")).ok();
    std::fs::rename(machine.source().join("old"), machine.source().join("new")).unwrap();
    repository.create(&machine, DAY);
    let is_seen = || {
        names(mounted.dir());
        mounted.path(DAY).metadata().is_ok_and(|meta| meta.ino() != old)
    };
    assert!(wait_until(SOON, is_seen), "the mount does not see the new archive");
    let listed = std::fs::read_dir(format!("/proc/self/fd/{}", entered.as_raw_fd()));
    assert_eio(listed.and_then(Iterator::collect::<std::io::Result<Vec<_>>>));
    assert_eq!(names(&mounted.path(DAY)), ["new"]);
}

/// A borg that has the repository for itself until it is dropped.
struct Exclusive(std::process::Child);

impl Exclusive {
    fn new(machine: &Machine, repository: &Repository) -> Self {
        let child = repository.borg(machine, "with-lock").args(["::", "sleep", "600"]).spawn();
        let holder = Exclusive(child);
        assert!(wait_until(SOON, || repository.is_locked()));
        holder
    }
}

impl Drop for Exclusive {
    fn drop(&mut self) {
        // Its sleep ends with the group that the fixture gave it, borg gives the lock back.
        let _ = kill(Pid::from_raw(self.0.id() as i32), Signal::SIGTERM);
        self.0.wait().unwrap();
    }
}

#[test]
fn streams_tell_who_locks_the_repository_and_wait_no_longer_than_the_limit() {
    if !available(&[Need::Fuse]) {
        return;
    }
    each_borg(|flavour| {
        let (machine, repository) = archived(flavour, |source| write_random(source, "file", 100));
        let holder = Exclusive::new(&machine, &repository);
        let options = ["--source", "stream", "-o", "lock_wait=1"];
        let run = Mounted::command(&machine, ARCHIVE, &machine.mount_point(), &options).run();
        assert_eq!(run.code(), Some(75), "{run}");
        let holder_line = format!("held by: pid {} on ", holder.0.id());
        assert!(run.stderr().contains(&holder_line), "{run}");
    });
}

#[test]
fn a_stream_that_waits_for_a_lock_fails_at_the_deadline_and_the_next_one_is_right() {
    if !available(&[Need::Fuse]) {
        return;
    }
    let Some(flavour) = Flavour::any() else { return };
    let (machine, repository) = archived(flavour, |source| write_random(source, "file", 100));
    let mounted = Mounted::by("stream", &machine, ARCHIVE, &["-o", "deadline=3,lock_wait=600"]);
    let holder = Exclusive::new(&machine, &repository);
    assert_eio(std::fs::read(mounted.path("file")));
    drop(holder);
    let right = std::fs::read(machine.source().join("file")).unwrap();
    assert!(wait_until(SOON, || std::fs::read(mounted.path("file")).is_ok_and(|b| b == right)));
}

#[test]
fn a_locked_repository_is_mounted_and_read_by_its_chunks() {
    if !available(&[Need::Fuse]) {
        return;
    }
    each_borg(|flavour| {
        let (machine, repository) = archived(flavour, |source| write_random(source, "file", 100_000));
        let _holder = Exclusive::new(&machine, &repository);
        let mounted = Mounted::by("native", &machine, ARCHIVE, &["-o", "lock_wait=1"]);
        assert_same_bytes(&mounted.path("file"), &machine.source().join("file"));
        mounted.umount(&machine);
        // All of them, too, and those that are chosen.
        let options = ["--last", "1", "-a", "2026-*", "-o", "lock_wait=1"];
        let mounted = Mounted::by("native", &machine, "::", &options);
        assert_same_bytes(&mounted.path(format!("{DAY}/file")), &machine.source().join("file"));
    });
}

#[test]
fn chunks_of_a_deleted_archive_are_right_until_they_are_gone_and_then_the_log_says_so() {
    if !available(&[Need::Fuse, Need::Root]) {
        return;
    }
    each_borg(|flavour| {
        let machine = Machine::new(flavour);
        let repository = Repository::init(&machine, "repokey-blake2");
        // A segment for each chunk: one that is open stays readable.
        let size = ["max_segment_size", "300000"];
        repository.borg(&machine, "config").arg(repository.dir()).args(size).ok();
        for (n, name) in ["never read", "read after", "read before"].into_iter().enumerate() {
            write_random(&machine.source(), name, (1 << 20) + n);
        }
        repository.create_with(&machine, DAY, &["--chunker-params", "fixed,2097152"]);
        let mounted = Mounted::by("native", &machine, ARCHIVE, &[]);
        let old = |name: &str| std::fs::read(machine.source().join(name)).unwrap();
        let [before, after] = ["read before", "read after"].map(old);
        assert!(std::fs::read(mounted.path("read before")).unwrap() == before);

        // Nothing waits for the mount.
        repository.borg(&machine, "delete --lock-wait 1").arg(format!("::{DAY}")).ok();
        for name in ["read after", "never read"] {
            std::fs::write(machine.source().join(name), vec![b'!'; 1 << 20]).unwrap();
        }
        repository.create(&machine, DAY);
        assert!(std::fs::read(mounted.path("read after")).unwrap() == after, "it is still there");

        repository.borg(&machine, "compact --threshold 0").ok();
        assert!(std::fs::read(mounted.path("read before")).unwrap() == before);
        assert_eio(std::fs::read(mounted.path("never read")));
        let log = format!("/run/borg-offsite-backup/mount-{}.log", mounted.daemon());
        let told = std::fs::read_to_string(&log).unwrap();
        assert!(told.contains("cannot read never read") && told.contains("was deleted"), "{told}");
    });
}
