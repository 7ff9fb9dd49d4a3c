//! Mounts that are refused, and what is said.

use std::path::Path;

use crate::common::{ARCHIVE, Flavour, Machine, Mounted, Need, Repository, SOURCES, available, is_mounted};
use crate::scene::archived;

fn scene() -> Option<(Machine, Repository)> {
    if !available(&[Need::Fuse]) {
        return None;
    }
    Flavour::any().map(|flavour| archived(flavour, |s| std::fs::write(s.join("file"), b"content").unwrap()))
}

/// What is said when mounting `archive` on `dir` is refused, whatever the bytes should come from;
/// nothing is mounted then.
fn refusals(machine: &Machine, archive: &str, dir: &Path) -> Vec<String> {
    let refusal = |source| {
        let run = Mounted::command(machine, archive, dir, &["--source", source]).run();
        let mounted = is_mounted(dir).then(|| Mounted::at(dir.to_owned()));
        assert!(mounted.is_none(), "it is mounted");
        assert!(run.code().is_some_and(|code| code > 0), "{run}");
        run.stderr()
    };
    ["auto", "stream"].map(refusal).into()
}

/// Asserts that each of them contains all `parts`.
#[track_caller]
fn assert_say(said: &[String], parts: &[&str]) {
    for said in said {
        assert!(parts.iter().all(|part| said.contains(part)), "{said}");
    }
}

#[test]
fn a_missing_archive_is_told_with_its_neighbours() {
    let Some((machine, repository)) = scene() else { return };
    repository.create(&machine, "2026-03-16");
    let said = refusals(&machine, "::2026-03-15", &machine.mount_point());
    let expected = format!(
        "error: there is no archive 2026-03-15 in {} [not-found]\n  the nearest are 2026-03-14 and 2026-03-16\n",
        repository.dir().display()
    );
    assert!(said.iter().all(|said| said.starts_with(&expected)), "{said:?}");
}

#[test]
fn a_mount_point_that_is_not_there_is_refused() {
    let Some((machine, _repository)) = scene() else { return };
    let dir = machine.path("no such directory");
    let said = refusals(&machine, ARCHIVE, &dir);
    assert_say(&said, &[dir.to_str().unwrap()]);
}

#[test]
fn a_mount_point_that_is_not_empty_is_refused() {
    let Some((machine, _repository)) = scene() else { return };
    std::fs::write(machine.mount_point().join("precious"), b"").unwrap();
    let said = refusals(&machine, ARCHIVE, &machine.mount_point());
    assert_say(&said, &["not empty"]);
}

#[test]
fn a_mount_point_that_is_a_file_is_refused() {
    let Some((machine, _repository)) = scene() else { return };
    let file = machine.source().join("file");
    refusals(&machine, ARCHIVE, &file);
}

#[test]
fn a_mount_point_inside_the_repository_is_refused() {
    let Some((machine, repository)) = scene() else { return };
    let dir = repository.dir().join("data/mnt");
    std::fs::create_dir(&dir).unwrap();
    let said = refusals(&machine, ARCHIVE, &dir);
    assert_say(&said, &["inside the repository"]);
    std::fs::remove_dir(dir).unwrap();
}

/// Writes into the manifest that reading needs a feature that no borg of today has.
const NEWER: &str = r#"
import sys
from borg.helpers import Manifest
from borg.logger import setup_logging
from borg.repository import Repository
setup_logging()
with Repository(sys.argv[1], exclusive=True) as repository:
    manifest, key = Manifest.load(repository, Manifest.NO_OPERATION_CHECK)
    manifest.config[b"feature_flags"] = {b"read": {b"mandatory": [b"time travel"]}}
    manifest.write()
    repository.commit(compact=False)
"#;

#[test]
fn a_repository_of_a_newer_borg_is_refused_by_the_name_of_the_feature() {
    let Some((machine, repository)) = scene() else { return };
    if machine.flavour() != Flavour::V14 {
        return;
    }
    let python = Flavour::V14.dir().join("python");
    machine.program(python).args(["-c", NEWER]).arg(repository.dir()).ok();
    let said = refusals(&machine, ARCHIVE, &machine.mount_point());
    assert_say(&said, &["was written by a newer borg", "time travel"]);
}

#[test]
fn an_archive_with_a_wrong_signature_is_refused_unless_the_user_knows_why_it_is_wrong() {
    let Some((machine, repository)) = scene() else { return };
    let old = Flavour::V12.dir().join("borg");
    if machine.flavour() != Flavour::V14 || !old.exists() {
        return;
    }
    // borg 1.2.4 signs the old name.
    machine.program(old).env("BORG_REPO", repository.dir()).args(["rename", ARCHIVE, "2026-03-15"]).ok();
    let said = refusals(&machine, "::2026-03-15", &machine.mount_point());
    assert_say(&said, &["the archive's metadata is not authentic"]);
    assert_say(&said, &["BORG_WORKAROUNDS=ignore_invalid_archive_tam"]);
    assert!(!said[0].contains("streams"), "nothing but borg's streams would be left: {}", said[0]);
    for source in SOURCES {
        Mounted::command(&machine, "::2026-03-15", &machine.mount_point(), &["--source", source])
            .env("BORG_WORKAROUNDS", "ignore_invalid_archive_tam")
            .ok();
        let mounted = Mounted::at(machine.mount_point());
        assert_eq!(std::fs::read(mounted.path("file")).unwrap(), b"content");
        mounted.umount(&machine);
    }
    // Nothing was kept of it that would go round the signature.
    assert_eq!(refusals(&machine, "::2026-03-15", &machine.mount_point()), said);
}
