//! The names of what our runs make in ZFS: snapshots, clones, and the container of the clones.

use chrono::Local;

use crate::archive::name::as_date;

/// The file system in each pool that holds the clones during a run.
pub const CONTAINER: &str = ".borg-offsite-backup";
/// The prefix of our snapshots; the run's id follows.
pub const SNAPSHOT_PREFIX: &str = "borg-offsite-backup-";
/// The same for a restore, which needs the snapshot for seconds, and has no lock.
pub const RESTORE_PREFIX: &str = "borg-offsite-backup-restore-";

/// An id for a run that no other run on this machine has, in characters that ZFS allows.
pub fn run_id() -> String {
    format!("{}-{}", Local::now().format("%Y%m%dT%H%M%S%3f"), std::process::id())
}

/// Whether a run of ours may have made it. Its property must confirm this.
pub fn is_ours(name: &str) -> bool {
    is_staged(name) || name.split_once('@').is_some_and(|(_, snapshot)| snapshot.starts_with(SNAPSHOT_PREFIX))
}

/// Whether it is the container of clones, or a clone in it.
pub fn is_staged(name: &str) -> bool {
    !name.contains('@') && name.split('/').nth(1) == Some(CONTAINER)
}

/// `tank/home@borg-2026-11-24`
pub fn is_of_old_tool(name: &str) -> bool {
    let day = name.split_once('@').and_then(|(_, snapshot)| snapshot.strip_prefix("borg-"));
    day.is_some_and(|day| as_date(day).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_ours_are_ours() {
        for ours in
            ["tank/a b@borg-offsite-backup-x", "tank/.borg-offsite-backup", "tank/.borg-offsite-backup/1"]
        {
            assert!(is_ours(ours), "{ours}");
        }
        for foreign in
            ["tank/a@borg-2026-11-24", "tank", "tank/x/.borg-offsite-backup", "tank/.borg-offsite-backups"]
        {
            assert!(!is_ours(foreign), "{foreign}");
        }
    }

    #[test]
    fn the_old_tools_snapshots_are_known_by_a_real_date() {
        assert!(is_of_old_tool("tank/a@borg-2026-11-24"));
        for other in [
            "tank/a@borg-2026-13-24",
            "tank/a@borg-2026-11-24-x",
            "tank/a@2026-11-24",
            "tank/borg-2026-11-24",
        ] {
            assert!(!is_of_old_tool(other), "{other}");
        }
    }
}
