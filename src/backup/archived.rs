//! An archive that stands, as borg describes it.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What borg counted; sizes in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statistics {
    /// Of all that was looked at.
    pub original_size: u64,
    /// Of the same, compressed.
    pub compressed_size: u64,
    /// What came new into the repository.
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

/// An archive that stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Archived {
    /// 64 hex digits.
    pub id: String,
    /// When it was started, in UTC, as in `borg list`.
    pub start: String,
    /// When it was complete, ...
    pub end: String,
    /// ... and the repository changed with it.
    pub modified: String,
    /// `None`: borg made it, and failed before it printed them.
    pub statistics: Option<Statistics>,
    pub warnings: Warnings,
    /// Directories that a CACHEDIR.TAG keeps out.
    pub caches: u64,
}

impl Archived {
    /// What was made again as `again`, which was read without a word of what happened.
    pub fn known_as(self, again: Archived) -> Archived {
        let Archived { statistics, warnings, caches, .. } = self;
        Archived { statistics, warnings, caches, ..again }
    }
}

/// What became of the archives of a day.
#[derive(Debug, Default)]
pub struct Placed {
    /// The new archive's.
    pub name: String,
    /// The archive that could not be replaced; the new one has a name of its own.
    pub kept: Option<String>,
    /// The name that the archive should have, and has not.
    pub misnamed: Option<String>,
    /// Archives that had to make room.
    pub deleted: Vec<String>,
    /// How long all of it took; zero when it failed.
    pub took: Duration,
}

/// How often borg warned while it made an archive.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Warnings {
    pub all: u64,
    /// Those of `all` that say that a file changed while it was read.
    pub changed: u64,
    /// Those that say that something could not be read, and is therefore not in the archive.
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
    /// Told by `info` alone.
    #[serde(default)]
    pub comment: String,
    pub stats: Statistics,
}

#[derive(Deserialize)]
struct Repository {
    last_modified: String,
}

/// Of `create --json`: the archive, and when the repository changed with it.
pub fn parse_made(json: &[u8]) -> serde_json::Result<(Made, String)> {
    #[derive(Deserialize)]
    struct Report {
        archive: Made,
        repository: Repository,
    }
    let report: Report = serde_json::from_slice(json)?;
    Ok((report.archive, report.repository.last_modified))
}

/// The same of `info --json` of one archive.
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
