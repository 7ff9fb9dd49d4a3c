//! What goes into the archive, in which order, and under which name. Pure.

use std::ffi::OsStr;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use borg_repository::ItemPath;

use super::selection::{self, LeftOut};
use crate::archive::volumes;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::tools::mounts::Mount;
use crate::tools::zfs::Dataset;

/// What a run backs up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Each path once; a path comes before those that it contains.
    pub entries: Vec<PlanEntry>,
    /// Selected datasets that cannot be in the archive.
    pub left_out: Vec<LeftOut>,
    /// Globs that match no dataset.
    pub unmatched: Vec<String>,
    /// In borg's pattern styles, relative to the root of the archive.
    pub excludes: Vec<String>,
    /// Leaves out directories with a CACHEDIR.TAG.
    pub exclude_caches: bool,
    pub compression: String,
}

/// A path in the archive, and its contents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanEntry {
    /// The path in the archive. With a `/` in front, it is the path on this machine.
    pub path: ItemPath,
    pub source: PlanSource,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PlanSource {
    /// A file system, or a directory or file of one, read while it is in use.
    Live,
    /// A ZFS file system at one moment.
    Filesystem(Dataset),
    /// All ZFS volumes at one moment.
    Volumes(Vec<Dataset>),
}

impl Plan {
    /// `datasets` and `mounts` are all that exist; they matter if the configuration names datasets.
    ///
    /// # Errors
    /// When the configuration selects nothing, or something that cannot be backed up.
    pub fn new(config: &Config, datasets: &[Dataset], mounts: &[Mount]) -> Result<Plan> {
        config.require_sources()?;
        let selected = selection::select(&config.datasets_to_backup, datasets)?;
        let (places, left_out) = selection::places(selected.datasets, mounts)?;
        let mut entries = Vec::new();
        let mut volumes = Vec::new();
        for (dataset, place) in places {
            match place {
                Some(place) => entries.push(PlanEntry::of(&place, PlanSource::Filesystem(dataset))?),
                None => volumes.push(dataset),
            }
        }
        // Also without volumes, for the dataset list.
        if !volumes.is_empty() || !entries.is_empty() {
            entries.push(PlanEntry { path: path(volumes::DIRECTORY)?, source: PlanSource::Volumes(volumes) });
        }
        for listed in &config.filesystems_to_backup {
            entries.push(PlanEntry::of(listed, PlanSource::Live)?);
        }
        // A path sorts before those that it contains. If two have the same path, the dataset stays,
        // because all of it is from one moment.
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        entries.dedup_by(|later, earlier| later.path == earlier.path);
        Ok(Plan {
            entries,
            left_out,
            unmatched: selected.unmatched,
            excludes: config.exclude_patterns.clone(),
            exclude_caches: config.exclude_caches,
            compression: config.compression.clone(),
        })
    }

    /// The number of file systems (or directories of them) in the archive.
    pub fn file_systems(&self) -> usize {
        self.entries.iter().filter(|e| !matches!(e.source, PlanSource::Volumes(_))).count()
    }

    /// The places that the archive holds, in the form of marks.
    pub fn places(&self) -> Vec<Vec<u8>> {
        self.held().into_iter().map(|(place, _)| place).collect()
    }

    /// The places that the archive holds, in the form of marks, each with its name for people.
    pub fn held(&self) -> Vec<(Vec<u8>, String)> {
        let mut held = Vec::new();
        for entry in &self.entries {
            let place = entry.host().into_os_string().into_vec();
            match &entry.source {
                PlanSource::Live => held.push((place, entry.host().display().to_string())),
                PlanSource::Filesystem(dataset) => held.push((place, entry_name(entry, dataset))),
                PlanSource::Volumes(volumes) => held.extend(volumes.iter().map(|volume| {
                    let place = [&place, &b"/"[..], volume.name.as_bytes()].concat();
                    (place, volume.name.clone())
                })),
            }
        }
        held
    }

    /// All datasets in the archive.
    pub fn datasets(&self) -> impl Iterator<Item = &Dataset> {
        let filesystems = self.entries.iter().filter_map(|entry| match &entry.source {
            PlanSource::Filesystem(dataset) => Some(dataset),
            _ => None,
        });
        filesystems.chain(self.volumes())
    }

    /// All volumes in the archive.
    pub fn volumes(&self) -> impl Iterator<Item = &Dataset> {
        self.entries.iter().flat_map(|entry| match &entry.source {
            PlanSource::Volumes(volumes) => &volumes[..],
            _ => &[],
        })
    }

    /// The paths for borg if the entries are staged: those that are not inside another.
    pub fn roots(&self) -> Vec<&ItemPath> {
        self.roots_where(|_, _| true)
    }

    /// The paths for borg if it reads the live tree and stays on one file system per path: those
    /// that it does not reach from another. `device` returns the device of a directory.
    pub fn live_roots(&self, device: impl Fn(&Path) -> Option<u64>) -> Vec<&ItemPath> {
        self.roots_where(|outer, inner| {
            let (outer, inner) = (outer.host(), inner.host());
            let here = device(&outer);
            let between = inner.ancestors().take_while(|p| **p != outer);
            here.is_some() && between.into_iter().all(|p| device(p) == here)
        })
    }

    fn roots_where(&self, reaches: impl Fn(&PlanEntry, &PlanEntry) -> bool) -> Vec<&ItemPath> {
        let covers =
            |outer: &PlanEntry, inner: &PlanEntry| inner.path.is_within(&outer.path) && reaches(outer, inner);
        let mut roots: Vec<&PlanEntry> = Vec::new();
        for entry in &self.entries {
            if !roots.iter().any(|root| covers(root, entry)) {
                roots.push(entry);
            }
        }
        roots.into_iter().map(|entry| &entry.path).collect()
    }
}

impl PlanEntry {
    fn of(listed: &Path, source: PlanSource) -> Result<PlanEntry> {
        let refused = || Error::usage(format!("cannot back up {}", listed.display()));
        let path = ItemPath::new(listed.as_os_str().as_bytes())
            .filter(|_| listed.is_absolute())
            .ok_or_else(|| refused().hint("a file system is listed by its absolute path, without `..`"))?;
        Ok(PlanEntry { path, source })
    }

    /// The path on this machine.
    pub fn host(&self) -> PathBuf {
        let mut host = b"/".to_vec();
        host.extend_from_slice(self.path.as_bytes());
        PathBuf::from(std::ffi::OsString::from_vec(host))
    }

    /// The name for messages.
    pub fn name(&self) -> String {
        match &self.source {
            PlanSource::Live => self.host().display().to_string(),
            PlanSource::Filesystem(dataset) => format!("the dataset {}", dataset.name),
            PlanSource::Volumes(_) => "the volumes".to_owned(),
        }
    }
}

fn entry_name(entry: &PlanEntry, dataset: &Dataset) -> String {
    format!("{} ({})", entry.host().display(), dataset.name)
}

fn path(bytes: &[u8]) -> Result<ItemPath> {
    ItemPath::new(bytes).ok_or_else(|| Error::failed("cannot make the path of the volumes"))
}

/// The path as an argument of borg, whose working directory is the root of the archive.
pub(super) fn borg_argument(path: &ItemPath) -> &OsStr {
    if path.is_root() { OsStr::new(".") } else { path.as_os_str() }
}

#[cfg(test)]
pub(super) mod tests;
