//! Makes the dataset list of a backup.

use super::plan::{Plan, PlanSource};
use super::snapshot_set::SnapshotSet;
use crate::archive::datasets::{Datasets, Described, Snapshot};
use crate::error::Result;
use crate::tools::zfs::{Dataset, DatasetKind};

/// The dataset list of the archive `name`, as JSON.
///
/// # Errors
/// When a dataset of `plan` has no snapshot in `set`.
pub fn dataset_list(plan: &Plan, set: &SnapshotSet, name: &str) -> Result<Vec<u8>> {
    let mut datasets = Vec::new();
    for entry in &plan.entries {
        match &entry.source {
            PlanSource::Live => {}
            PlanSource::Filesystem(dataset) => datasets.push(describe(dataset, entry.path.to_string(), set)?),
            PlanSource::Volumes(volumes) => {
                for volume in volumes {
                    datasets.push(describe(volume, format!("{}/{}", entry.path, volume.name), set)?);
                }
            }
        }
    }
    Datasets::new(name, set.run_id(), datasets).to_json()
}

fn describe(dataset: &Dataset, path: String, set: &SnapshotSet) -> Result<Described> {
    let mark = set.mark(&dataset.name)?.clone();
    let (kind, volblocksize) = match dataset.kind {
        DatasetKind::Filesystem { .. } => ("filesystem", None),
        DatasetKind::Volume { block_size, .. } => ("volume", Some(block_size)),
    };
    Ok(Described {
        name: dataset.name.clone(),
        kind: kind.to_owned(),
        guid: dataset.guid,
        createtxg: dataset.createtxg,
        compression: dataset.compression.clone(),
        path,
        volsize: mark.volsize,
        volblocksize,
        snapshot: Snapshot {
            name: mark.name,
            guid: mark.guid,
            createtxg: mark.createtxg,
            creation: mark.creation,
        },
    })
}
