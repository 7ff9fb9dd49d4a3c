//! Restoring files by ourselves: without borg and its lock, and only what differs.

use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};

use crate::common::xattr;
use crate::common::{
    ARCHIVE, DAY, Flavour, Machine, NastyTree, Need, Program, Random, Repository, Run, Sshd,
    assert_same_bytes, assert_same_trees, available, binary,
};
use crate::device::{MIB, SMALL_CHUNKS, number, told};

/// An archive of what `fill` puts into the directory `d`.
fn archived(fill: impl Fn(&Path)) -> Option<(Machine, Repository)> {
    let machine = Machine::new(Flavour::any()?);
    let dir = machine.source().join("d");
    std::fs::create_dir(&dir).unwrap();
    fill(&dir);
    let repository = Repository::init(&machine, "repokey-blake2");
    repository.create_with(&machine, DAY, &SMALL_CHUNKS);
    Some((machine, repository))
}

fn restore(machine: &Machine, options: &[&str]) -> Program {
    let to = machine.path("out/to");
    machine.offsite(["restore"]).arg(ARCHIVE).arg("d").arg("--to").arg(to).arg("--json").args(options)
}

fn restored(run: &Run, name: &str) -> u64 {
    number(&told(run)["restored"], name)
}

fn set_mtime(path: &Path, seconds: u64) {
    let file = std::fs::File::options().write(true).open(path).unwrap();
    file.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds)).unwrap();
}

fn to(machine: &Machine, name: &str) -> PathBuf {
    machine.path("out/to/d").join(name)
}

fn source(machine: &Machine, name: &str) -> PathBuf {
    machine.source().join("d").join(name)
}

#[test]
fn everything_comes_back_from_archives_of_each_borg_without_one() {
    for flavour in [Flavour::V11, Flavour::V12, Flavour::V14] {
        if !flavour.is_installed() {
            continue;
        }
        let machine = Machine::new(flavour);
        let tree = NastyTree::make(machine.source().join("tree"));
        if Program::new("chattr").arg("+d").arg(tree.dir().join("sizes/1")).run().code() == Some(0) {
            Program::new("chattr").arg("+d").arg(tree.dir().join("deep")).ok();
        }
        let repository = Repository::init(&machine, "repokey-blake2");
        repository.create(&machine, DAY);
        let expected = repository.extract(&machine, DAY, &["--sparse"]);
        // Somebody holds the lock for himself, and there is no borg.
        std::fs::create_dir(repository.dir().join("lock.exclusive")).unwrap();
        std::fs::write(repository.dir().join("lock.exclusive/somebody@1.1-0"), "").unwrap();
        let to = machine.path("out/to");
        let run =
            machine.offsite(["restore"]).arg(ARCHIVE).arg("--to").arg(&to).env("PATH", "/nowhere").run();
        // Sockets are not in archives; everything else is.
        assert_eq!(run.code(), Some(0), "{run}");
        assert_same_trees(&to, &expected);
        // Flags that are the file system's own affair are not borg's.
        let flags = |top: &Path| {
            let listed =
                Program::new("lsattr").args(["-d", "tree/deep", "tree/sizes/1"]).current_dir(top).run();
            listed.stdout().replace('e', "-")
        };
        assert_eq!(flags(&to), flags(&expected));
        let sparse = to.join("tree/sizes/sparse").metadata().unwrap();
        assert!(sparse.blocks() * 512 < sparse.len() / 2, "{} blocks", sparse.blocks());
        let run = machine
            .offsite(["restore"])
            .args([ARCHIVE, "--json", "--to"])
            .arg(&to)
            .env("PATH", "/nowhere")
            .ok();
        assert_eq!(
            (restored(&run, "made"), restored(&run, "repaired"), restored(&run, "fetched")),
            (0, 0, 0),
            "{run}"
        );
    }
}

