//! Restoring files onto file systems that can share blocks, and files that may not be changed.

use std::fs;
use std::path::Path;

use crate::common::{
    ARCHIVE, DAY, Flavour, Machine, Need, Program, Random, Repository, assert_same_bytes, available,
};
use crate::device::{MIB, SMALL_CHUNKS, flip, number, told};

fn restore(machine: &Machine, to: &Path, options: &[&str]) -> Program {
    machine.offsite(["restore"]).arg(ARCHIVE).arg("d").arg("--to").arg(to).arg("--json").args(options)
}

#[test]
fn what_is_right_in_a_replaced_file_is_shared_with_it_and_not_written() {
    if !available(&[Need::LoopDevices]) {
        return;
    }
    let Some(flavour) = Flavour::any() else { return };
    for make in [&["mkfs.btrfs", "-q"][..], &["mkfs.xfs", "-q"]] {
        let machine = Machine::builder(flavour).unattended().own_mounts().build();
        machine.write("source/d/large", Random::new(5).bytes(8 * MIB));
        let repository = Repository::init(&machine, "repokey-blake2");
        repository.create_with(&machine, DAY, &SMALL_CHUNKS);
        let image = machine.path("image");
        fs::File::create(&image).unwrap().set_len(400 << 20).unwrap();
        Program::new(make[0]).args(&make[1..]).arg(&image).ok();
        let disk = machine.mount_point();
        Program::new("mount").args(["-o", "loop"]).arg(&image).arg(&disk).ok();
        restore(&machine, &disk, &[]).ok();
        let large = disk.join("d/large");
        flip(&large, 3 * MIB as u64);
        let told = told(&restore(&machine, &disk, &["--overwrite"]).ok());
        let written = number(&told["restored"], "written");
        assert!(written > 0 && written < MIB as u64, "{make:?}: {told}");
        assert_same_bytes(&large, &machine.source().join("d/large"));
        Program::new("umount").arg(&disk).ok();
    }
}

#[test]
fn files_that_must_not_be_changed_come_back_so_and_stay_so() {
    if !available(&[Need::Root]) {
        return;
    }
    let Some(flavour) = Flavour::any() else { return };
    let machine = Machine::builder(flavour).unattended().on_disk("/var/tmp").build();
    let flags = |path: &Path| Program::new("lsattr").arg("-d").arg(path).ok().stdout();
    let names = [("immutable", 'i'), ("append", 'a'), ("directory", 'i')];
    machine.write("source/d/immutable", "i");
    machine.write("source/d/append", "a");
    machine.write("source/d/directory/file", "in it");
    let chattr = |top: &Path, sign: char| {
        for (name, flag) in names {
            Program::new("chattr").arg(format!("{sign}{flag}")).arg(top.join("d").join(name)).run();
        }
    };
    chattr(&machine.source(), '+');
    let repository = Repository::init(&machine, "repokey-blake2");
    repository.create(&machine, DAY);
    let to = machine.path("out/to");
    let first = restore(&machine, &to, &[]).run();
    let second = restore(&machine, &to, &[]).run();
    let shown: Vec<String> = names.iter().map(|(name, _)| flags(&to.join("d").join(name))).collect();
    let file = fs::read(to.join("d/directory/file"));
    // What borg does not store cannot come back: 1.1 and 1.4 store both.
    let stored = repository.borg(&machine, "list --format {flags}{NL}").arg(ARCHIVE).ok().stdout();
    // Only the owner's own words take the directory away again.
    let replaced = {
        chattr(&to, '-');
        fs::write(to.join("d/immutable"), "other").unwrap();
        chattr(&to, '+');
        restore(&machine, &to, &["--overwrite"]).run()
    };
    chattr(&to, '-');
    chattr(&machine.source(), '-');
    assert!(stored.lines().any(|line| line == "2") && stored.lines().any(|line| line == "4"), "{stored}");
    assert_eq!((first.code(), second.code()), (Some(0), Some(0)), "{first}{second}");
    assert_eq!(number(&told(&second)["restored"], "made"), 0, "{second}");
    for ((name, flag), shown) in names.iter().zip(&shown) {
        assert!(shown.split(' ').next().unwrap().contains(*flag), "{name}: {shown}");
    }
    assert_eq!(file.unwrap(), b"in it");
    // A file that must not be changed is not: it is named.
    assert!(
        matches!(replaced.code(), Some(1 | 3)) && replaced.stderr().contains("d/immutable"),
        "{replaced}"
    );
    assert_eq!(fs::read(to.join("d/immutable")).unwrap(), b"other");
}
