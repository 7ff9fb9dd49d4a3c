//! Directories of other programs in the place of a repository.

use std::path::Path;

use crate::support::{Console, with_directory};

/// Every command of ours that opens a repository, and one that borg does.
const COMMANDS: [&[&str]; 7] = [
    &["list"],
    &["create"],
    &["mount", "::latest", "mnt"],
    &["restore", "::latest", "x", "--to", "restored"],
    &["verify", "::latest"],
    &["attach", "::latest", "x"],
    &["info", "::latest"],
];

#[track_caller]
fn each_command_says(fill: impl FnOnce(&Path), what: &str) {
    let machine = with_directory();
    fill(&machine.repository());
    for command in COMMANDS {
        let output = machine.ours(command).run();
        let said = machine.text(&output.stderr);
        assert_eq!(output.code(), Some(2), "{command:?}: {said}");
        assert!(said.contains(what), "{command:?}: {said}");
        assert!(said.lines().count() > 1 && !said.contains("Traceback"), "{command:?}: {said}");
    }
}

fn dirs(dir: &Path, names: &[&str]) {
    names.iter().for_each(|name| std::fs::create_dir_all(dir.join(name)).unwrap());
}

#[test]
fn a_repository_of_borg_2_is_said_to_be_one() {
    each_command_says(|dir| dirs(dir, &["config", "archives", "keys", "data"]), "is a repository of borg 2");
}

#[test]
fn a_repository_of_restic_is_said_to_be_one() {
    let restic = |dir: &Path| {
        dirs(dir, &["data", "index", "keys", "locks", "snapshots"]);
        std::fs::write(dir.join("config"), [0xff, 0xfe, 0, 1]).unwrap();
    };
    each_command_says(restic, "is a repository of restic");
}

#[test]
fn a_repository_of_attic_is_said_to_be_one() {
    let attic = |dir: &Path| {
        dirs(dir, &["data"]);
        std::fs::write(dir.join("README"), "This is an Attic repository\n").unwrap();
        std::fs::write(dir.join("config"), "[repository]\nversion = 1\n").unwrap();
    };
    each_command_says(attic, "is a repository of Attic");
}