#[test]
fn the_same_comes_back_over_streams_of_borg() {
    let Some((machine, repository)) = archived(|dir| drop(NastyTree::make(dir.join("tree")))) else { return };
    let expected = repository.extract(&machine, DAY, &[]);
    restore(&machine, &["--source", "stream"]).ok();
    assert_same_trees(&machine.path("out/to"), &expected);
    std::fs::write(to(&machine, "tree/pfx/same"), "other").unwrap();
    restore(&machine, &["--source", "stream"]).fails();
    restore(&machine, &["--source", "stream", "--overwrite"]).ok();
    assert_same_trees(&machine.path("out/to"), &expected);
}

#[test]
fn a_dry_run_says_what_it_would_take_and_writes_nothing() {
    let Some((machine, _repository)) = archived(|dir| {
        let mut random = Random::new(1);
        for (name, size) in [("right", 5000), ("differs", MIB), ("missing", 9000)] {
            std::fs::write(dir.join(name), random.bytes(size)).unwrap();
        }
    }) else {
        return;
    };
    let new = told(&restore(&machine, &["--dry-run"]).ok())["estimate"].clone();
    assert!(!machine.path("out/to").exists());
    assert_eq!((number(&new, "entries"), number(&new, "to_make"), number(&new, "right")), (4, 4, 0), "{new}");
    assert!(number(&new, "to_fetch") > MIB as u64 && number(&new, "to_write") > MIB as u64, "{new}");
    assert!(new["rate"].as_u64().unwrap() > 0 && number(&new, "free") > 0, "{new}");

    restore(&machine, &[]).ok();
    std::fs::remove_file(to(&machine, "missing")).unwrap();
    std::fs::write(to(&machine, "extra"), "x").unwrap();
    let file = std::fs::File::options().write(true).open(to(&machine, "differs")).unwrap();
    file.write_all_at(b"x", 1000).unwrap();
    let said = restore(&machine, &["--dry-run"]).fails();
    assert!(said.contains("1 file is in") && said.contains("d/differs"), "{said}");
    let run = restore(&machine, &["--dry-run", "--overwrite", "--delete"]).ok();
    let some = told(&run)["estimate"].clone();
    assert_eq!(
        (number(&some, "to_make"), number(&some, "to_replace"), number(&some, "to_delete")),
        (1, 1, 1),
        "{some}"
    );
    assert_eq!(number(&some, "right"), 1, "{some}");
    assert!(number(&some, "to_fetch") < MIB as u64 && number(&some, "local") > 0, "{some}");
    assert!(run.stderr().contains("delete d/extra"), "{run}");
    assert!(!to(&machine, "missing").exists() && to(&machine, "extra").exists());
}

#[test]
fn of_a_large_file_only_the_chunks_that_differ_are_fetched() {
    let Some((machine, _repository)) =
        archived(|dir| std::fs::write(dir.join("large"), Random::new(3).bytes(8 * MIB)).unwrap())
    else {
        return;
    };
    restore(&machine, &[]).ok();
    let large = to(&machine, "large");
    for in_place in [false, true] {
        let before = large.metadata().unwrap().ino();
        std::fs::File::options().write(true).open(&large).unwrap().write_all_at(b"other", 3_000_000).unwrap();
        let options: &[&str] = if in_place { &["--overwrite", "--in-place"] } else { &["--overwrite"] };
        let run = restore(&machine, options).ok();
        assert_eq!((restored(&run, "fetched_chunks"), restored(&run, "replaced")), (1, 1), "{run}");
        assert_eq!(large.metadata().unwrap().ino() == before, in_place);
        assert_same_bytes(&large, &source(&machine, "large"));
    }
    // A file that grew, and one that lost its end.
    for length in [9 * MIB as u64, 4 * MIB as u64] {
        std::fs::File::options().write(true).open(&large).unwrap().set_len(length).unwrap();
        let run = restore(&machine, &["--overwrite", "--in-place"]).ok();
        assert!(restored(&run, "fetched") < 5 * MIB as u64, "{run}");
        assert_same_bytes(&large, &source(&machine, "large"));
    }
    let said = restore(&machine, &["--in-place"]).fails();
    assert!(said.contains("--overwrite"), "{said}");
}

