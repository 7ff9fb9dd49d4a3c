//! A complete archive, as borg describes it.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What borg counted; sizes are in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statistics {
    /// Everything that was read or found unchanged.
    pub original_size: u64,
    /// The same, compressed.
    pub compressed_size: u64,
    /// New data in the repository.
    pub deduplicated_size: u64,
    /// Regular files.
    #[serde(rename = "nfiles")]
    pub files: u64,
}

impl Statistics {
    /// The members of JSON objects that describe an archive; null if `statistics` are unknown.
    pub(super) fn members(statistics: Option<Statistics>) -> impl Iterator<Item = (String, Value)> {
        let names = ["original_size", "compressed_size", "deduplicated_size", "files"];
        let figures = statistics.map(|s| [s.original_size, s.compressed_size, s.deduplicated_size, s.files]);
        let member = move |(n, name): (usize, &str)| (name.to_owned(), figures.map(|all| all[n]).into());
        names.into_iter().enumerate().map(member)
    }
}

/// A complete archive.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Archived {
    /// 64 hex digits.
    pub id: String,
    /// The start in UTC, as in `borg list`.
    pub start: String,
    /// When it was complete, ...
    pub end: String,
    /// ... and when the repository changed with it.
    pub modified: String,
    /// `None` if borg made the archive, and failed before it printed them.
    pub statistics: Option<Statistics>,
    pub warnings: Warnings,
    /// The number of directories that a CACHEDIR.TAG kept out.
    pub caches: u64,
}

impl Archived {
    /// The description of an archive that was made again as `again`, without reports of events.
    pub fn known_as(self, again: Archived) -> Archived {
        let Archived { statistics, warnings, caches, .. } = self;
        Archived { statistics, warnings, caches, ..again }
    }
}

/// The changes to the archives of a day.
#[derive(Debug, Default)]
pub struct Placed {
    /// The name of the new archive.
    pub name: String,
    /// The archive that could not be replaced; the new one has a name of its own.
    pub kept: Option<String>,
    /// The name that the archive should have, but does not.
    pub misnamed: Option<String>,
    /// Archives that were deleted to make room.
    pub deleted: Vec<String>,
    /// How long it took; zero if it failed.
    pub took: Duration,
}

/// The number of borg's warnings about an archive.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Warnings {
    pub all: u64,
    /// Of these, files that changed while they were read.
    pub changed: u64,
    /// Of these, files that could not be read, and are therefore missing in the archive.
    pub unread: u64,
}

impl Warnings {
    pub fn max(self, other: Warnings) -> Warnings {
        Warnings {
            all: self.all.max(other.all),
            changed: self.changed.max(other.changed),
            unread: self.unread.max(other.unread),
        }
    }
}

#[derive(Deserialize)]
pub struct Made {
    pub id: String,
    pub start: String,
    pub end: String,
    /// Only `info` returns it.
    #[serde(default)]
    pub comment: String,
    pub stats: Statistics,
}

#[derive(Deserialize)]
struct Repository {
    last_modified: String,
}

/// The result of `create --json`: the archive, and when the repository changed with it.
pub fn parse_made(json: &[u8]) -> serde_json::Result<(Made, String)> {
    #[derive(Deserialize)]
    struct Report {
        archive: Made,
        repository: Repository,
    }
    let report: Report = serde_json::from_slice(json)?;
    Ok((report.archive, report.repository.last_modified))
}

/// The same from `info --json` of one archive.
pub fn parse_found(json: &[u8]) -> serde_json::Result<(Made, String)> {
    #[derive(Deserialize)]
    struct Report {
        archives: [Made; 1],
        repository: Repository,
    }
    let Report { archives: [made], repository } = serde_json::from_slice(json)?;
    Ok((made, repository.last_modified))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figures_are_taken_from_borgs_json() {
        let json = br#"{"archive": {"command_line": ["borg"], "duration": 0.004, "end": "2026-11-24T07:21:38.000000", "id": "00ff", "name": "x",
            "start": "2026-11-24T07:21:37.000000", "stats": {"compressed_size": 3, "deduplicated_size": 2,
            "nfiles": 4, "original_size": 608}}, "cache": {}, "encryption": {"mode": "none"},
            "repository": {"id": "ff", "last_modified": "2026-11-24T07:21:39.000000", "location": "/r"}}"#;
        let (made, modified) = parse_made(json).unwrap();
        assert_eq!(modified, "2026-11-24T07:21:39.000000");
        assert_eq!(made.start, "2026-11-24T07:21:37.000000");
        let expected = Statistics { original_size: 608, compressed_size: 3, deduplicated_size: 2, files: 4 };
        assert_eq!(made.stats, expected);
    }

    #[test]
    fn nothing_on_stdout_is_no_archive() {
        assert!(parse_made(b"").is_err());
    }
}
