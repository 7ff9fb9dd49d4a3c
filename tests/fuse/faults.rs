//! Streams that lie, hang, shout or die: a read is right or fails with EIO, and the mount lives.

use std::fs::File;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};

use crate::common::mounted::descendants;
use crate::common::{
    ARCHIVE, FakeBorg, Flavour, Machine, Mounted, Need, Program, assert_same_bytes, available, each_borg,
};
use crate::scene::{archived, archived_behind_fake, assert_eio, read_at, write_random};

const SIZE: usize = 3 << 20;

/// A mount of `image`, with the fake borg behind it.
fn scene(flavour: Flavour) -> (Machine, FakeBorg, Mounted) {
    scene_with(flavour, &[])
}

fn scene_with(flavour: Flavour, options: &[&str]) -> (Machine, FakeBorg, Mounted) {
    let (machine, _repository, fake) =
        archived_behind_fake(flavour, |source| write_random(source, "image", SIZE));
    let mounted = Mounted::new(&machine, ARCHIVE, &[&["--source", "stream"], options].concat());
    (machine, fake, mounted)
}

fn assert_mount_lives(machine: &Machine, fake: &FakeBorg, mounted: &Mounted) {
    fake.behave();
    assert_same_bytes(&mounted.path("image"), &machine.source().join("image"));
}

#[test]
fn short_output_with_exit_code_0_is_an_error() {
    if !available(&[Need::Fuse]) {
        return;
    }
    each_borg(|flavour| {
        let (machine, fake, mounted) = scene(flavour);
        for bytes in [0, 1, SIZE / 2, SIZE - 1] {
            fake.play(&format!("short {bytes}"));
            assert_eio(std::fs::read(mounted.path("image")));
        }
        assert_mount_lives(&machine, &fake, &mounted);
    });
}

#[test]
fn an_extract_that_fails_halfway_is_an_error() {
    if !available(&[Need::Fuse]) {
        return;
    }
    each_borg(|flavour| {
        let (machine, fake, mounted) = scene(flavour);
        fake.play(&format!("fail {}", SIZE / 2));
        assert_eio(std::fs::read(mounted.path("image")));
        assert_mount_lives(&machine, &fake, &mounted);
    });
}

#[test]
fn extra_bytes_are_never_served() {
    if !available(&[Need::Fuse]) {
        return;
    }
    each_borg(|flavour| {
        let (machine, fake, mounted) = scene(flavour);
        fake.play("extra 4096");
        match std::fs::read(mounted.path("image")) {
            Ok(bytes) => assert!(bytes == std::fs::read(machine.source().join("image")).unwrap()),
            error => assert_eio(error),
        }
        assert_mount_lives(&machine, &fake, &mounted);
    });
}

#[test]
fn a_stalled_stream_is_an_error_within_the_deadline() {
    if !available(&[Need::Fuse]) {
        return;
    }
    let Some(flavour) = Flavour::any() else { return };
    // Long enough for a borg that starts on a busy machine.
    let (machine, fake, mounted) = scene_with(flavour, &["-o", "stall=5"]);
    fake.play(&format!("stall {}", SIZE / 2));
    let start = Instant::now();
    assert_eio(std::fs::read(mounted.path("image")));
    assert!(start.elapsed() < Duration::from_secs(60), "it took {:?}", start.elapsed());
    assert_mount_lives(&machine, &fake, &mounted);
}

#[test]
fn a_flood_on_standard_error_blocks_nothing() {
    if !available(&[Need::Fuse]) {
        return;
    }
    let Some(flavour) = Flavour::any() else { return };
    let (machine, fake, mounted) = scene(flavour);
    fake.play(&format!("flood {}", 4 << 20));
    assert_same_bytes(&mounted.path("image"), &machine.source().join("image"));
}