#[test]
fn what_a_broken_restore_began_is_no_conflict_and_is_kept() {
    let Some((machine, _repository)) =
        archived(|dir| std::fs::write(dir.join("large"), Random::new(3).bytes(8 * MIB)).unwrap())
    else {
        return;
    };
    let large = to(&machine, "large");
    std::fs::create_dir_all(large.parent().unwrap()).unwrap();
    std::fs::copy(source(&machine, "large"), &large).unwrap();
    std::fs::File::options().write(true).open(&large).unwrap().set_len(6 * MIB as u64).unwrap();
    let said = restore(&machine, &[]).fails();
    assert!(said.contains("1 file is in"), "{said}");
    std::fs::set_permissions(&large, PermissionsExt::from_mode(0o1600)).unwrap();
    let run = restore(&machine, &[]).ok();
    assert!(restored(&run, "fetched") < 3 * MIB as u64 && restored(&run, "fetched") > MIB as u64, "{run}");
    assert_same_trees(&machine.path("out/to"), &machine.source());
}

#[test]
fn times_are_trusted_only_where_the_user_says_so() {
    let Some((machine, _repository)) = archived(|dir| {
        std::fs::write(dir.join("file"), "right").unwrap();
        set_mtime(&dir.join("file"), 1_000_000_000);
    }) else {
        return;
    };
    restore(&machine, &[]).ok();
    let file = to(&machine, "file");
    std::fs::write(&file, "wrong").unwrap();
    set_mtime(&file, 1_000_000_000);
    let run = restore(&machine, &["--trust-times"]).ok();
    assert!(run.stderr().contains("were not read"), "{run}");
    assert_eq!(std::fs::read(&file).unwrap(), b"wrong");
    restore(&machine, &[]).fails();
    // Attributes are not trusted.
    xattr::set(&file, "user.theirs", b"x");
    std::fs::write(&file, "right").unwrap();
    set_mtime(&file, 1_000_000_000);
    restore(&machine, &["--trust-times"]).ok();
    assert!(xattr::all(&file).iter().all(|(name, _)| name != b"user.theirs"));
    std::fs::write(&file, "wrong").unwrap();
    // Another time, or another size, is not trusted.
    set_mtime(&file, 1_000_000_001);
    restore(&machine, &["--trust-times"]).fails();
    restore(&machine, &["--trust-times", "--overwrite"]).ok();
    assert_eq!(std::fs::read(&file).unwrap(), b"right");
}

