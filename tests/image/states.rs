//! Random trees in directories that are in random states: the result equals the archive, and nothing else is touched.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::common::{ARCHIVE, DAY, Flavour, Machine, Program, Random, Repository, assert_same_trees};
use crate::device::{number, told};

/// A tree of directories, files of some sizes, links of both kinds, and holes.
fn make_tree(dir: &Path, random: &mut Random, entries: u64) {
    let mut directories = vec![dir.to_owned()];
    let mut files: Vec<PathBuf> = Vec::new();
    for n in 0..entries {
        let parent = directories[random.below(directories.len() as u64) as usize].clone();
        let path = parent.join(format!("{n} \u{e4}"));
        match random.below(10) {
            0 | 1 => {
                std::fs::create_dir(&path).unwrap();
                directories.push(path);
                continue;
            }
            2 => symlink(format!("../{n}"), &path).unwrap(),
            3 if !files.is_empty() => {
                std::fs::hard_link(&files[random.below(files.len() as u64) as usize], &path).unwrap();
            }
            4 => {
                let file = std::fs::File::create(&path).unwrap();
                file.set_len(random.below(3 << 20)).unwrap();
                files.push(path.clone());
            }
            5 => {
                let size = random.below(3 << 20) as usize;
                std::fs::write(&path, random.bytes(size)).unwrap();
                files.push(path.clone());
            }
            _ => {
                let size = random.below(20_000) as usize;
                std::fs::write(&path, random.bytes(size)).unwrap();
                files.push(path.clone());
            }
        }
        if !path.is_symlink() {
            let mode = [0o600, 0o644, 0o755, 0o4711, 0o000][random.below(5) as usize];
            std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
        }
    }
}

/// All that is in a directory, the upper ones first.
fn all(dir: &Path) -> Vec<PathBuf> {
    let mut open = vec![dir.to_owned()];
    let mut found = Vec::new();
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(&dir).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_dir() {
                open.push(entry.path());
            }
            found.push(entry.path());
        }
    }
    found.sort();
    found
}

/// Changes some of what is there; returns what was added.
fn disturb(dir: &Path, random: &mut Random) -> Vec<PathBuf> {
    let mut added = Vec::new();
    for path in all(dir) {
        let Ok(meta) = path.symlink_metadata() else { continue };
        match random.below(14) {
            0 if !meta.is_dir() => std::fs::remove_file(&path).unwrap(),
            1 if meta.is_file() => std::fs::write(&path, random.bytes(1000)).unwrap(),
            2 if meta.is_file() && meta.len() > 10 => {
                use std::os::unix::fs::FileExt;
                let file = std::fs::File::options().write(true).open(&path).unwrap();
                file.write_all_at(b"x", random.below(meta.len())).unwrap();
            }
            3 if meta.is_file() => {
                std::fs::File::options().append(true).open(&path).unwrap().set_len(meta.len() + 7).unwrap();
            }
            4 if !meta.is_symlink() => {
                std::fs::set_permissions(&path, PermissionsExt::from_mode(0o711)).unwrap();
            }
            5 if !meta.is_dir() => {
                std::fs::remove_file(&path).unwrap();
                symlink("/etc/passwd", &path).unwrap();
            }
            6 if meta.is_dir() => {
                let new = path.join("added");
                std::fs::create_dir(&new).unwrap();
                std::fs::write(new.join("file"), "added").unwrap();
                added.push(new);
            }
            7 if meta.is_dir() => {
                std::fs::write(path.join("more"), "added").unwrap();
                added.push(path.join("more"));
            }
            8 if meta.is_file() => {
                // One file with another one that it is not one with in the archive.
                std::fs::remove_file(&path).unwrap();
                if let Some(other) = all(dir).into_iter().find(|p| p.symlink_metadata().unwrap().is_file()) {
                    std::fs::hard_link(other, &path).unwrap();
                }
            }
            _ => {}
        }
    }
    added
}

