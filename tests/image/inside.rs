//! Files out of the file system in a volume.

use std::fs::File;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;

use serial_test::parallel;

use crate::common::{ARCHIVE, NastyTree, Program, Random, assert_same_trees, with_own_mounts};
use crate::device::damage;
use crate::images::{KINDS, Scene, letter, write_ext4};

/// The command that takes files out of volumes.
fn restore(scene: &Scene, path: &str) -> Program {
    scene.machine.offsite(["restore"]).args([ARCHIVE, path])
}

#[test]
#[parallel]
fn a_file_comes_out_of_every_file_system_in_one_command() {
    for kind in KINDS {
        let Some(scene) = Scene::new(|tank| kind.write_dirty(&tank.join("v"))) else { return };
        let out = scene.machine.path("new/out");
        restore(&scene, "tank/v:/late").arg("--to").arg(&out).ok();
        assert!(std::fs::read(out.join("late")).unwrap() == letter(), "{kind:?}");
        scene.assert_nothing_left();
    }
}

#[test]
#[parallel]
fn directories_come_with_everything_that_their_files_have() {
    let Some(scene) = Scene::new(|tank| {
        let content = tempfile::tempdir().unwrap();
        let at = content.path().join("home/me");
        std::fs::create_dir_all(&at).unwrap();
        // Made in the file system itself; an ext4 has no room for the attributes.
        File::create(tank.join("v")).unwrap().set_len(300 << 20).unwrap();
        Program::new("/sbin/mkfs.xfs").arg("-q").arg(tank.join("v")).ok();
        let device = crate::common::Loop::writable(&tank.join("v"));
        with_own_mounts(|| {
            Program::new("mount").arg(device.device()).arg(&at).ok();
            NastyTree::make(at.join("tree"));
            // tar keeps no sockets, and makes two of a FIFO with two names.
            for name in ["socket", "fifo link"] {
                std::fs::remove_file(at.join("tree/special").join(name)).unwrap();
            }
            Program::new("umount").arg(&at).ok();
        });
    }) else {
        return;
    };
    let out = scene.directory("out of it");
    restore(&scene, "tank/v:/tree").arg("--to").arg(&out).ok();
    let dir = scene.directory("inside");
    let device = scene.attach("tank/v", &["--mount", dir.to_str().unwrap()]);
    assert_same_trees(&out.join("tree"), &dir.join("tree"));
    scene.detach(device);
    scene.assert_nothing_left();
}

#[test]
#[parallel]
fn what_is_there_already_stays_unless_it_may_be_replaced() {
    let Some(scene) = Scene::plain() else { return };
    let out = scene.directory("out of it");
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
        let out = scene.directory(&format!("out{n}"));
        restore(&scene, &format!("tank/v:/{path}")).arg("--to").arg(&out).ok();
        assert_eq!(std::fs::read(out.join("hostname")).unwrap(), b"of the volume", "{path}");
    }
    let out = scene.directory("links");
    restore(&scene, "tank/v:/link").arg("--to").arg(&out).ok();
    assert_eq!(std::fs::read_link(out.join("link")).unwrap(), Path::new("/etc"));
    scene.assert_nothing_left();
}

#[test]
#[parallel]
fn directories_are_listed() {
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
    let small = scene.directory("small");
    Program::new("mount").args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"]).arg(&small).ok();
    let said = restore(&scene, "tank/v:/letter").arg("--to").arg(&small).fails();
    assert!(said.contains("./letter: Wrote only"), "{said}");
    Program::new("umount").arg(&small).ok();
    scene.assert_nothing_left();
    assert_eq!(std::fs::metadata(&small).unwrap().uid(), 0);
}