#[test]
fn what_lies_in_a_seed_is_not_fetched_wherever_it_lies_there() {
    let Some((machine, _repository)) = archived(|dir| {
        std::fs::create_dir(dir.join("sub")).unwrap();
        std::fs::write(dir.join("sub/large"), Random::new(3).bytes(4 * MIB)).unwrap();
        std::fs::write(dir.join("small"), Random::new(4).bytes(3000)).unwrap();
    }) else {
        return;
    };
    let seed = machine.path("seed");
    let fetched = |place: &str| {
        let _ = std::fs::remove_dir_all(machine.path("out/to"));
        let run = restore(&machine, &["--seed", machine.path(place).to_str().unwrap()]).ok();
        assert_same_trees(&machine.path("out/to"), &machine.source());
        (restored(&run, "fetched"), restored(&run, "local"))
    };
    Program::new("cp").args(["-a", "--"]).arg(machine.source()).arg(&seed).ok();
    assert_eq!(fetched("seed"), (0, 4 * MIB as u64 + 3000));
    let run = machine.offsite(["restore"]).args([ARCHIVE, "d", "--seed"]).arg(&seed).arg("--to");
    let run = run.arg(machine.path("out/told")).ok();
    assert!(run.stderr().contains(", 4.2 MB from this machine"), "{run}");
    // Elsewhere, and changed in one place.
    std::fs::rename(seed.join("d/sub/large"), seed.join("other name")).unwrap();
    std::fs::File::options()
        .write(true)
        .open(seed.join("other name"))
        .unwrap()
        .write_all_at(b"x", 9)
        .unwrap();
    let (bytes, local) = fetched("seed");
    assert!(bytes < MIB as u64 && local > 3 * MIB as u64, "{bytes} {local}");
    // A link and a FIFO are no seeds.
    std::fs::remove_file(seed.join("d/small")).unwrap();
    symlink(source(&machine, "small"), seed.join("d/small")).unwrap();
    assert!(fetched("seed").0 > 3000);
    std::fs::remove_file(seed.join("d/small")).unwrap();
    Program::new("mkfifo").arg(seed.join("d/small")).ok();
    assert!(fetched("seed").0 > 3000);
    let said = restore(&machine, &["--seed", "/no/such"]).fails();
    assert!(said.contains("/no/such"), "{said}");
}

#[test]
fn what_lies_on_this_machine_is_not_fetched() {
    let Some(flavour) = Flavour::any() else { return };
    let machine = Machine::new(flavour);
    let file = machine.source().join("file");
    std::fs::write(&file, Random::new(5).bytes(2 * MIB)).unwrap();
    let repository = Repository::init(&machine, "repokey-blake2");
    repository.borg(&machine, "create").arg(format!("::{DAY}")).arg(&file).ok();
    let to = machine.path("out/to");
    let run = machine.offsite(["restore"]).args([ARCHIVE, "--json", "--to"]).arg(&to).ok();
    assert_eq!((restored(&run, "fetched"), restored(&run, "local")), (0, 2 * MIB as u64), "{run}");
    assert_same_bytes(&to.join(file.strip_prefix("/").unwrap()), &file);
}

/// What is read of it next comes from the disk.
fn drop_from_memory(path: &Path) {
    let file = std::fs::File::open(path).unwrap();
    file.sync_all().unwrap();
    posix_fadvise(&file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED).unwrap();
}

#[test]
fn beside_a_local_repository_little_is_read_from_the_disks_as_a_seed() {
    let Some(flavour) = Flavour::any() else { return };
    let mut machine = Machine::builder(flavour).unattended().on_disk("/var/tmp").build();
    let file = machine.source().join("file");
    std::fs::write(&file, Random::new(5).bytes(70 * MIB)).unwrap();
    let repository = Repository::init(&machine, "repokey-blake2");
    repository.borg(&machine, "create").arg(format!("::{DAY}")).arg(&file).ok();
    let local = |machine: &Machine, name: &str| {
        drop_from_memory(&file);
        let to = machine.path("out").join(name);
        let run = machine.offsite(["restore"]).args([ARCHIVE, "--json", "--to"]).arg(&to).ok();
        assert_same_bytes(&to.join(file.strip_prefix("/").unwrap()), &file);
        restored(&run, "local")
    };
    assert_eq!(local(&machine, "beside"), 0);
    if available(&[Need::Sshd]) {
        let server = Sshd::start(&machine, repository.dir());
        server.serve(&mut machine);
        assert_eq!(local(&machine, "far away"), 70 * MIB as u64);
    }
}

