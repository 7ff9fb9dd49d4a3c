//! What a mount sees of what happens after it was made: archives that come and go, file systems that
//! were away, files that may not be opened.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::sys::signal::{Signal, kill};

use crate::common::{
    ARCHIVE, DAY, Flavour, Machine, Mounted, Need, Program, Repository, SOON, available, binary, each_way,
    wait_until,
};
use crate::scene::{archived, names, read_at, write_random};

#[test]
fn a_mount_of_all_archives_sees_those_that_come_and_go_and_inodes_stay() {
    if !available(&[Need::Fuse]) {
        return;
    }
    each_way(|flavour, source| {
        let (machine, repository) = archived(flavour, |source| write_random(source, "file", 100_000));
        repository.create(&machine, "2026-03-15");
        let bytes = std::fs::read(machine.source().join("file")).unwrap();
        let mounted = Mounted::by(source, &machine, "", &["-a", "2026-*", "--last", "2"]);
        assert_eq!(names(mounted.dir()), [DAY, "2026-03-15", "latest"]);
        let stays = || mounted.path("2026-03-15/file").metadata().unwrap().ino();
        let (ino, open) = (stays(), std::fs::File::open(mounted.path(format!("{DAY}/file"))).unwrap());
        assert!(read_at(&open, 0, 100_000).unwrap() == bytes);

        std::fs::write(machine.source().join("file"), "new").unwrap();
        repository.create_with(&machine, "2026-03-16", &["--lock-wait", "20"]);
        repository.create_with(&machine, "other", &["--lock-wait", "20"]);
        let expected = ["2026-03-15", "2026-03-16", "latest"];
        assert!(wait_until(SOON, || names(mounted.dir()) == expected), "{:?}", names(mounted.dir()));
        assert_eq!(std::fs::read_to_string(mounted.path("latest/file")).unwrap(), "new");
        assert_eq!(std::fs::read_link(mounted.path("latest")).unwrap(), Path::new("2026-03-16"));
        assert_eq!(stays(), ino);

        repository.borg(&machine, "delete --lock-wait 20 ::2026-03-16").ok();
        let gone = || !mounted.path("2026-03-16").exists() && mounted.path(DAY).exists();
        assert!(wait_until(SOON, gone), "{:?}", names(mounted.dir()));
        assert_eq!(std::fs::read_link(mounted.path("latest")).unwrap(), Path::new("2026-03-15"));
        assert_eq!(stays(), ino);
        assert!(read_at(&open, 0, 100_000).unwrap() == bytes, "what was open can be read");
    });
}

/// A repository in a directory that itself is a mount of ours.
#[test]
fn a_file_system_that_was_away_and_came_back_is_opened_again() {
    if !available(&[Need::Fuse]) {
        return;
    }
    let Some(flavour) = Flavour::any() else { return };
    let (mut machine, repository) = archived(flavour, |source| write_random(source, "image", 8 << 20));
    let bytes = std::fs::read(machine.source().join("image")).unwrap();
    let outer = Machine::new(flavour);
    let copied = Program::new("cp").arg("-a").arg(repository.dir());
    copied.arg(outer.source().join("repository")).ok();
    let around = Repository::init(&outer, "none");
    around.create(&outer, DAY);
    let below = || Mounted::new(&outer, ARCHIVE, &["--cache-size", "0"]);
    let under = below();
    machine.set("backup_path", under.path("repository"));
    let moved = [("BORG_RELOCATED_REPO_ACCESS_IS_OK", "yes")];
    let mount = Mounted::command(
        &machine,
        ARCHIVE,
        &machine.mount_point(),
        &["--source", "native", "--cache-size", "0"],
    );
    moved.into_iter().fold(mount, |mount, (key, value)| mount.env(key, value)).ok();
    let mounted = Mounted::at(machine.mount_point());
    let file = std::fs::File::open(mounted.path("image")).unwrap();
    assert!(read_at(&file, 0, 4096).unwrap() == bytes[..4096]);

    kill(under.daemon(), Signal::SIGKILL).unwrap();
    assert!(wait_until(SOON, || std::fs::read_dir(under.dir()).is_err()));
    let middle = 6 << 20;
    assert!(read_at(&file, middle as u64, 4096).is_err(), "nothing is there to be read");
    drop(under);
    let _under = below();
    let end = bytes.len() - 4096;
    assert!(read_at(&file, end as u64, 4096).unwrap() == bytes[end..], "the files were not opened again");
    drop(file);
    mounted.umount(&machine);
}

#[test]
fn few_descriptors_are_enough_and_an_error_of_this_machine_is_no_damage() {
    if !available(&[Need::Fuse]) {
        return;
    }
    let Some(flavour) = Flavour::any() else { return };
    let (machine, repository) = archived(flavour, |source| write_random(source, "a", 10));
    repository.borg(&machine, "config").arg(repository.dir()).args(["max_segment_size", "8192"]).ok();
    for n in 0..150 {
        write_random(&machine.source(), &format!("f{n}"), 9000 + n);
    }
    repository.create(&machine, "2026-03-15");
    let within = |descriptors: u32, command: &str| {
        let script = format!("ulimit -n {descriptors}; exec \"$@\"");
        let program = machine.program("sh").args(["-c", &script, "sh"]).arg(binary());
        program.arg("--config").arg(machine.config()).args(command.split(' '))
    };
    within(64, "verify ::2026-03-15").ok();
    let dir = machine.mount_point();
    within(64, "mount ::2026-03-15").arg(&dir).ok();
    let mounted = Mounted::at(dir);
    for n in 0..150 {
        let name = format!("f{n}");
        assert!(
            std::fs::read(mounted.path(&name)).unwrap()
                == std::fs::read(machine.source().join(&name)).unwrap()
        );
    }
    mounted.umount(&machine);
    // So few that nothing can be done: it is said, and not that anything is damaged.
    for descriptors in 8..24 {
        let run = within(descriptors, "verify ::2026-03-15").run();
        assert!(run.code() != Some(4) && !run.stderr().contains("damaged"), "{descriptors}: {run}");
    }
}
