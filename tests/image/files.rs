//! Putting files and directories back.

use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use crate::common::{
    ARCHIVE, DAY, Flavour, Machine, NastyTree, Need, Program, Repository, Run, assert_same_trees, available,
    each_borg,
};
use crate::device::{number, told};

/// An archive of a small tree.
fn archived(flavour: Flavour) -> (Machine, Repository) {
    let machine = Machine::new(flavour);
    let source = machine.source();
    std::fs::create_dir_all(source.join("d/sub")).unwrap();
    std::fs::write(source.join("d/one"), "one").unwrap();
    std::fs::write(source.join("d/sub/two"), "two").unwrap();
    std::fs::write(source.join("dd"), "not below d").unwrap();
    let repository = Repository::init(&machine, "repokey-blake2");
    repository.create(&machine, DAY);
    (machine, repository)
}

fn restore(machine: &Machine, paths: &[&str], options: &[&str]) -> Program {
    let to = machine.path("out/to");
    machine.offsite(["restore"]).arg(ARCHIVE).args(paths).arg("--to").arg(to).arg("--json").args(options)
}

fn restored(run: &Run, name: &str) -> u64 {
    number(&told(run)["restored"], name)
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Names of all that is in the directory that is restored to, and below.
fn names(machine: &Machine) -> Vec<PathBuf> {
    let mut open = vec![machine.path("out/to")];
    let mut names = Vec::new();
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(&dir).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_dir() {
                open.push(entry.path());
            }
            names.push(entry.path().strip_prefix(machine.path("out/to")).unwrap().to_owned());
        }
    }
    names.sort();
    names
}

#[test]
fn files_and_directories_come_back_with_all_that_they_had() {
    each_borg(|flavour| {
        let machine = Machine::new(flavour);
        NastyTree::make(machine.source().join("tree"));
        let repository = Repository::init(&machine, "repokey-blake2");
        repository.create(&machine, DAY);
        restore(&machine, &["tree"], &[]).run();
        let expected = repository.extract(&machine, DAY, &[]);
        assert_same_trees(&machine.path("out/to"), &expected);
    });
}

#[test]
fn only_what_was_named_is_restored_and_what_was_there_stays() {
    each_borg(|flavour| {
        let (machine, _repository) = archived(flavour);
        let to = machine.path("out/to");
        let run = restore(&machine, &["d", "/d/sub"], &[]).ok();
        assert_eq!((restored(&run, "entries"), restored(&run, "bytes")), (4, 6), "{run}");
        assert_eq!(names(&machine), ["d", "d/one", "d/sub", "d/sub/two"].map(PathBuf::from));
        std::fs::write(to.join("d/sub/two"), "mine").unwrap();
        std::fs::write(to.join("d/mine"), "mine").unwrap();
        std::fs::remove_file(to.join("d/one")).unwrap();

        let said = restore(&machine, &["d"], &[]).fails();
        assert!(said.contains("1 file is in") && said.contains("d/sub/two"), "{said}");
        assert!(said.contains("nothing was written"), "{said}");
        assert_eq!((read(&to.join("d/sub/two")).as_str(), to.join("d/one").exists()), ("mine", false));

        restore(&machine, &["d"], &["--overwrite"]).ok();
        assert_eq!(read(&to.join("d/sub/two")), "two");
        assert_eq!((read(&to.join("d/one")), read(&to.join("d/mine"))), ("one".into(), "mine".into()));
        let said = restore(&machine, &["no/such"], &[]).fails();
        assert!(said.contains("there is no no/such in the archive"), "{said}");
    });
}

