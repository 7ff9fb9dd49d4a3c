//! Mounts that are refused, and what is said.

use std::path::Path;

use crate::common::mounted::is_mounted;
use crate::common::{Flavour, Mounted, Need, Repository, Sandbox, available};
use crate::scene::{ARCHIVE, archived};

fn scene() -> Option<(Sandbox, Repository)> {
    if !available(&[Need::Fuse]) {
        return None;
    }
    Flavour::any().map(|flavour| archived(flavour, |s| std::fs::write(s.join("file"), b"content").unwrap()))
}

/// What is said when mounting `archive` on `dir` is refused; nothing is mounted then.
fn refusal(sandbox: &Sandbox, archive: &str, dir: &Path) -> String {
    let run = Mounted::command(sandbox, archive, dir, &[]).run();
    let mounted = is_mounted(dir).then(|| Mounted::at(dir.to_owned()));
    assert!(mounted.is_none(), "it is mounted");
    assert!(run.code().is_some_and(|code| code > 0), "{run}");
    run.stderr()
}

#[test]
fn a_missing_archive_is_told_with_its_neighbours() {
    let Some((sandbox, repository)) = scene() else { return };
    repository.create(&sandbox, "2026-03-16");
    let said = refusal(&sandbox, "::2026-03-15", &sandbox.mount_point());
    let expected = format!(
        "error: there is no archive 2026-03-15 in {}\n  the nearest are 2026-03-14 and 2026-03-16\n",
        repository.dir().display()
    );
    assert!(said.starts_with(&expected), "{said}");
}

#[test]
fn a_mount_point_that_is_not_there_is_refused() {
    let Some((sandbox, _repository)) = scene() else { return };
    let dir = sandbox.path("no such folder");
    let said = refusal(&sandbox, ARCHIVE, &dir);
    assert!(said.contains(dir.to_str().unwrap()), "{said}");
}

#[test]
fn a_mount_point_that_is_not_empty_is_refused() {
    let Some((sandbox, _repository)) = scene() else { return };
    std::fs::write(sandbox.mount_point().join("precious"), b"").unwrap();
    let said = refusal(&sandbox, ARCHIVE, &sandbox.mount_point());
    assert!(said.contains("not empty"), "{said}");
}

#[test]
fn a_mount_point_that_is_a_file_is_refused() {
    let Some((sandbox, _repository)) = scene() else { return };
    let file = sandbox.source().join("file");
    refusal(&sandbox, ARCHIVE, &file);
}

#[test]
fn a_mount_point_inside_the_repository_is_refused() {
    let Some((sandbox, repository)) = scene() else { return };
    let dir = repository.dir().join("data/mnt");
    std::fs::create_dir(&dir).unwrap();
    let said = refusal(&sandbox, ARCHIVE, &dir);
    assert!(said.contains("inside the repository"), "{said}");
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
    let Some((sandbox, repository)) = scene() else { return };
    if sandbox.flavour() != Flavour::V14 {
        return;
    }
    let python = Flavour::V14.dir().join("python");
    sandbox.program(python).args(["-c", NEWER]).arg(repository.dir()).ok();
    let said = refusal(&sandbox, ARCHIVE, &sandbox.mount_point());
    assert!(said.contains("was written by a newer borg") && said.contains("time travel"), "{said}");
}

#[test]
fn an_archive_with_a_wrong_signature_is_refused_unless_the_user_knows_why_it_is_wrong() {
    let Some((sandbox, repository)) = scene() else { return };
    let old = Flavour::V12.dir().join("borg");
    if sandbox.flavour() != Flavour::V14 || !old.exists() {
        return;
    }
    // borg 1.2.4 signs the old name.
    sandbox.program(old).env("BORG_REPO", repository.dir()).args(["rename", ARCHIVE, "2026-03-15"]).ok();
    let said = refusal(&sandbox, "::2026-03-15", &sandbox.mount_point());
    assert!(said.contains("the archive's metadata is not authentic"), "{said}");
    assert!(said.contains("BORG_WORKAROUNDS=ignore_invalid_archive_tam"), "{said}");
    Mounted::command(&sandbox, "::2026-03-15", &sandbox.mount_point(), &[])
        .env("BORG_WORKAROUNDS", "ignore_invalid_archive_tam")
        .ok();
    let mounted = Mounted::at(sandbox.mount_point());
    assert_eq!(std::fs::read(mounted.path("file")).unwrap(), b"content");
}
