//! Targets that nothing is written to.

use std::cell::RefCell;
use std::io::{Read, Write};
use std::path::Path;

use crate::common::{ARCHIVE, Flavour, Loop, Machine, Need, Program, available, binary, with_own_mounts};
use crate::device::{MIB, archived, image, new_disk, restore};

/// Asserts that the restore is refused with `code` before anything is written, and why.
#[track_caller]
fn assert_refused(machine: &Machine, target: &Path, code: i32, why: &str) {
    let before = std::fs::read(target).ok();
    for options in [&[][..], &["--dry-run"]] {
        let run = restore(machine, target, options).run();
        assert_eq!(run.code(), Some(code), "{run}");
        assert!(run.stderr().contains(why), "`{why}` is not in {run}");
    }
    assert!(std::fs::read(target).ok() == before);
}

#[test]
fn a_device_of_another_size_is_refused() {
    if !available(&[Need::LoopDevices]) {
        return;
    }
    let Some(flavour) = Flavour::any() else { return };
    let (machine, _repository) = archived(flavour, &image(2, 0));
    let small = new_disk(&machine, "small", &vec![1; 2 * MIB - 512]);
    assert_refused(&machine, small.device(), 2, "has 2096640 bytes, less than the image's 2097152");
    let large = new_disk(&machine, "large", &vec![1; 2 * MIB + 512]);
    assert_refused(&machine, large.device(), 2, "more than the image's");
    let read_only = Loop::attach(&machine.source().join(crate::device::VOLUME));
    assert_refused(&machine, read_only.device(), 2, "read-only");
}

#[test]
fn what_is_in_use_is_refused_with_who_uses_it() {
    if !available(&[Need::LoopDevices]) {
        return;
    }
    let Some(flavour) = Flavour::any() else { return };
    let (machine, _repository) = archived(flavour, &image(8, 0));
    let disk = new_disk(&machine, "disk", &vec![0; 8 * MIB]);
    let device = disk.device().to_str().unwrap();

    Program::new("/sbin/mke2fs").args(["-q", "-t", "ext4", device]).ok();
    let dir = machine.mount_point();
    let mounted = with_own_mounts(|| {
        Program::new("mount").args(["-o", "ro", device]).arg(&dir).ok();
        let run = restore(&machine, disk.device(), &[]).run();
        Program::new("umount").arg(&dir).ok();
        run
    });
    assert_eq!(mounted.code(), Some(75), "{mounted}");
    assert!(mounted.stderr().contains(&format!("is mounted at {}", dir.display())), "{mounted}");

    let above = Loop::writable(disk.device());
    assert_refused(&machine, disk.device(), 75, &above.device().display().to_string());
    drop(above);

    let mut shell = Program::new("sh").args(["-c", &format!("exec 3<{device}; echo; exec sleep 60")]).spawn();
    std::io::Read::read_exact(shell.stdout.as_mut().unwrap(), &mut [0]).unwrap();
    assert_refused(&machine, disk.device(), 75, &format!("(pid {})", shell.id()));
    shell.kill().unwrap();
    shell.wait().unwrap();

    let file = machine.path("disk");
    assert_refused(&machine, &file, 75, device);
    drop(disk);
    restore(&machine, &file, &[]).ok();
}

#[test]
fn a_file_behind_a_device_is_in_use_under_each_of_its_names() {
    if !available(&[Need::LoopDevices]) {
        return;
    }
    let Some(flavour) = Flavour::any() else { return };
    let (machine, _repository) = archived(flavour, &image(8, 0));
    let disk = new_disk(&machine, "disk", &vec![0; 8 * MIB]);
    let device = disk.device().to_str().unwrap();
    let hard = machine.path("out/hard");
    std::fs::hard_link(machine.path("disk"), &hard).unwrap();
    assert_refused(&machine, &hard, 75, device);
    let place = machine.path("out/place");
    std::fs::write(&place, "").unwrap();
    Program::new("mount").arg("--bind").arg(machine.path("disk")).arg(&place).ok();
    let run = restore(&machine, &place, &[]).run();
    Program::new("umount").arg(&place).ok();
    assert_eq!(run.code(), Some(75), "{run}");
    assert!(run.stderr().contains(device), "{run}");
    // A node of one's own is the same device.
    let node = machine.path("out/node");
    Program::new("cp").arg("-a").arg(device).arg(&node).ok();
    let above = Loop::writable(disk.device());
    assert_refused(&machine, &node, 75, &above.device().display().to_string());
}

