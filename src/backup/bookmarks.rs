//! The bookmark that each archive leaves on each of its datasets. It takes no space, and ZFS can
//! later tell what was written since. It is removed together with its archive.

use super::plan::Plan;
use super::snapshot_set::SnapshotSet;
use crate::error::Result;
use crate::tools::zfs::{self, Mark};

const PREFIX: &str = "borg-offsite-backup";

/// A short tag of a repository, which distinguishes its bookmarks from those of others.
pub fn repository_tag(repository: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, repository);
    digest.as_ref().iter().take(4).map(|byte| format!("{byte:02x}")).collect()
}

/// Bookmarks the snapshots of `set` for `archive`. `before` are all existing bookmarks.
///
/// # Errors
/// When ZFS refuses one; others may then be missing, too.
pub fn make(set: &SnapshotSet, plan: &Plan, tag: &str, archive: &str, before: &[Mark]) -> Result<()> {
    for dataset in plan.datasets() {
        let name = format!("{}#{}", dataset.name, suffix(tag, archive));
        if before.iter().any(|mark| mark.name == name) {
            zfs::destroy(&name)?;
        }
        zfs::bookmark(&set.snapshot_of(&dataset.name), &name)?;
    }
    Ok(())
}

/// Removes the bookmarks of archives of this repository that do not exist according to `exists`.
///
/// # Errors
/// The first bookmark that cannot be removed.
pub fn prune(tag: &str, all: &[Mark], exists: impl Fn(&str) -> bool) -> Result<()> {
    let gone = all.iter().filter(|mark| archive_of(&mark.name, tag).is_some_and(|archive| !exists(archive)));
    gone.map(|mark| zfs::destroy(&mark.name)).fold(Ok(()), Result::and)
}

fn suffix(tag: &str, archive: &str) -> String {
    format!("{PREFIX}-{tag}-{archive}")
}

/// The archive of a bookmark, if it belongs to the repository with this `tag`.
fn archive_of<'a>(bookmark: &'a str, tag: &str) -> Option<&'a str> {
    let (_, name) = bookmark.split_once('#')?;
    name.strip_prefix(PREFIX)?.strip_prefix('-')?.strip_prefix(tag)?.strip_prefix('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bookmark_is_known_by_its_repository_and_archive() {
        let tag = repository_tag(b"/srv/backup");
        let name = format!("tank/a b#{}", suffix(&tag, "2026-11-24"));
        assert_eq!(archive_of(&name, &tag), Some("2026-11-24"));
        assert_eq!(archive_of(&name, &repository_tag(b"/srv/other")), None);
        for foreign in ["tank/a#2026-11-24", "tank/a#borg-offsite-backup-", "tank/a"] {
            assert_eq!(archive_of(foreign, &tag), None, "{foreign}");
        }
    }
}
