//! Files out of the file system in a volume.

use std::fs::File;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;

use serial_test::parallel;

use crate::common::{NastyTree, Program, assert_same_trees};
use crate::images::{ARCHIVE, KINDS, Scene, letter, write_ext4};

/// The command that takes files out of volumes.
fn restore(scene: &Scene, path: &str) -> Program {
    scene.sandbox.offsite("restore").args([ARCHIVE, path])
}

#[test]
#[parallel]
fn a_file_comes_out_of_every_file_system_in_one_command() {
    for kind in KINDS {
        let Some(scene) = Scene::new(|tank| kind.write_dirty(&tank.join("v"))) else { return };
        let out = scene.sandbox.path("new/out");
        restore(&scene, "tank/v:/late").arg("--to").arg(&out).ok();
        assert!(std::fs::read(out.join("late")).unwrap() == letter(), "{kind:?}");
        scene.assert_nothing_left();
    }
}

#[test]
#[parallel]
fn folders_come_with_everything_that_their_files_have() {
    let Some(scene) = Scene::new(|tank| {
        let content = tempfile::tempdir().unwrap();
        let at = content.path().join("home/me");
        std::fs::create_dir_all(&at).unwrap();
        // Made in the file system itself; an ext4 has no room for the attributes.
        File::create(tank.join("v")).unwrap().set_len(300 << 20).unwrap();
        Program::new("/sbin/mkfs.xfs").arg("-q").arg(tank.join("v")).ok();
        let device = crate::common::Loop::writable(&tank.join("v"));
        Program::new("mount").arg(device.device()).arg(&at).ok();
        NastyTree::make(at.join("tree"));
        // tar keeps no sockets, and makes two of a FIFO with two names.
        for name in ["socket", "fifo link"] {
            std::fs::remove_file(at.join("tree/special").join(name)).unwrap();
        }
        Program::new("umount").arg(&at).ok();
    }) else {
        return;
    };
    let out = scene.folder("out of it");
    restore(&scene, "tank/v:/tree").arg("--to").arg(&out).ok();
    let dir = scene.folder("inside");
    let device = scene.attach("tank/v", &["--mount", dir.to_str().unwrap()]);
    assert_same_trees(&out.join("tree"), &dir.join("tree"));
    scene.detach(device);
    scene.assert_nothing_left();
}

#[test]
#[parallel]
fn what_is_there_already_stays_unless_it_may_be_replaced() {
    let Some(scene) = Scene::plain() else { return };
    let out = scene.folder("out of it");
    std::fs::write(out.join("letter"), "mine").unwrap();
    let said = restore(&scene, "tank/v:/letter").arg("--to").arg(&out).fails();
    assert!(said.contains("already") && said.contains("--overwrite"), "{said}");
    let said = restore(&scene, "tank/v:/").arg("--to").arg(&out).fails();
    assert!(said.contains("letter"), "{said}");
    assert_eq!(std::fs::read(out.join("letter")).unwrap(), b"mine");
    restore(&scene, "tank/v:/letter").arg("--overwrite").arg("--to").arg(&out).ok();
    assert!(std::fs::read(out.join("letter")).unwrap() == letter());
    scene.assert_nothing_left();
}

#[test]
#[parallel]
fn links_in_the_volume_lead_nowhere_else() {
    let Some(scene) = Scene::new(|tank| {
        let content = tempfile::tempdir().unwrap();
        std::fs::create_dir(content.path().join("etc")).unwrap();
        std::fs::write(content.path().join("etc/hostname"), "of the volume").unwrap();
        symlink("/etc", content.path().join("link")).unwrap();
        symlink("../../../../../../../etc", content.path().join("up")).unwrap();
        write_ext4(&tank.join("v"), content.path());
    }) else {
        return;
    };
    for (n, path) in ["link/hostname", "up/hostname", "../etc/hostname"].into_iter().enumerate() {
        let out = scene.folder(&format!("out{n}"));
        restore(&scene, &format!("tank/v:/{path}")).arg("--to").arg(&out).ok();
        assert_eq!(std::fs::read(out.join("hostname")).unwrap(), b"of the volume", "{path}");
    }
    let out = scene.folder("links");
    restore(&scene, "tank/v:/link").arg("--to").arg(&out).ok();
    assert_eq!(std::fs::read_link(out.join("link")).unwrap(), Path::new("/etc"));
    scene.assert_nothing_left();
}

#[test]
#[parallel]
fn folders_are_listed() {
    let Some(scene) = Scene::plain() else { return };
    let run = restore(&scene, "tank/v:/").arg("--list").ok();
    let lines = run.stdout();
    assert!(lines.lines().any(|l| l.starts_with("drwx------") && l.ends_with(" lost+found")), "{run}");
    let letter_line = lines.lines().find(|l| l.ends_with(" letter")).unwrap();
    assert!(letter_line.starts_with("-rw-") && letter_line.contains(" 3000000 "), "{run}");
    let run = restore(&scene, "tank/v:/letter").arg("--list").ok();
    assert_eq!(run.stdout().lines().count(), 1);
    let said = restore(&scene, "tank/v:/nothing").arg("--list").fails();
    assert!(said.contains("there is no /nothing"), "{said}");
    scene.assert_nothing_left();
}

#[test]
#[parallel]
fn a_copy_that_fails_takes_everything_down() {
    let Some(scene) = Scene::plain() else { return };
    let small = scene.folder("small");
    Program::new("mount").args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"]).arg(&small).ok();
    let said = restore(&scene, "tank/v:/letter").arg("--to").arg(&small).fails();
    assert!(said.contains("./letter: Wrote only"), "{said}");
    Program::new("umount").arg(&small).ok();
    scene.assert_nothing_left();
    assert_eq!(std::fs::metadata(&small).unwrap().uid(), 0);
}