#[test]
fn a_file_that_is_swapped_to_is_in_use() {
    if !available(&[Need::LoopDevices]) {
        return;
    }
    let Some(flavour) = Flavour::any() else { return };
    let (machine, _repository) = archived(flavour, &image(8, 0));
    let disk = new_disk(&machine, "disk", &vec![0; 32 * MIB]);
    Program::new("/sbin/mke2fs").args(["-q", "-t", "ext4"]).arg(disk.device()).ok();
    let dir = machine.mount_point();
    let (swaps, run) = with_own_mounts(|| {
        Program::new("mount").arg(disk.device()).arg(&dir).ok();
        let (file, hard) = (dir.join("swap"), dir.join("hard"));
        std::fs::write(&file, vec![0; 8 * MIB]).unwrap();
        std::fs::hard_link(&file, &hard).unwrap();
        Program::new("chmod").arg("600").arg(&file).ok();
        Program::new("mkswap").arg(&file).ok();
        let swaps = Program::new("swapon").arg(&file).run().code() == Some(0);
        let run = restore(&machine, &hard, &[]).run();
        Program::new("swapoff").arg(&file).run();
        Program::new("umount").arg(&dir).ok();
        (swaps, run)
    });
    assert!(swaps, "no swap here");
    assert_eq!(run.code(), Some(75), "{run}");
    assert!(run.stderr().contains("swap space"), "{run}");
}

#[test]
fn swap_space_and_parts_of_other_devices_are_refused() {
    if !available(&[Need::LoopDevices]) {
        return;
    }
    let Some(flavour) = Flavour::any() else { return };
    let (machine, _repository) = archived(flavour, &image(8, 0));
    let disk = new_disk(&machine, "disk", &vec![0; 8 * MIB]);
    let device = disk.device().to_str().unwrap();
    Program::new("mkswap").arg(device).ok();
    Program::new("swapon").arg(device).ok();
    let swap = restore(&machine, disk.device(), &[]).run();
    Program::new("swapoff").arg(device).ok();
    assert_eq!(swap.code(), Some(75), "{swap}");
    assert!(swap.stderr().contains("swap space"), "{swap}");

    let name = format!("offsite-test-{}", std::process::id());
    let table = format!("0 8 linear {device} 0");
    if Program::new("dmsetup").args(["create", &name, "--table", &table]).run().code() != Some(0) {
        eprintln!("left out: no device mapper here");
        return;
    }
    let part = restore(&machine, disk.device(), &[]).run();
    Program::new("dmsetup").args(["remove", "--retry", &name]).ok();
    assert_eq!(part.code(), Some(75), "{part}");
    assert!(part.stderr().contains("is a part of /dev/dm-"), "{part}");
}

#[test]
fn a_file_that_root_has_as_a_disk_is_in_use_also_for_its_owner() {
    if !available(&[Need::LoopDevices]) {
        return;
    }
    let Some(flavour) = Flavour::any() else { return };
    let (mut machine, _repository) = archived(flavour, &image(2, 0));
    let file = machine.path("out/disk");
    std::fs::write(&file, vec![1; 2 * MIB]).unwrap();
    machine.hand_over();
    let disk = Loop::writable(&file);
    let run = machine.offsite(["restore", ARCHIVE, "tank/work", "--yes", "--to"]).arg(&file).run();
    assert_eq!(run.code(), Some(75), "{run}");
    assert!(run.stderr().contains(disk.device().to_str().unwrap()), "{run}");
    assert!(std::fs::read(&file).unwrap() == vec![1; 2 * MIB]);
}