#[test]
fn a_link_in_the_directory_leads_nowhere() {
    each_borg(|flavour| {
        let (machine, _repository) = archived(flavour);
        let (to, victim) = (machine.path("out/to"), machine.path("out/victim"));
        std::fs::create_dir(&to).unwrap();
        std::fs::create_dir(&victim).unwrap();
        symlink(&victim, to.join("d")).unwrap();
        let said = restore(&machine, &["d"], &[]).fails();
        assert!(said.contains("1 file is in") && said.contains("already"), "{said}");
        assert!(to.join("d").is_symlink());
        restore(&machine, &["d"], &["--overwrite"]).ok();
        assert!(!to.join("d").is_symlink() && read(&to.join("d/sub/two")) == "two");
        std::fs::remove_dir_all(to.join("d/sub")).unwrap();
        symlink(&victim, to.join("d/sub")).unwrap();
        restore(&machine, &["d"], &[]).fails();
        restore(&machine, &["d"], &["--overwrite"]).ok();
        assert_eq!(read(&to.join("d/sub/two")), "two");
        std::fs::remove_file(to.join("d/one")).unwrap();
        symlink(victim.join("file"), to.join("d/one")).unwrap();
        restore(&machine, &["d"], &["--overwrite"]).ok();
        assert_eq!(read(&to.join("d/one")), "one");
        assert!(!to.join("d/one").is_symlink());
        assert_eq!(std::fs::read_dir(&victim).unwrap().count(), 0);
    });
}

/// An archive made of a tar with a link `a` that leads to `victim`, then `a/x`, and hard links.
fn hostile(machine: &Machine, repository: &Repository, name: &str, members: &str) {
    let tar = machine.path(name);
    let script = format!(
        "import io, sys, tarfile\n\
         with tarfile.open(sys.argv[1], 'w') as tar:\n\
         \x20   for name, kind, link in {members}:\n\
         \x20       entry = tarfile.TarInfo(name)\n\
         \x20       entry.type, entry.linkname, entry.size = kind, link, 4 if kind == tarfile.REGTYPE else 0\n\
         \x20       tar.addfile(entry, io.BytesIO(b'evil'))\n"
    );
    machine.program("/usr/bin/python3").args(["-c", &script]).arg(&tar).ok();
    repository.borg(machine, "import-tar").arg(format!("::{name}")).arg(&tar).ok();
}

#[test]
fn an_archive_whose_links_lead_out_writes_nothing() {
    each_borg(|flavour| {
        let (machine, repository) = archived(flavour);
        let victim = machine.path("out/victim");
        std::fs::create_dir(&victim).unwrap();
        std::fs::write(machine.path("out/secret"), "secret").unwrap();
        let (link, shown) = ("tarfile.SYMTYPE", victim.to_str().unwrap());
        let below = format!("[('a', {link}, {shown:?}), ('a/x', tarfile.REGTYPE, '')]");
        hostile(&machine, &repository, "below", &below);
        hostile(
            &machine,
            &repository,
            "outside",
            "[('d/x', tarfile.REGTYPE, ''), ('d/h', tarfile.LNKTYPE, '../secret')]",
        );
        for (name, path) in [("below", "a"), ("outside", "d")] {
            let to = machine.path("out/to");
            let run = machine
                .offsite(["restore"])
                .args([&format!("::{name}"), path, "--to"])
                .arg(&to)
                .arg("--json");
            let said = run.fails();
            assert!(said.contains("is not what a backup makes"), "{said}");
            assert_eq!(std::fs::read_dir(&victim).unwrap().count(), 0);
            assert!(!to.exists());
        }
    });
}