#[test]
fn what_the_archive_lacks_is_deleted_but_for_what_must_stay() {
    let Some((mut machine, _repository)) = archived(|dir| {
        std::fs::create_dir(dir.join("sub")).unwrap();
        std::fs::write(dir.join("sub/kept"), "kept").unwrap();
    }) else {
        return;
    };
    machine.set("exclude_patterns", ["fm:*/.cache", "sh:d/sub/*.tmp"]);
    restore(&machine, &[]).ok();
    let write = |name: &str| {
        let path = to(&machine, name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "x").unwrap();
    };
    let gone = ["extra", "sub/extra", "whole/directory/file"];
    let kept = ["sub/x.tmp", "whole2/.cache/file", "cached/CACHEDIR.TAG", "cached/file", "sub/.cache/x"];
    gone.iter().chain(&kept).for_each(|name| write(name));
    std::fs::write(machine.path("out/to/beside"), "x").unwrap();
    symlink("/etc", to(&machine, "link")).unwrap();
    let mounted = available(&[Need::Root]).then(|| {
        std::fs::create_dir(to(&machine, "mounted")).unwrap();
        Program::new("mount").args(["--bind", "/etc"]).arg(to(&machine, "mounted")).ok();
        Unmount(to(&machine, "mounted"))
    });
    let said = restore(&machine, &["--delete"]).fails();
    assert!(said.contains("no terminal to ask on") && to(&machine, "extra").exists(), "{said}");
    let run = restore(&machine, &["--delete", "--yes"]).ok();
    for name in gone.iter().chain(&["whole", "link"]) {
        assert!(to(&machine, name).symlink_metadata().is_err(), "{name} is still there");
    }
    for name in kept.iter().chain(&["sub/kept", "../beside"]) {
        assert!(to(&machine, name).exists(), "{name} is gone");
    }
    assert!(Path::new("/etc/passwd").exists() && restored(&run, "deleted") == 6, "{run}");
    if mounted.is_some() {
        assert!(to(&machine, "mounted/passwd").exists());
    }
}

struct Unmount(PathBuf);

impl Drop for Unmount {
    fn drop(&mut self) {
        Program::new("umount").arg("--lazy").arg(&self.0).run();
    }
}

#[test]
fn nothing_is_deleted_on_what_is_mounted_where_the_archive_has_a_directory() {
    if !available(&[Need::Root]) {
        return;
    }
    let Some((machine, _repository)) = archived(|dir| {
        std::fs::create_dir(dir.join("sub")).unwrap();
        std::fs::write(dir.join("sub/kept"), "kept").unwrap();
    }) else {
        return;
    };
    std::fs::create_dir_all(to(&machine, "sub")).unwrap();
    Program::new("mount").args(["-t", "tmpfs", "tmpfs"]).arg(to(&machine, "sub")).ok();
    let _unmount = Unmount(to(&machine, "sub"));
    for name in ["sub/extra", "extra"] {
        std::fs::write(to(&machine, name), "x").unwrap();
    }
    restore(&machine, &["--delete", "--yes"]).ok();
    assert!(to(&machine, "sub/extra").exists() && !to(&machine, "extra").exists());
    assert_same_bytes(&to(&machine, "sub/kept"), &source(&machine, "sub/kept"));
    // What is chosen may itself be on what is mounted.
    let out = machine.path("out/to");
    machine.offsite(["restore", ARCHIVE, "d/sub", "--delete", "--yes", "--to"]).arg(&out).ok();
    assert!(!to(&machine, "sub/extra").exists() && to(&machine, "sub/kept").exists());
}

#[test]
fn nothing_is_deleted_where_the_archive_may_lack_it() {
    let Some((mut machine, repository)) = archived(|dir| std::fs::write(dir.join("file"), "x").unwrap())
    else {
        return;
    };
    let refused = |machine: &Machine, archive: &str, to: &str, words: &str| {
        let program =
            machine.offsite(["restore"]).args([archive, "--delete", "--yes", "--dry-run", "--to", to]);
        let said = program.fails();
        assert!(said.contains(words), "{said}");
    };
    refused(&machine, ARCHIVE, "/", "needs a PATH");
    repository.create(&machine, "2026-03-15.checkpoint");
    let out = machine.path("out").to_str().unwrap().to_owned();
    refused(&machine, "::2026-03-15.checkpoint", &out, "checkpoint");
    machine.set("exclude_patterns", ["re:(?=x)"]);
    refused(&machine, ARCHIVE, &out, "re:(?=x)");
}