#[test]
#[parallel]
fn one_file_that_cannot_be_read_does_not_cost_the_others() {
    let Some(scene) = Scene::new(|tank| {
        let content = tank.join("content");
        std::fs::create_dir_all(content.join("d")).unwrap();
        std::fs::write(content.join("d/good"), "good").unwrap();
        std::fs::write(content.join("d/bad"), "bad").unwrap();
        write_ext4(&tank.join("v"), &content);
    }) else {
        return;
    };
    let out = scene.machine.path("out/new");
    // Root may read everything: so tar is told to leave the file out, and to say why.
    for (complaint, code, came) in
        [("Cannot open: Permission denied", 3, true), ("Read error at byte 0: Input/output error", 1, false)]
    {
        let script = format!(
            "case $1 in --create) ;; *) exec /usr/bin/tar \"$@\" ;; esac\n\
             /usr/bin/tar --exclude=bad \"$@\"\necho './d/bad: {complaint}' >&2\nexit 2"
        );
        let bin = scene.machine.script("tar", &script);
        let run = restore(&scene, "tank/v:/d").arg("--to").arg(&out).search_first(bin).run();
        assert_eq!(run.code(), Some(code), "{run}");
        assert!(run.stderr().contains("./d/bad: "), "{run}");
        assert_eq!(out.join("d/good").exists(), came, "{run}");
        let _ = std::fs::remove_dir_all(&out);
    }
    scene.assert_nothing_left();
}

/// An ext4 with `home/bob/x`, and a directory of another account that it is restored to.
fn of_another_account() -> Option<(Scene, std::path::PathBuf, std::path::PathBuf)> {
    let scene = Scene::new(|tank| {
        let content = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(content.path().join("home/bob")).unwrap();
        std::fs::write(content.path().join("home/bob/x"), "of the volume").unwrap();
        write_ext4(&tank.join("v"), content.path());
    })?;
    let (out, victim) = (scene.directory("out of it"), scene.directory("victim"));
    std::fs::create_dir(victim.join("bob")).unwrap();
    chown(&out, Some(65534), Some(65534)).unwrap();
    Some((scene, out, victim))
}

#[test]
#[parallel]
fn links_in_the_directory_that_is_restored_to_lead_nowhere() {
    let Some((scene, out, victim)) = of_another_account() else { return };
    let untouched = || {
        let mut left = std::fs::read_dir(&victim).unwrap().map(|e| e.unwrap().file_name());
        assert_eq!((left.next(), left.next()), (Some("bob".into()), None));
        assert_eq!(std::fs::read_dir(victim.join("bob")).unwrap().count(), 0);
    };
    symlink(&victim, out.join("home")).unwrap();
    for path in ["tank/v:/", "tank/v:/home"] {
        for options in [&[][..], &["--overwrite"]] {
            let said = restore(&scene, path).arg("--to").arg(&out).args(options).fails();
            assert!(said.contains("already; nothing was written") && said.contains("home"), "{said}");
            untouched();
        }
    }
    std::fs::remove_file(out.join("home")).unwrap();
    std::fs::create_dir(out.join("home")).unwrap();
    symlink(victim.join("bob"), out.join("home/bob")).unwrap();
    restore(&scene, "tank/v:/").arg("--overwrite").arg("--to").arg(&out).fails();
    untouched();
    std::fs::remove_file(out.join("home/bob")).unwrap();
    std::fs::create_dir(out.join("home/bob")).unwrap();
    symlink(victim.join("x"), out.join("home/bob/x")).unwrap();
    restore(&scene, "tank/v:/").arg("--overwrite").arg("--to").arg(&out).ok();
    assert!(!out.join("home/bob/x").is_symlink());
    assert_eq!(std::fs::read(out.join("home/bob/x")).unwrap(), b"of the volume");
    untouched();
    let meta = out.metadata().unwrap();
    assert_eq!(
        (meta.uid(), meta.permissions().mode() & 0o777),
        (65534, 0o755),
        "the directory stays as it was"
    );
    scene.assert_nothing_left();
}

