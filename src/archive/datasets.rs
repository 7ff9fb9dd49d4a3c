//! The description of an archive's ZFS datasets, so that they can be made again: a JSON file beside
//! the volumes, [`DATASET_LIST`](super::volumes::DATASET_LIST).

use borg_repository::ItemPath;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// The highest version that we can read.
const VERSION: u32 = 1;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Datasets {
    version: u32,
    /// The program that made it.
    tool: String,
    archive: String,
    /// The id of the run.
    run: String,
    pub datasets: Vec<Described>,
}

/// A dataset at the moment of the archive. Sizes are in bytes, times in seconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Described {
    /// `tank/qubes/work/private`
    pub name: String,
    /// `filesystem` or `volume`.
    #[serde(rename = "type")]
    pub kind: String,
    pub guid: u64,
    pub createtxg: u64,
    pub compression: String,
    /// The path in the archive.
    pub path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volsize: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volblocksize: Option<u64>,
    pub snapshot: Snapshot,
}

/// The snapshot from which the dataset was read. Bookmarks of it have the same guid.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    pub name: String,
    pub guid: u64,
    pub createtxg: u64,
    pub creation: u64,
}

impl Datasets {
    pub fn new(archive: &str, run: &str, datasets: Vec<Described>) -> Self {
        let tool = concat!(env!("CARGO_PKG_NAME"), " ", env!("CARGO_PKG_VERSION")).to_owned();
        Datasets { version: VERSION, tool, archive: archive.to_owned(), run: run.to_owned(), datasets }
    }

    /// # Errors
    /// None that a caller can provoke.
    pub fn to_json(&self) -> Result<Vec<u8>> {
        serde_json::to_vec_pretty(self)
            .map_err(|e| Error::failed("cannot write the list of the datasets").because(e))
    }

    /// # Errors
    /// When the bytes are not such a list, or come from a later version of this program.
    pub fn from_json(json: &[u8]) -> Result<Self> {
        let to_error = || Error::failed("cannot read what the archive says of its datasets");
        let datasets: Datasets = serde_json::from_slice(json).map_err(|e| to_error().because(e))?;
        match datasets.version {
            ..=VERSION => Ok(datasets),
            newer => Err(to_error()
                .because(format!("it is of version {newer}, made by {}", datasets.tool))
                .hint("a newer version of this program can read it")),
        }
    }

    /// The dataset of the volume that the archive has at `path`.
    pub fn volume(&self, path: &ItemPath) -> Option<&Described> {
        let is_it = |d: &&Described| d.kind == "volume" && d.path.as_bytes() == path.as_bytes();
        self.datasets.iter().find(is_it)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn volume() -> Described {
        Described {
            name: "tank/v".into(),
            kind: "volume".into(),
            guid: u64::MAX,
            createtxg: 7,
            compression: "lz4".into(),
            path: "dev/zvol/tank/v".into(),
            volsize: Some(1 << 30),
            volblocksize: Some(16384),
            snapshot: Snapshot { name: "tank/v@x".into(), guid: 1 << 63, createtxg: 9, creation: 1764000000 },
        }
    }

    #[test]
    fn what_is_written_can_be_read() {
        let file_system = Described {
            kind: "filesystem".into(),
            path: "dev/zvol/tank/f".into(),
            volsize: None,
            volblocksize: None,
            ..volume()
        };
        let datasets = Datasets::new("2026-11-24", "run", vec![file_system, volume()]);
        let json = datasets.to_json().unwrap();
        let read = Datasets::from_json(&json).unwrap();
        assert_eq!(read, datasets);
        assert_eq!(read.volume(&ItemPath::new(b"dev/zvol/tank/v").unwrap()), Some(&volume()));
        assert_eq!(read.volume(&ItemPath::new(b"dev/zvol/tank/f").unwrap()), None);
    }

    #[test]
    fn what_a_newer_version_wrote_is_not_guessed_at() {
        let json =
            br#"{"version": 2, "tool": "borg-offsite-backup 9", "archive": "", "run": "", "datasets": []}"#;
        let error = Datasets::from_json(json).unwrap_err().chain();
        assert!(error.contains("version 2, made by borg-offsite-backup 9"), "{error}");
        assert!(Datasets::from_json(b"{}").is_err());
    }
}