#[test]
fn a_file_that_is_one_with_a_file_elsewhere_leaves_that_one_alone() {
    let Some((machine, _repository)) = archived(|dir| {
        std::fs::write(dir.join("a"), Random::new(3).bytes(2 * MIB)).unwrap();
        std::fs::write(dir.join("b"), "second").unwrap();
        std::fs::hard_link(dir.join("b"), dir.join("c")).unwrap();
    }) else {
        return;
    };
    let outside = machine.path("out/outside");
    std::fs::write(&outside, vec![7; 2 * MIB]).unwrap();
    std::fs::set_permissions(&outside, PermissionsExt::from_mode(0o604)).unwrap();
    std::fs::create_dir_all(to(&machine, "")).unwrap();
    std::fs::hard_link(&outside, to(&machine, "a")).unwrap();
    std::fs::hard_link(&outside, to(&machine, "b")).unwrap();
    restore(&machine, &["--overwrite", "--in-place"]).ok();
    assert_eq!(std::fs::read(&outside).unwrap(), vec![7; 2 * MIB]);
    assert_eq!(outside.metadata().unwrap().mode() & 0o777, 0o604);
    assert_same_trees(&machine.path("out/to"), &machine.source());
    // The right bytes, but other attributes, and one with a file elsewhere.
    std::fs::remove_file(&outside).unwrap();
    std::fs::hard_link(to(&machine, "a"), &outside).unwrap();
    std::fs::set_permissions(&outside, PermissionsExt::from_mode(0o604)).unwrap();
    restore(&machine, &[]).ok();
    assert_eq!(outside.metadata().unwrap().mode() & 0o777, 0o604);
    assert_same_trees(&machine.path("out/to"), &machine.source());
}

#[test]
fn what_is_damaged_is_named_and_written_only_to_be_salvaged() {
    let Some((machine, repository)) = archived(|dir| {
        std::fs::write(dir.join("large"), Random::new(3).bytes(4 * MIB)).unwrap();
        std::fs::write(dir.join("right"), "right").unwrap();
    }) else {
        return;
    };
    crate::device::damage(&repository);
    let run = restore(&machine, &[]).run();
    assert_eq!((run.code(), restored(&run, "missing")), (Some(3), 1), "{run}");
    assert!(!to(&machine, "large").exists() && to(&machine, "right").exists());
    let damaged = |run: &Run| {
        let file = told(run)["damaged"][0].clone();
        assert_eq!(file["path"], "d/large", "{run}");
        let range = &file["ranges"][0];
        range[0].as_u64().unwrap() as usize..range[1].as_u64().unwrap() as usize
    };
    let lost = damaged(&run);
    let run = restore(&machine, &["--salvage"]).run();
    assert_eq!((run.code(), restored(&run, "missing")), (Some(3), 0), "{run}");
    assert_eq!(damaged(&run), lost);
    let mut expected = std::fs::read(source(&machine, "large")).unwrap();
    expected[lost.clone()].fill(0);
    assert!(std::fs::read(to(&machine, "large")).unwrap() == expected);
    // After borg's own repair the same ranges are known.
    let repair = repository.borg(&machine, "check --repair").env("BORG_CHECK_I_KNOW_WHAT_I_AM_DOING", "YES");
    repair.run();
    std::fs::remove_dir_all(machine.path("out/to")).unwrap();
    let run = restore(&machine, &[]).run();
    assert_eq!(run.code(), Some(3), "{run}");
    assert!(!to(&machine, "large").exists() && to(&machine, "right").exists(), "{run}");
    let run = restore(&machine, &["--salvage"]).run();
    assert_eq!((run.code(), damaged(&run)), (Some(3), lost), "{run}");
    assert!(std::fs::read(to(&machine, "large")).unwrap() == expected);
}

