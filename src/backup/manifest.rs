//! What an archive says of its datasets, so that a later restore can make them again: a JSON file
//! beside the volumes.

use serde::Serialize;

use super::moment::Moment;
use super::plan::{Plan, Source};
use crate::error::{Error, Result};
use crate::tools::zfs::{Dataset, DatasetKind};

/// Its name in `dev/zvol`. No pool can have it.
pub const FILE: &str = ".borg-offsite-backup.json";

#[derive(Serialize)]
struct Manifest<'a> {
    version: u32,
    tool: &'static str,
    archive: &'a str,
    run: &'a str,
    datasets: Vec<Described<'a>>,
}

/// Sizes in bytes, times in seconds since 1970.
#[derive(Serialize)]
struct Described<'a> {
    name: &'a str,
    #[serde(rename = "type")]
    kind: &'static str,
    guid: u64,
    createtxg: u64,
    compression: &'a str,
    /// In the archive.
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    volsize: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    volblocksize: Option<u64>,
    snapshot: Snapshot<'a>,
}

#[derive(Serialize)]
struct Snapshot<'a> {
    name: &'a str,
    guid: u64,
    createtxg: u64,
    creation: u64,
}

/// The manifest of the archive `name`, as JSON.
///
/// # Errors
/// When a dataset of `plan` has no snapshot in `moment`.
pub fn manifest(plan: &Plan, moment: &Moment, name: &str) -> Result<Vec<u8>> {
    let mut datasets = Vec::new();
    for entry in &plan.entries {
        match &entry.source {
            Source::Live => {}
            Source::Filesystem(dataset) => datasets.push(describe(dataset, entry.path.to_string(), moment)?),
            Source::Volumes(volumes) => {
                for volume in volumes {
                    datasets.push(describe(volume, format!("{}/{}", entry.path, volume.name), moment)?);
                }
            }
        }
    }
    let tool = concat!(env!("CARGO_PKG_NAME"), " ", env!("CARGO_PKG_VERSION"));
    let manifest = Manifest { version: 1, tool, archive: name, run: moment.run_id(), datasets };
    serde_json::to_vec_pretty(&manifest)
        .map_err(|e| Error::failed("cannot write the manifest of the datasets").because(e))
}

fn describe<'a>(dataset: &'a Dataset, path: String, moment: &'a Moment) -> Result<Described<'a>> {
    let mark = moment.mark(&dataset.name)?;
    let (kind, volblocksize) = match dataset.kind {
        DatasetKind::Filesystem { .. } => ("filesystem", None),
        DatasetKind::Volume { block_size, .. } => ("volume", Some(block_size)),
    };
    Ok(Described {
        name: &dataset.name,
        kind,
        guid: dataset.guid,
        createtxg: dataset.createtxg,
        compression: &dataset.compression,
        path,
        volsize: mark.volsize,
        volblocksize,
        snapshot: Snapshot {
            name: &mark.name,
            guid: mark.guid,
            createtxg: mark.createtxg,
            creation: mark.creation,
        },
    })
}
