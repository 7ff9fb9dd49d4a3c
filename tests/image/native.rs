//! Restoring files by ourselves: without borg and its lock, and only what differs.

use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use crate::common::program::Run;
use crate::common::{
    Flavour, NastyTree, Need, Program, Random, Repository, Sandbox, assert_same_bytes, assert_same_trees,
    available,
};
use crate::device::{ARCHIVE, DAY, MIB, SMALL_CHUNKS, number, told};

/// An archive of what `fill` puts into the directory `d`.
fn archived(fill: impl Fn(&Path)) -> Option<(Sandbox, Repository)> {
    let sandbox = Sandbox::new(Flavour::any()?);
    let dir = sandbox.source().join("d");
    std::fs::create_dir(&dir).unwrap();
    fill(&dir);
    let repository = Repository::init(&sandbox, "repokey-blake2");
    repository.create_with(&sandbox, DAY, &SMALL_CHUNKS);
    Some((sandbox, repository))
}

fn restore(sandbox: &Sandbox, options: &[&str]) -> Program {
    let to = sandbox.path("out/to");
    sandbox.offsite("restore").arg(ARCHIVE).arg("d").arg("--to").arg(to).arg("--json").args(options)
}

fn restored(run: &Run, name: &str) -> u64 {
    number(&told(run)["restored"], name)
}

fn set_mtime(path: &Path, seconds: u64) {
    let file = std::fs::File::options().write(true).open(path).unwrap();
    file.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds)).unwrap();
}

fn to(sandbox: &Sandbox, name: &str) -> PathBuf {
    sandbox.path("out/to/d").join(name)
}

fn source(sandbox: &Sandbox, name: &str) -> PathBuf {
    sandbox.source().join("d").join(name)
}