#[test]
fn who_renames_things_meanwhile_leads_nothing_elsewhere() {
    let Some(flavour) = Flavour::any() else { return };
    let (machine, repository) = archived(flavour);
    for n in 0..300 {
        std::fs::write(machine.source().join(format!("d/sub/{n}")), format!("{n}").repeat(100)).unwrap();
    }
    repository.create(&machine, "many");
    let (to, victim) = (machine.path("out/to"), machine.path("out/victim"));
    std::fs::create_dir(&victim).unwrap();
    let ended = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (sub, moved) = (to.join("d/sub"), to.join("moved"));
            while !ended.load(std::sync::atomic::Ordering::Relaxed) {
                if std::fs::rename(&sub, &moved).is_ok() {
                    let _ = symlink(&victim, &sub);
                    std::thread::yield_now();
                    let _ = std::fs::remove_file(&sub);
                    let _ = std::fs::rename(&moved, &sub);
                }
            }
        });
        for _ in 0..10 {
            machine.offsite(["restore"]).args(["::many", "d", "--overwrite", "--to"]).arg(&to).run();
        }
        ended.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    assert_eq!(std::fs::read_dir(&victim).unwrap().count(), 0);
}

#[test]
fn what_a_killed_restore_left_is_removed_by_the_next() {
    let Some(flavour) = Flavour::any() else { return };
    let (machine, _repository) = archived(flavour);
    restore(&machine, &["d"], &[]).ok();
    let to = machine.path("out/to/d");
    let left = |number: u32, mode| {
        let path = to.join(format!(".borg-offsite-backup-restore.{number:016x}"));
        std::fs::write(&path, "half").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path
    };
    let (dead, live, foreign) = (left(1, 0o1600), left(2, 0o1600), left(3, 0o644));
    let held = std::fs::File::open(&live).unwrap();
    held.lock().unwrap();
    restore(&machine, &["d"], &[]).ok();
    assert!(!dead.exists() && live.exists() && foreign.exists());
}

#[test]
fn what_is_for_images_is_refused_for_files() {
    let Some(flavour) = Flavour::any() else { return };
    let (machine, _repository) = archived(flavour);
    for option in ["--create", "--full", "--no-verify"] {
        let said = restore(&machine, &["d"], &[option]).fails();
        assert!(said.contains(option) && said.contains("is for images"), "{said}");
    }
}

#[test]
fn who_is_not_root_restores_what_is_his() {
    if !available(&[Need::Root]) {
        return;
    }
    each_borg(|flavour| {
        let (mut machine, _repository) = archived(flavour);
        machine.hand_over();
        machine.offsite(["restore", ARCHIVE, "d", "--to"]).arg(machine.path("out/to")).ok();
        assert_eq!(names(&machine), ["d", "d/one", "d/sub", "d/sub/two"].map(PathBuf::from));
        assert_eq!(machine.path("out/to/d/one").metadata().unwrap().uid(), 65534);
    });
}

#[test]
fn who_is_not_root_restores_directories_that_keep_him_out() {
    if !available(&[Need::Root]) {
        return;
    }
    each_borg(|flavour| {
        let (mut machine, repository) = archived(flavour);
        let modes = [("d/sub", 0o300), ("d/closed", 0o000)];
        std::fs::create_dir(machine.source().join("d/closed")).unwrap();
        let set = |top: &Path, name: &str, mode| {
            std::fs::set_permissions(top.join(name), std::fs::Permissions::from_mode(mode)).unwrap();
        };
        modes.iter().for_each(|(name, mode)| set(&machine.source(), name, *mode));
        repository.create(&machine, "closed");
        machine.hand_over();
        let to = machine.path("out/to");
        for what in ["d", "d/closed", "d/sub"] {
            machine.offsite(["restore", "::closed", what, "--overwrite", "--to"]).arg(&to).ok();
            assert_eq!(read(&to.join("d/sub/two")), read(&machine.source().join("d/sub/two")));
            for (name, mode) in modes {
                assert_eq!(to.join(name).metadata().unwrap().mode() & 0o777, mode, "{name}");
            }
        }
    });
}