#[test]
fn random_trees_in_random_states_become_what_the_archive_has() {
    let Some(flavour) = Flavour::any() else { return };
    for seed in 0..10 {
        let mut random = Random::new(100 + seed);
        let machine = Machine::new(flavour);
        let tree = machine.source().join("tree");
        std::fs::create_dir(&tree).unwrap();
        make_tree(&tree, &mut random, 150);
        let repository = Repository::init(&machine, "repokey-blake2");
        repository.create(&machine, DAY);
        let expected = repository.extract(&machine, DAY, &["--sparse"]);
        let to = machine.path("out/to");
        if seed > 0 {
            std::fs::create_dir(&to).unwrap();
            Program::new("cp").args(["-a", "--"]).arg(expected.join("tree")).arg(&to).ok();
        }
        std::fs::create_dir_all(&to).unwrap();
        std::fs::write(to.join("beside"), "untouched").unwrap();
        let added = if seed > 0 { disturb(&to.join("tree"), &mut random) } else { Vec::new() };
        let deletes = random.below(2) == 0;
        let mut options = vec!["tree", "--overwrite", "--json"];
        options.extend(if deletes { &["--delete", "--yes"][..] } else { &[] });
        options.extend(if random.below(3) == 0 { &["--in-place"][..] } else { &[] });
        let start = || machine.offsite(["restore"]).arg(ARCHIVE).args(&options).arg("--to").arg(&to);
        for _ in 0..random.below(3) {
            let mut child = start().spawn();
            std::thread::sleep(Duration::from_millis(random.below(400)));
            let _ = child.kill();
            let _ = child.wait();
        }
        start().ok();
        for path in &added {
            assert!(path.exists() != deletes, "seed {seed}: {}", path.display());
            let _ = std::fs::remove_dir_all(path);
            let _ = std::fs::remove_file(path);
        }
        let run = start().ok();
        let restored = &told(&run)["restored"];
        assert_eq!((number(restored, "fetched_chunks"), number(restored, "written")), (0, 0), "{run}");
        assert_eq!(std::fs::read_to_string(to.join("beside")).unwrap(), "untouched");
        std::fs::remove_file(to.join("beside")).unwrap();
        assert_same_trees(&to, &expected);
    }
}

#[test]
fn a_restore_that_is_killed_again_and_again_goes_on_and_fetches_nothing_twice() {
    const FILES: u64 = 20_000;
    const KILLS: u64 = 50;
    let Some(flavour) = Flavour::any() else { return };
    let mut random = Random::new(7);
    let machine = Machine::new(flavour);
    for n in 0..FILES {
        let dir = machine.source().join(format!("tree/{}", n / 200));
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join(n.to_string()), random.bytes(200)).unwrap();
    }
    let repository = Repository::init(&machine, "repokey-blake2");
    repository.create(&machine, DAY);
    let to = machine.path("out/to");
    let start = || machine.offsite(["restore"]).args([ARCHIVE, "tree", "--json", "--to"]).arg(&to);
    let mut whole = 0;
    for _ in 0..KILLS {
        let mut child = start().spawn();
        std::thread::sleep(Duration::from_millis(random.below(60)));
        let _ = child.kill();
        let _ = child.wait();
        if to.exists() {
            let is_whole = |path: &PathBuf| {
                path.is_file()
                    && std::fs::read(path).unwrap() == std::fs::read(same(&machine, &to, path)).unwrap()
            };
            let now = all(&to).iter().filter(|path| is_whole(path)).count() as u64;
            assert!(now >= whole, "files were lost: {now} of {whole}");
            whole = now;
        }
    }
    let run = start().ok();
    let fetched = number(&told(&run)["restored"], "fetched_chunks");
    assert!(fetched <= FILES - whole, "{fetched} were fetched, {whole} were right: {run}");
    assert_same_trees(&to, &machine.source());
    let run = start().ok();
    assert_eq!(number(&told(&run)["restored"], "fetched_chunks"), 0, "{run}");
    eprintln!("{whole} of {FILES} files were whole after {KILLS} kills");
}

/// The file of the source that `path` is to be.
fn same(machine: &Machine, to: &Path, path: &Path) -> PathBuf {
    machine.source().join(path.strip_prefix(to).unwrap())
}