#[test]
fn what_cannot_be_a_target_is_refused() {
    let Some(flavour) = Flavour::any() else { return };
    let (machine, repository) = archived(flavour, &image(2, 0));
    assert_refused(&machine, Path::new("/dev/zvol/tank/typo"), 2, "its directory is not there");
    assert_refused(&machine, Path::new("/dev/offsite-typo"), 2, "there is no device /dev/offsite-typo");
    assert_refused(&machine, Path::new("/dev/null"), 2, "neither a block device nor a file");
    let inside = repository.dir().join("data/file");
    assert_refused(&machine, &inside, 2, "inside the repository");
    let linked = machine.path("out/linked");
    std::fs::hard_link(repository.dir().join("config"), &linked).unwrap();
    assert_refused(&machine, &linked, 2, "inside the repository");
    let missing = machine.offsite(["restore"]).args([ARCHIVE, "tank/none", "--yes", "--to"]);
    let told = missing.arg(machine.path("out/x")).fails();
    assert!(told.contains("there is no tank/none in the archive"), "{told}");
    assert!(!machine.path("out/x").exists());
}

#[test]
fn nothing_is_overwritten_when_nobody_can_be_asked() {
    let Some(flavour) = Flavour::any() else { return };
    let (machine, _repository) = archived(flavour, &image(2, 0));
    let file = machine.path("out/old");
    std::fs::write(&file, vec![1; 2 * MIB]).unwrap();
    let run = machine.offsite(["restore"]).args([ARCHIVE, "tank/work", "--to"]).arg(&file).run();
    assert_eq!(run.code(), Some(2), "{run}");
    assert!(run.stderr().contains("--yes"), "{run}");
    assert!(std::fs::read(&file).unwrap() == vec![1; 2 * MIB]);
}

#[test]
fn a_person_at_a_terminal_is_asked() {
    let Some(flavour) = Flavour::any() else { return };
    let bytes = image(2, 0);
    let (machine, _repository) = archived(flavour, &bytes);
    let file = machine.path("out/old");
    let command = format!(
        "'{}' --config '{}' restore {ARCHIVE} tank/work --to '{}'",
        binary().display(),
        machine.config().display(),
        file.display()
    );
    for (answer, code, restored) in [("n", 1, false), ("", 1, false), ("yes", 0, true)] {
        std::fs::write(&file, vec![1; bytes.len()]).unwrap();
        // script gives it a terminal.
        let line = format!("echo '{answer}' | script -qec \"$COMMAND\" /dev/null");
        let run = machine.program("sh").args(["-c", &line]).env("COMMAND", &command).run();
        assert_eq!(run.code(), Some(code), "{run}");
        assert!(run.stdout().contains("Go on? [y/N]"), "{run}");
        assert_eq!(std::fs::read(&file).unwrap() == bytes, restored, "{run}");
    }
}

/// `restore` to `target` at a terminal, where somebody does something before he says yes.
fn answered(machine: &Machine, target: &Path, meanwhile: impl FnOnce()) -> (Option<i32>, String) {
    let command = format!(
        "'{}' --config '{}' restore {ARCHIVE} tank/work --to '{}'",
        binary().display(),
        machine.config().display(),
        target.display()
    );
    let mut child = machine.program("script").args(["-qec", &command, "/dev/null"]).spawn_piped();
    let mut said = Vec::new();
    let (stdout, mut byte) = (child.stdout.as_mut().unwrap(), [0]);
    while !said.ends_with(b"[y/N]") {
        assert_ne!(stdout.read(&mut byte).unwrap(), 0, "{}", String::from_utf8_lossy(&said));
        said.push(byte[0]);
    }
    meanwhile();
    child.stdin.take().unwrap().write_all(b"yes\n").unwrap();
    child.stdout.take().unwrap().read_to_end(&mut said).unwrap();
    (child.wait().unwrap().code(), String::from_utf8_lossy(&said).into_owned())
}