#[test]
fn directories_above_come_with_their_modes_and_owners() {
    if !available(&[Need::Root]) {
        return;
    }
    each_borg(|flavour| {
        let machine = Machine::new(flavour);
        let source = machine.source();
        std::fs::create_dir_all(source.join("home/bob/docs")).unwrap();
        std::fs::write(source.join("home/bob/docs/letter"), "dear").unwrap();
        for (path, mode, owner) in [
            ("home", 0o755, 0),
            ("home/bob", 0o710, 65534),
            ("home/bob/docs", 0o2770, 65534),
            ("home/bob/docs/letter", 0o604, 65534),
        ] {
            let path = source.join(path);
            chown(&path, Some(owner), Some(owner)).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        }
        let file = std::fs::File::options().write(true).open(source.join("home/bob/docs/letter")).unwrap();
        file.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000)).unwrap();
        let repository = Repository::init(&machine, "repokey-blake2");
        repository.create(&machine, DAY);
        std::fs::create_dir(machine.path("out/to")).unwrap();
        let run = restore(&machine, &["home/bob/docs/letter"], &[]).ok();
        assert_eq!((restored(&run, "entries"), restored(&run, "missing")), (1, 0), "{run}");
        let of = |path: &Path| {
            let meta = path.metadata().unwrap();
            (meta.permissions().mode() & 0o7777, meta.uid(), meta.gid(), meta.mtime())
        };
        for path in ["home", "home/bob", "home/bob/docs", "home/bob/docs/letter"] {
            assert_eq!(of(&machine.path("out/to").join(path)), of(&source.join(path)), "{path}");
        }
        // A file by itself, to a name that is not there.
        let new = machine.path("out/new");
        machine.offsite(["restore"]).args([ARCHIVE, "home/bob/docs/letter", "--to"]).arg(&new).ok();
        assert_eq!(of(&new), of(&source.join("home/bob/docs/letter")));
        assert_eq!(read(&new), "dear");
    });
}

#[test]
fn names_with_dots_before_them_come_back_as_borg_extracts_them() {
    each_borg(|flavour| {
        let (machine, repository) = archived(flavour);
        let tar = machine.path("dotted.tar");
        Program::new("tar").arg("-C").arg(machine.source()).arg("-cf").arg(&tar).arg(".").ok();
        repository.borg(&machine, "import-tar").arg("::dotted").arg(&tar).ok();
        let to = machine.path("out/to");
        let run = |path: &str| {
            machine.offsite(["restore"]).args(["::dotted", path, "--json", "--to"]).arg(&to).run()
        };
        let some = run("d/sub");
        assert_eq!((some.code(), restored(&some, "entries")), (Some(0), 2), "{some}");
        assert_eq!(names(&machine), ["d", "d/sub", "d/sub/two"].map(PathBuf::from));
        assert_eq!(run("dd").code(), Some(0));
        assert_eq!(read(&to.join("dd")), "not below d");
    });
}

#[test]
fn all_that_is_damaged_is_named_and_not_only_the_first() {
    let Some(flavour) = Flavour::any() else { return };
    let bytes = crate::device::image(8, 0);
    let (machine, repository) = crate::device::archived(flavour, &bytes);
    let segment = crate::device::largest_segment(&repository);
    let size = segment.metadata().unwrap().len();
    for part in [1, 2, 3] {
        crate::device::flip(&segment, size * part / 4);
    }
    let new = machine.path("out/new");
    let run = crate::device::restore(&machine, &new, &[]).run();
    assert_eq!(run.code(), Some(1), "{run}");
    let damaged = &told(&run)["damaged"][0];
    assert_eq!(damaged["path"], crate::device::VOLUME, "{damaged}");
    assert!(damaged["ranges"].as_array().unwrap().len() >= 3, "{damaged}");
    assert!(
        run.stderr().matches(" bytes ").count() >= 1 && run.stderr().contains("damaged: dev/zvol"),
        "{run}"
    );
    // The same where it is one of the files of a directory.
    let run = restore(&machine, &["dev"], &[]).run();
    assert_eq!(run.code(), Some(1), "{run}");
    assert!(run.stderr().contains("damaged: dev/zvol/tank/work bytes "), "{run}");
}