#[test]
fn everything_comes_back_from_archives_of_each_borg_without_one() {
    for flavour in [Flavour::V11, Flavour::V12, Flavour::V14] {
        if !flavour.is_installed() {
            continue;
        }
        let sandbox = Sandbox::new(flavour);
        let tree = NastyTree::make(sandbox.source().join("tree"));
        if Program::new("chattr").arg("+d").arg(tree.dir().join("sizes/1")).run().code() == Some(0) {
            Program::new("chattr").arg("+d").arg(tree.dir().join("deep")).ok();
        }
        let repository = Repository::init(&sandbox, "repokey-blake2");
        repository.create(&sandbox, DAY);
        let expected = repository.extract(&sandbox, DAY, &["--sparse"]);
        // Somebody holds the lock for himself, and there is no borg.
        std::fs::create_dir(repository.dir().join("lock.exclusive")).unwrap();
        std::fs::write(repository.dir().join("lock.exclusive/somebody@1.1-0"), "").unwrap();
        let to = sandbox.path("out/to");
        let run = sandbox.offsite("restore").arg(ARCHIVE).arg("--to").arg(&to).env("PATH", "/nowhere").run();
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
        let run = sandbox
            .offsite("restore")
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
    let Some((sandbox, repository)) = archived(|dir| drop(NastyTree::make(dir.join("tree")))) else { return };
    let expected = repository.extract(&sandbox, DAY, &[]);
    restore(&sandbox, &["--source", "stream"]).ok();
    assert_same_trees(&sandbox.path("out/to"), &expected);
    std::fs::write(to(&sandbox, "tree/pfx/same"), "other").unwrap();
    restore(&sandbox, &["--source", "stream"]).fails();
    restore(&sandbox, &["--source", "stream", "--overwrite"]).ok();
    assert_same_trees(&sandbox.path("out/to"), &expected);
}

#[test]
fn a_dry_run_says_what_it_would_take_and_writes_nothing() {
    let Some((sandbox, _repository)) = archived(|dir| {
        let mut random = Random::new(1);
        for (name, size) in [("right", 5000), ("differs", MIB), ("missing", 9000)] {
            std::fs::write(dir.join(name), random.bytes(size)).unwrap();
        }
    }) else {
        return;
    };
    let new = told(&restore(&sandbox, &["--dry-run"]).ok())["estimate"].clone();
    assert!(!sandbox.path("out/to").exists());
    assert_eq!((number(&new, "entries"), number(&new, "to_make"), number(&new, "right")), (4, 4, 0), "{new}");
    assert!(number(&new, "to_fetch") > MIB as u64 && number(&new, "to_write") > MIB as u64, "{new}");
    assert!(new["rate"].as_u64().unwrap() > 0 && number(&new, "free") > 0, "{new}");

    restore(&sandbox, &[]).ok();
    std::fs::remove_file(to(&sandbox, "missing")).unwrap();
    std::fs::write(to(&sandbox, "extra"), "x").unwrap();
    let file = std::fs::File::options().write(true).open(to(&sandbox, "differs")).unwrap();
    file.write_all_at(b"x", 1000).unwrap();
    let said = restore(&sandbox, &["--dry-run"]).fails();
    assert!(said.contains("1 file is in") && said.contains("d/differs"), "{said}");
    let run = restore(&sandbox, &["--dry-run", "--overwrite", "--delete"]).ok();
    let some = told(&run)["estimate"].clone();
    assert_eq!(
        (number(&some, "to_make"), number(&some, "to_replace"), number(&some, "to_delete")),
        (1, 1, 1),
        "{some}"
    );
    assert_eq!(number(&some, "right"), 1, "{some}");
    assert!(number(&some, "to_fetch") < MIB as u64 && number(&some, "local") > 0, "{some}");
    assert!(run.stderr().contains("delete d/extra"), "{run}");
    assert!(!to(&sandbox, "missing").exists() && to(&sandbox, "extra").exists());
}

#[test]
fn of_a_large_file_only_the_chunks_that_differ_are_fetched() {
    let Some((sandbox, _repository)) =
        archived(|dir| std::fs::write(dir.join("large"), Random::new(3).bytes(8 * MIB)).unwrap())
    else {
        return;
    };
    restore(&sandbox, &[]).ok();
    let large = to(&sandbox, "large");
    for in_place in [false, true] {
        let before = large.metadata().unwrap().ino();
        std::fs::File::options().write(true).open(&large).unwrap().write_all_at(b"other", 3_000_000).unwrap();
        let options: &[&str] = if in_place { &["--overwrite", "--in-place"] } else { &["--overwrite"] };
        let run = restore(&sandbox, options).ok();
        assert_eq!((restored(&run, "fetched_chunks"), restored(&run, "replaced")), (1, 1), "{run}");
        assert_eq!(large.metadata().unwrap().ino() == before, in_place);
        assert_same_bytes(&large, &source(&sandbox, "large"));
    }
    // A file that grew, and one that lost its end.
    for length in [9 * MIB as u64, 4 * MIB as u64] {
        std::fs::File::options().write(true).open(&large).unwrap().set_len(length).unwrap();
        let run = restore(&sandbox, &["--overwrite", "--in-place"]).ok();
        assert!(restored(&run, "fetched") < 5 * MIB as u64, "{run}");
        assert_same_bytes(&large, &source(&sandbox, "large"));
    }
    let said = restore(&sandbox, &["--in-place"]).fails();
    assert!(said.contains("--overwrite"), "{said}");
}

#[test]
fn what_a_broken_restore_began_is_no_conflict_and_is_kept() {
    let Some((sandbox, _repository)) =
        archived(|dir| std::fs::write(dir.join("large"), Random::new(3).bytes(8 * MIB)).unwrap())
    else {
        return;
    };
    let large = to(&sandbox, "large");
    std::fs::create_dir_all(large.parent().unwrap()).unwrap();
    std::fs::copy(source(&sandbox, "large"), &large).unwrap();
    std::fs::File::options().write(true).open(&large).unwrap().set_len(6 * MIB as u64).unwrap();
    let said = restore(&sandbox, &[]).fails();
    assert!(said.contains("1 file is in"), "{said}");
    std::fs::set_permissions(&large, PermissionsExt::from_mode(0o1600)).unwrap();
    let run = restore(&sandbox, &[]).ok();
    assert!(restored(&run, "fetched") < 3 * MIB as u64 && restored(&run, "fetched") > MIB as u64, "{run}");
    assert_same_trees(&sandbox.path("out/to"), &sandbox.source());
}

#[test]
fn times_are_trusted_only_where_the_user_says_so() {
    let Some((sandbox, _repository)) = archived(|dir| {
        std::fs::write(dir.join("file"), "right").unwrap();
        set_mtime(&dir.join("file"), 1_000_000_000);
    }) else {
        return;
    };
    restore(&sandbox, &[]).ok();
    let file = to(&sandbox, "file");
    std::fs::write(&file, "wrong").unwrap();
    set_mtime(&file, 1_000_000_000);
    let run = restore(&sandbox, &["--trust-times"]).ok();
    assert!(run.stderr().contains("were not read"), "{run}");
    assert_eq!(std::fs::read(&file).unwrap(), b"wrong");
    restore(&sandbox, &[]).fails();
    // Another time, or another size, is not trusted.
    set_mtime(&file, 1_000_000_001);
    restore(&sandbox, &["--trust-times"]).fails();
    restore(&sandbox, &["--trust-times", "--overwrite"]).ok();
    assert_eq!(std::fs::read(&file).unwrap(), b"right");
}

#[test]
fn what_lies_in_a_seed_is_not_fetched_wherever_it_lies_there() {
    let Some((sandbox, _repository)) = archived(|dir| {
        std::fs::create_dir(dir.join("sub")).unwrap();
        std::fs::write(dir.join("sub/large"), Random::new(3).bytes(4 * MIB)).unwrap();
        std::fs::write(dir.join("small"), Random::new(4).bytes(3000)).unwrap();
    }) else {
        return;
    };
    let seed = sandbox.path("seed");
    let fetched = |place: &str| {
        let _ = std::fs::remove_dir_all(sandbox.path("out/to"));
        let run = restore(&sandbox, &["--seed", sandbox.path(place).to_str().unwrap()]).ok();
        assert_same_trees(&sandbox.path("out/to"), &sandbox.source());
        (restored(&run, "fetched"), restored(&run, "local"))
    };
    Program::new("cp").args(["-a", "--"]).arg(sandbox.source()).arg(&seed).ok();
    assert_eq!(fetched("seed"), (0, 4 * MIB as u64 + 3000));
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
    symlink(source(&sandbox, "small"), seed.join("d/small")).unwrap();
    assert!(fetched("seed").0 > 3000);
    std::fs::remove_file(seed.join("d/small")).unwrap();
    Program::new("mkfifo").arg(seed.join("d/small")).ok();
    assert!(fetched("seed").0 > 3000);
    let said = restore(&sandbox, &["--seed", "/no/such"]).fails();
    assert!(said.contains("/no/such"), "{said}");
}

#[test]
fn what_lies_on_this_machine_is_not_fetched() {
    let Some(flavour) = Flavour::any() else { return };
    let sandbox = Sandbox::new(flavour);
    let file = sandbox.source().join("file");
    std::fs::write(&file, Random::new(5).bytes(2 * MIB)).unwrap();
    let repository = Repository::init(&sandbox, "repokey-blake2");
    repository.borg(&sandbox, "create").arg(format!("::{DAY}")).arg(&file).ok();
    let to = sandbox.path("out/to");
    let run = sandbox.offsite("restore").args([ARCHIVE, "--json", "--to"]).arg(&to).ok();
    assert_eq!((restored(&run, "fetched"), restored(&run, "local")), (0, 2 * MIB as u64), "{run}");
    assert_same_bytes(&to.join(file.strip_prefix("/").unwrap()), &file);
}

#[test]
fn what_the_archive_lacks_is_deleted_but_for_what_must_stay() {
    let Some((sandbox, repository)) = archived(|dir| {
        std::fs::create_dir(dir.join("sub")).unwrap();
        std::fs::write(dir.join("sub/kept"), "kept").unwrap();
    }) else {
        return;
    };
    sandbox.configure(&repository, r#""exclude_patterns": ["fm:*/.cache", "sh:d/sub/*.tmp"]"#);
    restore(&sandbox, &[]).ok();
    let write = |name: &str| {
        let path = to(&sandbox, name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "x").unwrap();
    };
    let gone = ["extra", "sub/extra", "whole/directory/file"];
    let kept = ["sub/x.tmp", "whole2/.cache/file", "cached/CACHEDIR.TAG", "cached/file", "sub/.cache/x"];
    gone.iter().chain(&kept).for_each(|name| write(name));
    std::fs::write(sandbox.path("out/to/beside"), "x").unwrap();
    symlink("/etc", to(&sandbox, "link")).unwrap();
    let mounted = available(&[Need::Root]).then(|| {
        std::fs::create_dir(to(&sandbox, "mounted")).unwrap();
        Program::new("mount").args(["--bind", "/etc"]).arg(to(&sandbox, "mounted")).ok();
        Unmount(to(&sandbox, "mounted"))
    });
    let said = restore(&sandbox, &["--delete"]).fails();
    assert!(said.contains("no terminal to ask on") && to(&sandbox, "extra").exists(), "{said}");
    let run = restore(&sandbox, &["--delete", "--yes"]).ok();
    for name in gone.iter().chain(&["whole", "link"]) {
        assert!(to(&sandbox, name).symlink_metadata().is_err(), "{name} is still there");
    }
    for name in kept.iter().chain(&["sub/kept", "../beside"]) {
        assert!(to(&sandbox, name).exists(), "{name} is gone");
    }
    assert!(Path::new("/etc/passwd").exists() && restored(&run, "deleted") == 6, "{run}");
    if mounted.is_some() {
        assert!(to(&sandbox, "mounted/passwd").exists());
    }
}

struct Unmount(PathBuf);

impl Drop for Unmount {
    fn drop(&mut self) {
        Program::new("umount").arg("--lazy").arg(&self.0).run();
    }
}

#[test]
fn nothing_is_deleted_where_the_archive_may_lack_it() {
    let Some((sandbox, repository)) = archived(|dir| std::fs::write(dir.join("file"), "x").unwrap()) else {
        return;
    };
    let refused = |archive: &str, to: &str, words: &str| {
        let program =
            sandbox.offsite("restore").args([archive, "--delete", "--yes", "--dry-run", "--to", to]);
        let said = program.fails();
        assert!(said.contains(words), "{said}");
    };
    refused(ARCHIVE, "/", "needs a PATH");
    repository.create(&sandbox, "2026-03-15.checkpoint");
    let out = sandbox.path("out").to_str().unwrap().to_owned();
    refused("::2026-03-15.checkpoint", &out, "checkpoint");
    sandbox.configure(&repository, r#""exclude_patterns": ["re:(?=x)"]"#);
    refused(ARCHIVE, &out, "re:(?=x)");
}

#[test]
fn a_file_that_is_one_with_a_file_elsewhere_leaves_that_one_alone() {
    let Some((sandbox, _repository)) = archived(|dir| {
        std::fs::write(dir.join("a"), Random::new(3).bytes(2 * MIB)).unwrap();
        std::fs::write(dir.join("b"), "second").unwrap();
        std::fs::hard_link(dir.join("b"), dir.join("c")).unwrap();
    }) else {
        return;
    };
    let outside = sandbox.path("out/outside");
    std::fs::write(&outside, vec![7; 2 * MIB]).unwrap();
    std::fs::set_permissions(&outside, PermissionsExt::from_mode(0o604)).unwrap();
    std::fs::create_dir_all(to(&sandbox, "")).unwrap();
    std::fs::hard_link(&outside, to(&sandbox, "a")).unwrap();
    std::fs::hard_link(&outside, to(&sandbox, "b")).unwrap();
    restore(&sandbox, &["--overwrite", "--in-place"]).ok();
    assert_eq!(std::fs::read(&outside).unwrap(), vec![7; 2 * MIB]);
    assert_eq!(outside.metadata().unwrap().mode() & 0o777, 0o604);
    assert_same_trees(&sandbox.path("out/to"), &sandbox.source());
    // The right bytes, but other attributes, and one with a file elsewhere.
    std::fs::remove_file(&outside).unwrap();
    std::fs::hard_link(to(&sandbox, "a"), &outside).unwrap();
    std::fs::set_permissions(&outside, PermissionsExt::from_mode(0o604)).unwrap();
    restore(&sandbox, &[]).ok();
    assert_eq!(outside.metadata().unwrap().mode() & 0o777, 0o604);
    assert_same_trees(&sandbox.path("out/to"), &sandbox.source());
}

#[test]
fn what_is_damaged_is_named_and_written_only_to_be_salvaged() {
    let Some((sandbox, repository)) = archived(|dir| {
        std::fs::write(dir.join("large"), Random::new(3).bytes(4 * MIB)).unwrap();
        std::fs::write(dir.join("right"), "right").unwrap();
    }) else {
        return;
    };
    crate::device::damage(&repository);
    let run = restore(&sandbox, &[]).run();
    assert_eq!((run.code(), restored(&run, "missing")), (Some(3), 1), "{run}");
    assert!(!to(&sandbox, "large").exists() && to(&sandbox, "right").exists());
    let damaged = |run: &Run| {
        let file = told(run)["damaged"][0].clone();
        assert_eq!(file["path"], "d/large", "{run}");
        let range = &file["ranges"][0];
        range[0].as_u64().unwrap() as usize..range[1].as_u64().unwrap() as usize
    };
    let lost = damaged(&run);
    let run = restore(&sandbox, &["--salvage"]).run();
    assert_eq!((run.code(), restored(&run, "missing")), (Some(3), 0), "{run}");
    assert_eq!(damaged(&run), lost);
    let mut expected = std::fs::read(source(&sandbox, "large")).unwrap();
    expected[lost.clone()].fill(0);
    assert!(std::fs::read(to(&sandbox, "large")).unwrap() == expected);
    // After borg's own repair the same ranges are known.
    let repair = repository.borg(&sandbox, "check --repair").env("BORG_CHECK_I_KNOW_WHAT_I_AM_DOING", "YES");
    repair.run();
    std::fs::remove_dir_all(sandbox.path("out/to")).unwrap();
    let run = restore(&sandbox, &[]).run();
    assert_eq!(run.code(), Some(3), "{run}");
    assert!(!to(&sandbox, "large").exists() && to(&sandbox, "right").exists(), "{run}");
    let run = restore(&sandbox, &["--salvage"]).run();
    assert_eq!((run.code(), damaged(&run)), (Some(3), lost), "{run}");
    assert!(std::fs::read(to(&sandbox, "large")).unwrap() == expected);
}

#[test]
fn a_full_disk_ends_it_and_with_room_it_goes_on() {
    if !available(&[Need::Root]) {
        return;
    }
    let Some((sandbox, _repository)) = archived(|dir| {
        for n in 0..40 {
            std::fs::write(dir.join(n.to_string()), Random::new(n).bytes(300_000)).unwrap();
        }
    }) else {
        return;
    };
    let dir = sandbox.path("out/to");
    std::fs::create_dir(&dir).unwrap();
    Program::new("mount").args(["-t", "tmpfs", "-o", "size=6M", "tmpfs"]).arg(&dir).ok();
    let _unmount = Unmount(dir.clone());
    let said = restore(&sandbox, &[]).fails();
    assert!(
        said.contains("No space left") && said.contains("make room") && said.contains("goes on"),
        "{said}"
    );
    Program::new("mount").args(["-o", "remount,size=100M"]).arg(&dir).ok();
    let run = restore(&sandbox, &[]).ok();
    assert!(restored(&run, "fetched") < 10_000_000, "{run}");
    assert_same_trees(&dir.join("d"), &sandbox.source().join("d"));
}

#[test]
fn links_devices_and_names_alone_go_into_directories() {
    let Some((sandbox, _repository)) = archived(|dir| symlink("nowhere", dir.join("link")).unwrap()) else {
        return;
    };
    let out = sandbox.path("out/new");
    let said = sandbox.offsite("restore").args([ARCHIVE, "d/link", "--to"]).arg(&out).fails();
    assert!(said.contains("goes into a directory only"), "{said}");
    let slash = format!("{}/", out.display());
    sandbox.offsite("restore").args([ARCHIVE, "d/link", "--to", &slash]).ok();
    assert_eq!(std::fs::read_link(out.join("d/link")).unwrap(), Path::new("nowhere"));
}