#[test]
fn an_extract_killed_in_mid_read_gives_the_right_bytes_or_eio() {
    if !available(&[Need::Fuse]) {
        return;
    }
    each_borg(|flavour| {
        const BIG: usize = 64 << 20;
        let (machine, _repository) = archived(flavour, |source| write_random(source, "image", BIG));
        let original = std::fs::read(machine.source().join("image")).unwrap();
        let mounted = Mounted::new(&machine, ARCHIVE, &["--source", "stream"]);
        let file = File::open(mounted.path("image")).unwrap();
        assert!(read_at(&file, 0, 100_000).unwrap() == original[..100_000]);
        let streams = descendants(mounted.daemon(), "extract");
        assert!(!streams.is_empty(), "no extract is running");
        for pid in streams {
            kill(pid, Signal::SIGKILL).unwrap();
        }
        for offset in (0..BIG).step_by(1 << 20) {
            match read_at(&file, offset as u64, 4096) {
                Ok(bytes) => assert!(bytes == original[offset..][..4096], "differs at {offset}"),
                error => assert_eio(error),
            }
        }
        assert_same_bytes(&mounted.path("image"), &machine.source().join("image"));
    });
}

#[test]
fn a_full_cache_disk_takes_nothing_from_the_bytes() {
    if !available(&[Need::Fuse, Need::Root]) {
        return;
    }
    let Some(flavour) = Flavour::any() else { return };
    let (machine, _repository) = archived(flavour, |source| write_random(source, "image", 48 << 20));
    let disk = SmallDisk::mount(&machine);
    let options = ["--cache-dir", disk.0.to_str().unwrap(), "--cache-size", "1G"];
    let mounted = Mounted::new(&machine, ARCHIVE, &options);
    for _ in 0..2 {
        assert_same_bytes(&mounted.path("image"), &machine.source().join("image"));
    }
    drop(mounted);
}

/// A file system of 4 MiB.
struct SmallDisk(std::path::PathBuf);

impl SmallDisk {
    fn mount(machine: &Machine) -> Self {
        let dir = machine.path("small disk");
        std::fs::create_dir(&dir).unwrap();
        Program::new("mount").args(["-t", "tmpfs", "-o", "size=4M", "none"]).arg(&dir).ok();
        SmallDisk(dir)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        Program::new("umount").arg("--lazy").arg(&self.0).run();
    }
}

#[test]
fn a_batch_of_small_files_that_comes_wrong_gives_no_file_the_bytes_of_another() {
    if !available(&[Need::Fuse]) {
        return;
    }
    let Some(flavour) = Flavour::any() else { return };
    for fault in ["short 2500", "extra 1", "short 0"] {
        let (machine, _repository, fake) = archived_behind_fake(flavour, |source| {
            for n in 0..4 {
                write_random(source, &format!("small-{n}"), 1000 + n);
            }
        });
        let mounted = Mounted::new(&machine, ARCHIVE, &["--source", "stream"]);
        fake.play(fault);
        let mut failed = 0;
        for n in 0..4 {
            let name = format!("small-{n}");
            match std::fs::read(mounted.path(&name)) {
                Ok(bytes) => {
                    let right = std::fs::read(machine.source().join(&name)).unwrap();
                    assert!(bytes == right, "{name} after {fault}");
                }
                error => {
                    assert_eio(error);
                    failed += 1;
                }
            }
        }
        assert!(failed > 0 || fault == "short 2500", "nothing failed after {fault}");
        fake.behave();
        for n in 0..4 {
            let name = format!("small-{n}");
            assert_same_bytes(&mounted.path(&name), &machine.source().join(&name));
        }
    }
}

#[test]
fn the_log_of_a_mount_says_why_a_read_failed() {
    if !available(&[Need::Fuse, Need::Root]) {
        return;
    }
    let Some(flavour) = Flavour::any() else { return };
    let (_sandbox, fake, mounted) = scene(flavour);
    fake.play("short 1000");
    assert_eio(std::fs::read(mounted.path("image")));
    let log = format!("/run/borg-offsite-backup/mount-{}.log", mounted.daemon());
    let told = std::fs::read_to_string(&log).unwrap();
    assert!(told.contains("cannot read image at ") && told.contains("1000 of 3145728 bytes"), "{told}");
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&log).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
}