#[test]
fn a_file_that_became_another_one_while_a_person_was_asked_is_not_written_to() {
    let Some(flavour) = Flavour::any() else { return };
    let (machine, _repository) = archived(flavour, &image(2, 0));
    let (file, other, moved) =
        (machine.path("out/old"), machine.path("out/other"), machine.path("out/moved"));
    let old = vec![1; 2 * MIB];
    let swaps: [&dyn Fn(); 4] = [
        &|| {
            std::fs::rename(&file, &moved).unwrap();
            std::os::unix::fs::symlink(&other, &file).unwrap();
        },
        &|| {
            std::fs::rename(&file, &moved).unwrap();
            std::fs::hard_link(&other, &file).unwrap();
        },
        &|| std::fs::hard_link(&file, &moved).unwrap(),
        &|| std::fs::File::options().write(true).open(&file).unwrap().set_len(3 * MIB as u64).unwrap(),
    ];
    for swap in swaps {
        for path in [&file, &other, &moved] {
            let _ = std::fs::remove_file(path);
        }
        std::fs::write(&file, &old).unwrap();
        std::fs::write(&other, &old).unwrap();
        let (code, said) = answered(&machine, &file, swap);
        assert!(code.is_some_and(|code| code != 0), "{said}");
        assert!(said.contains("became another one since it was looked at"), "{said}");
        assert!(std::fs::read(&other).unwrap() == old);
        assert!(std::fs::read(&file).unwrap()[..2 * MIB] == old);
        if moved.exists() {
            assert!(std::fs::read(&moved).unwrap() == old);
        }
    }
}

#[test]
fn what_came_into_use_while_a_person_was_asked_is_not_written_to() {
    if !available(&[Need::LoopDevices]) {
        return;
    }
    let Some(flavour) = Flavour::any() else { return };
    let (machine, _repository) = archived(flavour, &image(2, 0));
    let old = vec![1; 2 * MIB];
    // Neither of them changes what it is.
    let file = machine.path("out/old");
    std::fs::write(&file, &old).unwrap();
    let disk = RefCell::new(None);
    let (code, said) = answered(&machine, &file, || drop(disk.replace(Some(Loop::writable(&file)))));
    let device = disk.take().unwrap();
    assert!(code == Some(75) && said.contains(device.device().to_str().unwrap()), "{code:?} {said}");
    drop(device);
    assert!(std::fs::read(&file).unwrap() == old, "{said}");

    let disk = new_disk(&machine, "disk", &old);
    let above = RefCell::new(None);
    let (code, said) =
        answered(&machine, disk.device(), || drop(above.replace(Some(Loop::writable(disk.device())))));
    let device = above.take().unwrap();
    assert!(code == Some(75) && said.contains(device.device().to_str().unwrap()), "{code:?} {said}");
    drop(device);
    assert!(disk.bytes() == old, "{said}");
}

#[test]
fn a_device_that_became_another_one_while_a_person_was_asked_is_not_written_to() {
    if !available(&[Need::LoopDevices]) {
        return;
    }
    let Some(flavour) = Flavour::any() else { return };
    let (machine, _repository) = archived(flavour, &image(2, 0));
    let old = vec![1; 2 * MIB];
    let other = machine.path("other");
    std::fs::write(&other, &old).unwrap();
    let disk = new_disk(&machine, "disk", &old);
    // It is open meanwhile, so that the kernel gives its number to no other.
    let (_, said) = answered(&machine, disk.device(), || {
        Program::new("losetup").arg("--detach").arg(disk.device()).run();
        Program::new("losetup").arg(disk.device()).arg(&other).run();
    });
    assert!(std::fs::read(&other).unwrap() == old, "{said}");
    // A link to it that leads to another one: what was asked about is what is written.
    let (one, two) = (new_disk(&machine, "one", &old), new_disk(&machine, "two", &old));
    let link = machine.path("out/link");
    std::os::unix::fs::symlink(one.device(), &link).unwrap();
    let (_, said) = answered(&machine, &link, || {
        std::fs::remove_file(&link).unwrap();
        std::os::unix::fs::symlink(two.device(), &link).unwrap();
    });
    assert!(two.bytes() == old, "{said}");
}
