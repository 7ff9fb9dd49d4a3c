//! The origins of the archives of a repository. borg must read the metadata of each archive to find
//! them, so its answers are remembered: an archive's id never means another archive.

use std::collections::{HashMap, HashSet};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use parking_lot::MutexGuard;
use serde::Deserialize;
use serde_json::Value;

use super::client::Borg;
use crate::archive::filter::ArchiveFilter;
use crate::archive::name::Archive;
use crate::archive::origin::{Listed, Origin};
use crate::directories;
use crate::error::{Error, Kind, Result};

/// The fields that `borg list` prints besides names.
const FORMAT: &str = "{hostname}{comment}{command_line}";
/// The number of archives that are asked for one by one. Then all are asked for at once. Usually
/// the first one decides.
const ONE_BY_ONE: usize = 2;
/// Special characters in borg's patterns for names.
const SPECIAL: [char; 4] = ['*', '?', '[', '\\'];

/// The origins of archives, by their ids.
pub struct Origins {
    /// `None`: nothing is remembered.
    file: Option<PathBuf>,
    known: HashMap<String, Origin>,
    /// Ids of deleted archives.
    gone: HashSet<String>,
    changed: bool,
    /// The number of archives that were asked for one by one.
    asked: usize,
}

impl Origins {
    /// Loads the answers of earlier runs for this repository. A file that cannot be read counts as
    /// missing.
    pub fn load(repository: &str) -> Origins {
        let digest = ring::digest::digest(&ring::digest::SHA256, repository.as_bytes());
        let tag: String = digest.as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        let file = directories::cache_dir().ok().map(|dir| dir.join(format!("origins-{tag}.json")));
        let known = file.as_deref().and_then(read).unwrap_or_default();
        Origins { file, known, gone: HashSet::new(), changed: false, asked: 0 }
    }

    pub fn get(&self, archive: &Archive) -> Option<&Origin> {
        self.known.get(&archive.id)
    }

    /// Does not replace what is known.
    pub fn insert(&mut self, id: &str, origin: Origin) {
        self.known.entry(id.to_owned()).or_insert_with(|| {
            self.changed = true;
            origin
        });
    }

    /// Sets what we know better than borg, such as the number of unread files.
    fn set(&mut self, id: &str, origin: Origin) {
        self.known.insert(id.to_owned(), origin);
        self.changed = true;
    }

    /// Forgets all archives but these.
    pub fn keep(&mut self, archives: &[Archive]) {
        let exist: HashSet<&str> = archives.iter().map(|archive| archive.id.as_str()).collect();
        let gone = self.known.extract_if(|id, _| !exist.contains(id.as_str())).map(|(id, _)| id);
        self.gone.extend(gone);
        self.changed |= !self.gone.is_empty();
    }

    /// Nothing depends on the file: borg can be asked again.
    pub fn save(&self) {
        if self.changed {
            let _ = self.write();
        }
    }

    fn write(&self) -> Option<()> {
        let file = self.file.as_deref()?;
        let dir = file.parent()?;
        directories::make_private(dir).ok()?;
        // A mount that began long ago must not undo what a backup has added since.
        let mut known = read(file).unwrap_or_default();
        for (id, ours) in &self.known {
            // Only the run that made the archive knows what could not be read.
            let unread = known.get(id).map_or(0, |theirs| theirs.unread).max(ours.unread);
            let mut origin = ours.clone();
            origin.unread = unread;
            known.insert(id.clone(), origin);
        }
        known.retain(|id, _| !self.gone.contains(id));
        let mut new = tempfile::NamedTempFile::new_in(dir).ok()?;
        new.write_all(&serde_json::to_vec(&known).ok()?).ok()?;
        new.persist(file).ok()?;
        Some(())
    }
}

fn read(file: &Path) -> Option<HashMap<String, Origin>> {
    serde_json::from_slice(&std::fs::read(file).ok()?).ok()
}

impl Borg {
    /// All archives with their origins, including checkpoints, in the order of their start. An
    /// archive that cannot be read has no origin.
    ///
    /// # Errors
    /// As [`Borg::archives`].
    pub fn listed(&self, lock_wait: Duration) -> Result<Vec<Listed>> {
        let filter = ArchiveFilter { consider_checkpoints: true, ..ArchiveFilter::default() };
        let archives = self.archives(&filter, lock_wait)?;
        self.with_origins(archives, lock_wait)
    }

    /// The same for `archives`, which must be all of them.
    ///
    /// # Errors
    /// The failure of borg, explained.
    pub fn with_origins(&self, archives: Vec<Archive>, lock_wait: Duration) -> Result<Vec<Listed>> {
        let mut origins = Origins::load(self.repository());
        self.learn(&archives, &mut origins, lock_wait)?;
        origins.keep(&archives);
        origins.save();
        let listed = |archive: Archive| {
            let origin = origins.get(&archive).cloned().unwrap_or_default();
            Listed { archive, origin }
        };
        Ok(archives.into_iter().map(listed).collect())
    }