#[test]
#[parallel]
fn whoever_owns_the_directory_cannot_lead_tar_elsewhere() {
    let Some((mut scene, out, victim)) = of_another_account() else { return };
    // The directory that is filled is swapped for a link when tar begins.
    let trick = format!(
        "case \" $* \" in *' --extract '*) cd {out:?}\n\
         for name in .borg-offsite-backup-restore-*; do mv \"$name\" moved && ln -s {victim:?} \"$name\"; done\n\
         cd / ;; esac\nexec /usr/bin/tar \"$@\""
    );
    scene.machine.search_first(scene.machine.script("tar", &trick));
    restore(&scene, "tank/v:/").arg("--to").arg(&out).run();
    assert!(out.join("moved").exists(), "the trick was not played");
    assert_eq!(std::fs::read_dir(&victim).unwrap().count(), 1);
    assert_eq!(std::fs::read_dir(victim.join("bob")).unwrap().count(), 0);
    scene.assert_nothing_left();
}

#[test]
#[parallel]
fn the_archive_is_asked_before_a_colon_means_anything() {
    let Some(scene) = Scene::new(|tank| {
        let content = tempfile::tempdir().unwrap();
        std::fs::write(content.path().join("x"), "of the volume").unwrap();
        write_ext4(&tank.join("v"), content.path());
        std::fs::copy(tank.join("v"), tank.join("w:")).unwrap();
        std::fs::create_dir(tank.join("v:")).unwrap();
        std::fs::write(tank.join("v:/x"), "of the archive").unwrap();
    }) else {
        return;
    };
    let out = scene.directory("out of it");
    restore(&scene, "dev/zvol/tank/v:/x").arg("--to").arg(&out).ok();
    assert_eq!(std::fs::read(out.join("dev/zvol/tank/v:/x")).unwrap(), b"of the archive");
    let inside = scene.directory("inside");
    restore(&scene, "tank/w::/x").arg("--to").arg(&inside).ok();
    assert_eq!(std::fs::read(inside.join("x")).unwrap(), b"of the volume");
    let said = restore(&scene, "tank/v:/x").arg("tank/w::/x").arg("--to").arg(&inside).fails();
    assert!(said.contains("some in a volume"), "{said}");
    let said = restore(&scene, "tank/none:/x").arg("--to").arg(&inside).fails();
    assert!(said.contains("there is no"), "{said}");
    // A slash behind a volume's name.
    let file = scene.machine.path("out/image");
    restore(&scene, "tank/v/").arg("--to").arg(&file).ok();
    assert!(std::fs::read(&file).unwrap() == std::fs::read(scene.original("tank/v")).unwrap());
    let device = scene.attach("tank/v/", &[]);
    scene.detach(device);
    scene.assert_nothing_left();
}

#[test]
#[parallel]
fn a_damaged_file_comes_with_zeros_in_the_place_of_what_is_lost_if_that_is_asked_for() {
    const CHUNK: usize = 4 << 20;
    let bytes = Random::new(21).bytes(16 << 20);
    let Some(scene) = Scene::new(|tank| {
        let content = tempfile::tempdir().unwrap();
        std::fs::write(content.path().join("large"), &bytes).unwrap();
        std::fs::write(content.path().join("good"), "good").unwrap();
        write_ext4(&tank.join("v"), content.path());
    }) else {
        return;
    };
    // In the middle of the data, and so in the large file.
    damage(&scene.repository);
    let out = scene.machine.path("out/new");
    let refused = restore(&scene, "tank/v:/").arg("--to").arg(&out).run();
    assert!(refused.code() == Some(1) && !out.join("large").exists(), "{refused}");
    let run = restore(&scene, "tank/v:/").arg("--to").arg(&out).arg("--salvage").run();
    assert_eq!(run.code(), Some(3), "{run}");
    assert!(run.stderr().contains("damaged: large bytes "), "{run}");
    assert_eq!(std::fs::read(out.join("good")).unwrap(), b"good");
    let large = std::fs::read(out.join("large")).unwrap();
    assert_eq!(large.len(), bytes.len());
    let wrong: Vec<usize> = (0..large.len()).filter(|at| large[*at] != bytes[*at]).collect();
    assert!(wrong.iter().all(|at| large[*at] == 0));
    let span = wrong.last().unwrap() - wrong[0];
    assert!(span > CHUNK / 2 && span < CHUNK, "{span}");
    scene.assert_nothing_left();
}
