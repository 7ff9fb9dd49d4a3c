//! Changes over an image.

use std::fs::File;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;

use serial_test::parallel;

use crate::common::{Program, assert_same_bytes};
use crate::images::{KINDS, Kind, Scene, letter, write_ext4};

/// What its own tool says of the file system on `device`: it must be clean.
fn assert_clean(kind: Kind, device: &Path) {
    let check: &[&str] = match kind {
        Kind::Ext4 => &["/sbin/e2fsck", "-f", "-n"],
        Kind::Xfs => &["/sbin/xfs_repair", "-n"],
        Kind::Btrfs => &["btrfs", "check", "--readonly"],
    };
    Program::new(check[0]).args(&check[1..]).arg(device).ok();
}

#[test]
#[parallel]
fn file_systems_that_were_being_written_to_come_clean_and_the_archive_stays_as_it_is() {
    for kind in KINDS {
        let Some(scene) = Scene::new(|tank| kind.write_dirty(&tank.join("v"))) else { return };
        let dir = scene.directory("inside");
        let device = scene.attach("tank/v", &["--writable", "--mount", dir.to_str().unwrap()]);
        for name in ["letter", "late"] {
            assert!(std::fs::read(dir.join(name)).unwrap() == letter(), "{name} on {kind:?}");
        }
        std::fs::write(dir.join("new"), letter()).unwrap();
        Program::new("umount").arg(&dir).ok();
        assert_clean(kind, &device);
        scene.detach(&device);
        // Thrown away.
        let device = scene.attach("tank/v", &[]);
        assert_same_bytes(&device, &scene.original("tank/v"));
        scene.detach(&device);
        scene.assert_nothing_left();
    }
}

#[test]
#[parallel]
fn fsck_repairs_what_is_writable() {
    let Some(scene) = Scene::new(|tank| Kind::Ext4.write_dirty(&tank.join("v"))) else { return };
    let device = scene.attach("tank/v", &["--writable"]);
    let run = Program::new("/sbin/e2fsck").args(["-f", "-y"]).arg(&device).run();
    assert!([Some(0), Some(1)].contains(&run.code()) && run.stdout().contains("recovering journal"), "{run}");
    assert_clean(Kind::Ext4, &device);
    scene.detach(&device);
}

#[test]
#[parallel]
fn kept_changes_that_were_synced_survive_the_killing_of_the_daemon() {
    for kind in KINDS {
        let Some(scene) = Scene::new(|tank| kind.write_dirty(&tank.join("v"))) else { return };
        let dir = scene.directory("inside");
        let file = scene.machine.path("changes");
        let options =
            ["--writable", "--keep-changes", file.to_str().unwrap(), "--mount", dir.to_str().unwrap()];
        scene.attach("tank/v", &options);
        std::fs::write(dir.join("new"), letter()).unwrap();
        Program::new("sync").arg("--file-system").arg(&dir).ok();
        scene.kill_daemons();
        scene.detach(&dir);
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        let device = scene.attach("tank/v", &options);
        for name in ["letter", "late", "new"] {
            assert!(std::fs::read(dir.join(name)).unwrap() == letter(), "{name} on {kind:?}");
        }
        // And what a plain detach leaves is all there, too.
        std::fs::write(dir.join("last"), letter()).unwrap();
        scene.detach(&device);
        let device = scene.attach("tank/v", &options);
        assert!(std::fs::read(dir.join("last")).unwrap() == letter());
        Program::new("umount").arg(&dir).ok();
        assert_clean(kind, &device);
        scene.detach(&device);
        scene.assert_nothing_left();
    }
}

#[test]
#[parallel]
fn changes_are_kept_for_one_image_and_one_attachment() {
    let Some(scene) = Scene::new(|tank| {
        std::fs::write(tank.join("v"), [1; 8192]).unwrap();
        std::fs::write(tank.join("w"), [2; 8192]).unwrap();
    }) else {
        return;
    };
    let file = scene.machine.path("changes");
    let keep = ["--writable", "--keep-changes", file.to_str().unwrap()];
    let device = scene.attach("tank/v", &keep);
    let busy = scene.command("tank/v", &keep).run();
    assert_eq!(busy.code(), Some(75), "{busy}");
    scene.detach(&device);
    let said = scene.command("tank/w", &keep).fails();
    assert!(said.contains("another image") && said.contains("dev/zvol/tank/v (8192 bytes)"), "{said}");
    // The same volume of another day.
    scene.repository.create(&scene.machine, "2026-03-15");
    let next = scene.machine.offsite(["attach"]).args(["::2026-03-15", "tank/v"]).args(keep).fails();
    assert!(next.contains("another image"), "{next}");
    std::fs::write(&file, "a letter").unwrap();
    let said = scene.command("tank/v", &keep).fails();
    assert!(said.contains("holds no changes") && std::fs::read(&file).unwrap() == b"a letter", "{said}");
    scene.assert_nothing_left();
}

#[test]
#[parallel]
fn writers_are_told_when_there_is_no_room_for_the_changes() {
    let Some(scene) = Scene::plain() else { return };
    let small = scene.directory("small");
    Program::new("mount").args(["-t", "tmpfs", "-o", "size=4m", "tmpfs"]).arg(&small).ok();
    let file = small.join("changes");
    let device = scene.attach("tank/v", &["--writable", "--keep-changes", file.to_str().unwrap()]);
    let disk = File::options().write(true).open(&device).unwrap();
    disk.write_all_at(&[7; 1 << 20], 0).unwrap();
    disk.sync_all().unwrap();
    let wrote = disk.write_all_at(&vec![8; 8 << 20], 8 << 20).and_then(|()| disk.sync_all());
    let e = wrote.expect_err("there was no room");
    assert!([libc::EIO, libc::ENOSPC].map(Some).contains(&e.raw_os_error()), "{e}");
    drop(disk);
    scene.detach(&device);
    // What fitted is kept.
    let device = scene.attach("tank/v", &["--writable", "--keep-changes", file.to_str().unwrap()]);
    let mut read = vec![0; 1 << 20];
    File::open(&device).unwrap().read_exact_at(&mut read, 0).unwrap();
    assert!(read == [7; 1 << 20]);
    scene.detach(&device);
    Program::new("umount").arg(&small).ok();
    scene.assert_nothing_left();
}

#[test]
#[parallel]
fn what_is_discarded_reads_as_zeros_and_takes_no_room() {
    let Some(scene) = Scene::new(|tank| write_ext4(&tank.join("v"), Path::new("/etc/dpkg"))) else { return };
    let file = scene.machine.path("changes");
    let device = scene.attach("tank/v", &["--writable", "--keep-changes", file.to_str().unwrap()]);
    Program::new("dd")
        .args(["if=/dev/urandom", "bs=1M", "count=24", "conv=fsync", "status=none"])
        .arg(format!("of={}", device.display()))
        .ok();
    Program::new("blkdiscard").arg("--force").arg(&device).ok();
    assert!(std::fs::read(&device).unwrap().iter().all(|b| *b == 0));
    scene.detach(&device);
    let used = std::os::unix::fs::MetadataExt::blocks(&std::fs::metadata(&file).unwrap()) * 512;
    assert!(used < 2 << 20, "{used} bytes are used");
    let device = scene.attach("tank/v", &["--writable", "--keep-changes", file.to_str().unwrap()]);
    assert!(std::fs::read(&device).unwrap().iter().all(|b| *b == 0));
    scene.detach(&device);
}