    /// The origin of `archive`; `origins` has the earlier answers.
    ///
    /// # Errors
    /// As [`Borg::archives`].
    pub fn origin(&self, archive: &Archive, origins: &mut Origins, lock_wait: Duration) -> Result<Origin> {
        if origins.get(archive).is_none() {
            origins.asked += 1;
            match origins.asked {
                ..=ONE_BY_ONE => self.learn_one(archive, origins, lock_wait)?,
                _ => {
                    let all = ArchiveFilter { consider_checkpoints: true, ..ArchiveFilter::default() };
                    self.learn(&self.archives(&all, lock_wait)?, origins, lock_wait)?;
                }
            }
            origins.save();
        }
        Ok(origins.get(archive).cloned().unwrap_or_default())
    }

    /// What borg cannot read stays unknown, and is not asked for again.
    fn learn_one(&self, archive: &Archive, origins: &mut Origins, lock_wait: Duration) -> Result<()> {
        if archive.name.contains(SPECIAL) || !self.is_to_be_asked(archive, origins) {
            return Ok(());
        }
        match self.ask_origins(&["--glob-archives", &archive.name], lock_wait) {
            Ok(message) => message.into_iter().for_each(|(id, origin)| origins.insert(&id, origin)),
            Err(error) if !is_of_one_archive(&error) => return Err(error),
            Err(error) => {
                tracing::warn!("{} cannot be read: {}", archive.name, error.chain());
                self.unreadable().insert(archive.id.clone());
            }
        }
        Ok(())
    }

    fn is_to_be_asked(&self, archive: &Archive, origins: &Origins) -> bool {
        origins.get(archive).is_none() && !self.unreadable().contains(&archive.id)
    }

    fn unreadable(&self) -> MutexGuard<'_, HashSet<String>> {
        self.unreadable.lock()
    }

    /// Remembers an archive that we have just made.
    pub fn remember(&self, id: &str, origin: Origin) {
        let mut origins = Origins::load(self.repository());
        origins.set(id, origin);
        origins.save();
    }

    /// Asks borg for the unknown origins of `archives`, which must be all archives.
    fn learn(&self, archives: &[Archive], origins: &mut Origins, lock_wait: Duration) -> Result<()> {
        let Some(first) = archives.iter().position(|archive| self.is_to_be_asked(archive, origins)) else {
            return Ok(());
        };
        // The new archives are at the end, and another machine may just have made one more.
        let last = (archives.len() - first + 1).to_string();
        match self.ask_origins(&["--last", &last], lock_wait) {
            Ok(message) => message.into_iter().for_each(|(id, origin)| origins.insert(&id, origin)),
            Err(error) if !is_of_one_archive(&error) => return Err(error),
            // One archive that borg cannot read must not hide the others.
            Err(_) => {
                for archive in &archives[first..] {
                    self.learn_one(archive, origins, lock_wait)?;
                }
            }
        }
        Ok(())
    }

    fn ask_origins(&self, which: &[&str], lock_wait: Duration) -> Result<Vec<(String, Origin)>> {
        let doing = "see where the archives come from";
        let output = self.list_all(&[&["--format", FORMAT], which].concat(), doing, lock_wait)?;
        message(&output.stdout)
            .map_err(|e| Error::failed(format!("cannot {doing}: borg's answer cannot be read")).because(e))
    }
}

/// Whether a single archive may be the cause, so that asking for the others helps.
fn is_of_one_archive(error: &Error) -> bool {
    matches!(error.kind(), Kind::Failed | Kind::Damaged | Kind::NotFound)
}

fn message(json: &[u8]) -> serde_json::Result<Vec<(String, Origin)>> {
    #[derive(Deserialize)]
    struct List {
        archives: Vec<ArchiveDetails>,
    }
    #[derive(Deserialize)]
    struct ArchiveDetails {
        id: String,
        #[serde(default)]
        hostname: String,
        #[serde(default)]
        comment: String,
        #[serde(default)]
        command_line: Value,
    }
    let list: List = serde_json::from_slice(json)?;
    let origin = |details: ArchiveDetails| {
        let origin = Origin::new(details.hostname, &details.comment, &words(&details.command_line));
        (details.id, origin)
    };
    Ok(list.archives.into_iter().map(origin).collect())
}

/// borg prints the words as a list, or as one text.
fn words(command_line: &Value) -> Vec<String> {
    match command_line {
        Value::Array(words) => words.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        Value::String(text) => text.split_whitespace().map(str::to_owned).collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_not_be_read_is_not_forgotten_by_who_knew_the_archive_before() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("cache/origins.json");
        let load = || Origins {
            known: read(&file).unwrap_or_default(),
            file: Some(file.clone()),
            gone: HashSet::new(),
            changed: false,
            asked: 0,
        };
        let message = || Origin::new("a".into(), "", &[]);
        let mut mount = load();
        mount.insert("1", message());
        mount.save();
        let mut create = load();
        let mut lacking = message();
        lacking.unread = 3;
        create.set("1", lacking);
        create.save();
        mount.insert("2", message());
        mount.save();
        assert_eq!((load().known["1"].unread, load().known["2"].unread), (3, 0));
    }
}