#[test]
fn a_full_disk_ends_it_and_with_room_it_goes_on() {
    if !available(&[Need::Root]) {
        return;
    }
    let Some((machine, _repository)) = archived(|dir| {
        for n in 0..40 {
            std::fs::write(dir.join(n.to_string()), Random::new(n).bytes(300_000)).unwrap();
        }
    }) else {
        return;
    };
    let dir = machine.path("out/to");
    std::fs::create_dir(&dir).unwrap();
    Program::new("mount").args(["-t", "tmpfs", "-o", "size=6M", "tmpfs"]).arg(&dir).ok();
    let _unmount = Unmount(dir.clone());
    let said = restore(&machine, &[]).fails();
    assert!(
        said.contains("No space left") && said.contains("make room") && said.contains("goes on"),
        "{said}"
    );
    Program::new("mount").args(["-o", "remount,size=100M"]).arg(&dir).ok();
    let run = restore(&machine, &[]).ok();
    assert!(restored(&run, "fetched") < 10_000_000, "{run}");
    assert_same_trees(&dir.join("d"), &machine.source().join("d"));
}

#[test]
fn links_devices_and_names_alone_go_into_directories() {
    let Some((machine, _repository)) = archived(|dir| symlink("nowhere", dir.join("link")).unwrap()) else {
        return;
    };
    let out = machine.path("out/new");
    let said = machine.offsite(["restore"]).args([ARCHIVE, "d/link", "--to"]).arg(&out).fails();
    assert!(said.contains("goes into a directory only"), "{said}");
    let slash = format!("{}/", out.display());
    machine.offsite(["restore"]).args([ARCHIVE, "d/link", "--to", &slash]).ok();
    assert_eq!(std::fs::read_link(out.join("d/link")).unwrap(), Path::new("nowhere"));
}

#[test]
fn few_open_files_are_enough() {
    let Some((machine, _repository)) = archived(|dir| {
        for n in 0..400 {
            std::fs::write(dir.join(n.to_string()), format!("{n}").repeat(50)).unwrap();
        }
    }) else {
        return;
    };
    let to = machine.path("out/to");
    let limited =
        machine.program("prlimit").arg("--nofile=160").arg(binary()).arg("--config").arg(machine.config());
    limited.args(["restore", ARCHIVE, "--to"]).arg(&to).ok();
    assert_same_trees(&to, &machine.source());
}

#[test]
fn a_chunk_that_many_files_have_is_fetched_once_while_it_is_on_its_way() {
    let Some((machine, _repository)) = archived(|dir| {
        let same = Random::new(3).bytes(100_000);
        for n in 0..200 {
            std::fs::write(dir.join(n.to_string()), &same).unwrap();
        }
    }) else {
        return;
    };
    let run = restore(&machine, &[]).ok();
    let fetched = restored(&run, "fetched_chunks");
    assert!((1..200).contains(&fetched), "{run}");
    assert_same_trees(&machine.path("out/to"), &machine.source());
}

#[test]
fn volumes_are_not_written_into_files_of_the_running_system() {
    let Some(flavour) = Flavour::any() else { return };
    let (machine, _repository) = crate::device::archived(flavour, &[7; 5000]);
    let refused = |paths: &[&str], to: &str| {
        let run = machine.offsite(["restore", ARCHIVE, "--dry-run", "--to", to]).args(paths).run();
        (run.code() == Some(2), run.stderr().contains("restore each to its device"))
    };
    assert_eq!(refused(&[], "/"), (true, true));
    assert_eq!(refused(&["dev"], "/"), (true, true));
    assert_eq!(refused(&["dev/zvol/tank", "dev/zvol"], "/"), (true, true));
    assert_eq!(refused(&[], machine.path("out").to_str().unwrap()), (false, false));
}
