//! Mounts that are refused, and what is said.

use crate::common::mounted::is_mounted;
use crate::common::{Flavour, Mounted, Need, Repository, Sandbox, available};
use crate::scene::{ARCHIVE, archived};

fn scene() -> Option<(Sandbox, Repository)> {
    if !available(&[Need::Fuse]) {
        return None;
    }
    Flavour::any().map(|flavour| archived(flavour, |s| std::fs::write(s.join("file"), b"content").unwrap()))
}

#[test]
fn a_missing_archive_is_told_with_its_neighbours() {
    let Some((sandbox, repository)) = scene() else { return };
    repository.create(&sandbox, "2026-03-16");
    let said = Mounted::command(&sandbox, "::2026-03-15", &sandbox.mount_point(), &[]).fails();
    let expected = format!(
        "error: there is no archive 2026-03-15 in {}\n  the nearest are 2026-03-14 and 2026-03-16\n",
        repository.dir().display()
    );
    assert!(said.starts_with(&expected), "{said}");
    assert!(!is_mounted(&sandbox.mount_point()));
}

#[test]
fn a_mount_point_that_is_not_there_is_refused() {
    let Some((sandbox, _repository)) = scene() else { return };
    let dir = sandbox.path("no such folder");
    let said = Mounted::command(&sandbox, ARCHIVE, &dir, &[]).fails();
    assert!(said.contains(dir.to_str().unwrap()), "{said}");
}

#[test]
fn a_mount_point_that_is_not_empty_is_refused() {
    let Some((sandbox, _repository)) = scene() else { return };
    std::fs::write(sandbox.mount_point().join("precious"), b"").unwrap();
    let said = Mounted::command(&sandbox, ARCHIVE, &sandbox.mount_point(), &[]).fails();
    assert!(said.contains("not empty"), "{said}");
    assert!(!is_mounted(&sandbox.mount_point()));
}

#[test]
fn a_mount_point_that_is_a_file_is_refused() {
    let Some((sandbox, _repository)) = scene() else { return };
    let file = sandbox.source().join("file");
    Mounted::command(&sandbox, ARCHIVE, &file, &[]).fails();
    assert!(!is_mounted(&file));
}

#[test]
fn a_mount_point_inside_the_repository_is_refused() {
    let Some((sandbox, repository)) = scene() else { return };
    let dir = repository.dir().join("data/mnt");
    std::fs::create_dir(&dir).unwrap();
    let said = Mounted::command(&sandbox, ARCHIVE, &dir, &[]).fails();
    assert!(said.contains("inside the repository"), "{said}");
    assert!(!is_mounted(&dir));
    std::fs::remove_dir(dir).unwrap();
}
