//! Selects the datasets of the configuration, and their places in the archive. Pure.

use std::cmp::Reverse;
use std::path::PathBuf;

use crate::config::{Dataset as Wanted, Selection};
use crate::error::{Error, Kind, Result};
use crate::tools::mounts::Mount;
use crate::tools::zfs::names::CONTAINER;
use crate::tools::zfs::{Dataset, DatasetKind, Mountpoint};

/// A selected dataset that is not in the archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    pub name: String,
    pub why: String,
}

/// The selected datasets, each once, and whether an entry names it directly.
#[derive(Debug, Default)]
pub struct Selected {
    pub datasets: Vec<(Dataset, bool)>,
    /// Globs that match nothing.
    pub unmatched: Vec<String>,
}

/// # Errors
/// [`Kind::NotFound`] when an entry names a dataset that does not exist.
pub fn select(wanted: &[Wanted], all: &[Dataset]) -> Result<Selected> {
    let mut selected = Selected::default();
    for wanted in wanted {
        let found = matches(wanted, all)?;
        if found.is_empty() {
            match wanted.selection {
                Selection::Glob => selected.unmatched.push(wanted.name.clone()),
                _ => return Err(unknown(&wanted.name)),
            }
        }
        for dataset in found {
            let named = wanted.selection != Selection::Glob && dataset.name == wanted.name;
            match selected.datasets.iter_mut().find(|(d, _)| d.name == dataset.name) {
                Some((_, before)) => *before |= named,
                None => selected.datasets.push((dataset.clone(), named)),
            }
        }
    }
    Ok(selected)
}

/// The datasets that an entry of the configuration selects. In a glob, `*` also matches `/`, as in
/// Python's fnmatch. Clones that a backup made are never selected.
///
/// # Errors
/// [`Kind::Usage`] when the glob is invalid.
pub fn matches<'a>(wanted: &Wanted, all: &'a [Dataset]) -> Result<Vec<&'a Dataset>> {
    let all = all.iter().filter(|d| d.name.split('/').nth(1) != Some(CONTAINER));
    let name = &wanted.name;
    Ok(match wanted.selection {
        Selection::Only => all.filter(|d| d.name == *name).collect(),
        Selection::Recursive => {
            let below = |d: &&Dataset| d.name.strip_prefix(name).is_some_and(|rest| rest.starts_with('/'));
            let found: Vec<_> = all.filter(|d| d.name == *name || below(d)).collect();
            // A dataset that does not exist has nothing below it.
            if found.iter().any(|d| d.name == *name) { found } else { Vec::new() }
        }
        Selection::Glob => {
            let glob = glob(name)?;
            all.filter(|d| glob.matches(&d.name)).collect()
        }
    })
}

fn glob(text: &str) -> Result<glob::Pattern> {
    let mut text = text.to_owned();
    // Two stars mean the same as one.
    while text.contains("**") {
        text = text.replace("**", "*");
    }
    glob::Pattern::new(&text)
        .map_err(|e| Error::usage(format!("{text} in datasets_to_backup is not a valid pattern")).because(e))
}

fn unknown(name: &str) -> Error {
    Error::new(Kind::NotFound, format!("there is no dataset {name}"))
        .hint("it is listed in datasets_to_backup; nothing was backed up")
        .hint("`zfs list -t filesystem,volume` shows all datasets")
}

/// The place of each dataset that can be in the archive: its mount point, or none for a volume.
type Places = Vec<(Dataset, Option<PathBuf>)>;

/// # Errors
/// When a dataset that is named directly cannot be read, or two of them have the same mount point.
pub fn places(selected: Vec<(Dataset, bool)>, mounts: &[Mount]) -> Result<(Places, Vec<LeftOut>)> {
    let mut left_out = Vec::new();
    let mut placed: Vec<(Dataset, bool, Option<PathBuf>)> = Vec::new();
    for (dataset, named) in selected {
        match place(&dataset, mounts) {
            _ if !dataset.readable && named => return Err(locked(&dataset.name)),
            Ok(place) => placed.push((dataset, named, place)),
            Err(why) => left_out.push(LeftOut { name: dataset.name, why: why.to_owned() }),
        }
    }
    let mut places = Places::new();
    for (dataset, named, place) in &placed {
        let rivals = placed.iter().filter(|(other, _, at)| at.is_some() && at == place && other != dataset);
        let rank = |dataset: &Dataset| (standing(dataset, place, mounts), Reverse(dataset.name.clone()));
        match rivals.max_by_key(|(other, ..)| rank(other)) {
            Some((other, true, _)) if *named => return Err(same_place(dataset, other)),
            Some((other, ..)) if rank(other) > rank(dataset) => {
                let why = format!("{} has the same mount point", other.name);
                left_out.push(LeftOut { name: dataset.name.clone(), why });
            }
            _ => places.push((dataset.clone(), place.clone())),
        }
    }
    Ok((places, left_out))
}

/// If two have the same mount point, the visible one is in the archive; otherwise a mounted one;
/// otherwise the first by name.
fn standing(dataset: &Dataset, place: &Option<PathBuf>, mounts: &[Mount]) -> (bool, bool) {
    let topmost = mounts.iter().rev().find(|m| Some(&m.dir) == place.as_ref());
    let seen = topmost.is_some_and(|m| *m.source == *dataset.name);
    (seen, matches!(dataset.kind, DatasetKind::Filesystem { mounted: true, .. }))
}

fn place(dataset: &Dataset, mounts: &[Mount]) -> Result<Option<PathBuf>, &'static str> {
    if !dataset.readable {
        return Err("it is encrypted, and its key is not loaded");
    }
    let DatasetKind::Filesystem { mountpoint, mounted, can_mount } = &dataset.kind else { return Ok(None) };
    let mut mounted_at =
        mounts.iter().filter(|m| m.kind == "zfs" && *m.source == *dataset.name).map(|m| &m.dir);
    match mountpoint {
        Mountpoint::None => Err("it has no mount point"),
        Mountpoint::Legacy => {
            let dir = mounted_at.next().ok_or("its mount point is legacy, and it is not mounted")?;
            Ok(Some(dir.clone()))
        }
        Mountpoint::At(_) if !can_mount && !mounted => Err("canmount is off"),
        // It may be mounted elsewhere for a while.
        Mountpoint::At(dir) => {
            let elsewhere = if mounted_at.clone().any(|at| at == dir) { None } else { mounted_at.next() };
            Ok(Some(elsewhere.unwrap_or(dir).clone()))
        }
    }
}

fn locked(name: &str) -> Error {
    Error::failed(format!("cannot back up {name}"))
        .because("it is encrypted, and its key is not loaded")
        .hint(format!("`zfs load-key {name}` loads it; nothing was backed up"))
}

fn same_place(a: &Dataset, b: &Dataset) -> Error {
    Error::usage(format!("cannot back up both {} and {}", a.name, b.name))
        .because("they have the same mount point, so they would be one directory in the archive")
        .hint("leave one of them out of datasets_to_backup; nothing was backed up")
}
