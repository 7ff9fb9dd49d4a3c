//! The lists of files of archives: those that are kept, and those that are made of metadata.

use std::collections::HashSet;
use std::sync::Arc;

use borg_repository::{Authenticity, Id, Repository};

use super::assembling::Source;
use super::saved::Saved;
use super::shared::Shared;
use crate::archive::name::Archive;
use crate::archive::tree::{Assembler, Assembly, NAMELESS, PartName, TreeBuilder};
use crate::archives::salvage::Salvage;
use crate::error::{Error, Result};
use crate::progress::{Monitor, Silent};
use crate::tools::borg::{has_workaround, not_authentic};
use parking_lot::Mutex;

/// Makes borg read an archive with a wrong signature.
const WORKAROUND: &str = "ignore_invalid_archive_tam";
/// How many archives before and after one are looked at for a list to begin with.
const NEIGHBOURS: usize = 8;
/// How many lists an archive begins with.
const EARLIER: usize = 2;
/// A list that takes more memory than this is worth a word, in bytes.
const LARGE: usize = 512 << 20;

/// Loads and makes lists of files.
pub struct Loader {
    shared: Arc<Shared>,
    saved: Option<Saved>,
    salvage: Option<Salvage>,
    /// The last list: that of the next archive usually shares most of it.
    last: Mutex<Option<Arc<Assembly>>>,
}

impl Loader {
    /// Keeps lists in `saved`, unless files are salvaged: their lists are not those that others may use.
    pub fn new(shared: Arc<Shared>, saved: Option<Saved>, salvage: Option<Salvage>) -> Self {
        Loader { shared, saved: saved.filter(|_| salvage.is_none()), salvage, last: Mutex::default() }
    }

    fn repository(&self) -> &Repository {
        &self.shared.repository
    }

    /// The metadata of `archive`.
    ///
    /// # Errors
    /// When it cannot be read, or nobody with the key wrote it.
    pub fn metadata(&self, archive: &Archive) -> Result<borg_repository::Archive> {
        let meta =
            self.repository().archive(&id_of(archive)?).map_err(|e| cannot_read(archive).because(e))?;
        if meta.authenticity == Authenticity::Wrong && !has_workaround(WORKAROUND) {
            return Err(not_authentic(&format!("read the archive {}", archive.name)));
        }
        Ok(meta)
    }

    /// The list of `archive`.
    ///
    /// # Errors
    /// When the archive cannot be read.
    pub fn load(&self, archive: &Archive, monitor: &dyn Monitor) -> Result<Arc<Assembly>> {
        let kept = self.saved.as_ref().and_then(|saved| saved.load(&Id::from_hex(&archive.id)?));
        let list = match kept {
            Some(kept) => Arc::new(kept),
            None => self.make(archive, true, monitor)?,
        };
        if self.saved.is_some() {
            *self.last.lock() = Some(Arc::clone(&list));
        }
        Ok(list)
    }

    /// Makes the list of `archive` of nothing but its metadata, because what was kept is damaged.
    ///
    /// # Errors
    /// When the archive cannot be read.
    pub fn make_anew(&self, archive: &Archive) -> Result<Arc<Assembly>> {
        *self.last.lock() = None;
        self.make(archive, false, &Silent)
    }

    /// Makes the list of `archive` of its metadata; with `uses_others`, also of other lists.
    fn make(&self, archive: &Archive, uses_others: bool, monitor: &dyn Monitor) -> Result<Arc<Assembly>> {
        let meta = self.metadata(archive)?;
        // One that is read only because the user allows it must be checked again by every command.
        let saved = self.saved.as_ref().filter(|_| meta.authenticity != Authenticity::Wrong);
        if let Some(saved) = saved {
            match self.make_in(saved, archive, &meta, uses_others, monitor) {
                Ok(made) => return Ok(made),
                Err((error, true)) => {
                    tracing::info!("the list of files of {} is not kept: {}", archive.name, error.chain());
                }
                Err((error, false)) => return Err(cannot_read(archive).because(error)),
            }
        }
        let assembler = TreeBuilder::in_memory(archive.start_ns());
        let made = self.source(&meta, &[], NAMELESS, monitor).assemble(assembler);
        let (made, _) = made.map_err(|e| cannot_read(archive).because(e))?;
        if made.memory() > LARGE {
            tracing::warn!(
                "the list of {} files takes {} MB of memory, because there is no directory to keep it in; \
                 with --cache-dir it takes little",
                made.totals.entries,
                made.memory() / 1_000_000
            );
        }
        Ok(Arc::new(made))
    }

    /// With the error, whether it could not be kept.
    fn make_in(
        &self,
        saved: &Saved,
        archive: &Archive,
        meta: &borg_repository::Archive,
        uses_others: bool,
        monitor: &dyn Monitor,
    ) -> Result<Arc<Assembly>, (Error, bool)> {
        let earlier = if uses_others { self.earlier(saved, meta) } else { Vec::new() };
        match self.make_after(&earlier, saved, archive, meta, monitor) {
            // Somebody may have removed or damaged the lists that it began with.
            Err((_, false)) if !earlier.is_empty() => self.make_after(&[], saved, archive, meta, monitor),
            made => made,
        }
    }

    fn make_after(
        &self,
        earlier: &[Arc<Assembly>],
        saved: &Saved,
        archive: &Archive,
        meta: &borg_repository::Archive,
        monitor: &dyn Monitor,
    ) -> Result<Arc<Assembly>, (Error, bool)> {
        let (unfinished, writer) = saved.begin(&meta.id).map_err(|e| (e, true))?;
        let assembler = Assembler::new(writer, saved.pages(), saved.hasher(), archive.start_ns());
        let made = self.source(meta, earlier, unfinished.name, monitor).assemble(assembler);
        let (made, writer) = made.map_err(|e| (e, unfinished.has_failed()))?;
        saved.keep(unfinished, writer, &made).map_err(|e| (e, true))?;
        Ok(Arc::new(made))
    }

    fn source<'a>(
        &'a self,
        archive: &'a borg_repository::Archive,
        earlier: &'a [Arc<Assembly>],
        name: PartName,
        monitor: &'a dyn Monitor,
    ) -> Source<'a> {
        let salvage = self.salvage.is_some();
        Source { repository: self.repository(), archive, earlier, salvage, name, monitor }
    }

    /// Lists that share metadata with `archive`: the last one, or those of the archives that were made
    /// shortly before or after it.
    fn earlier(&self, saved: &Saved, archive: &borg_repository::Archive) -> Vec<Arc<Assembly>> {
        let pieces = archive.metadata();
        let last = self.last.lock().clone();
        if let Some(last) = last.filter(|last| shared(last, pieces) >= pieces.len() / 2) {
            return vec![last];
        }
        let manifest = self.repository().manifest();
        let mut archives: Vec<_> = manifest.archives.iter().collect();
        archives.sort_by(|a, b| a.time.cmp(&b.time));
        let Some(at) = archives.iter().position(|entry| entry.id == archive.id) else { return Vec::new() };
        let before = archives[..at].iter().rev().take(NEIGHBOURS);
        let after = archives[at + 1..].iter().take(NEIGHBOURS);
        let kept = before.chain(after).filter_map(|entry| saved.load(&entry.id));
        kept.filter(|list| shared(list, pieces) > 0).take(EARLIER).map(Arc::new).collect()
    }
}

/// How many of the `pieces` of metadata a list was made of, about.
fn shared(list: &Assembly, pieces: &[Id]) -> usize {
    let known: HashSet<[u8; 32]> = list.pieces().collect();
    pieces.iter().filter(|id| known.contains(&id.0)).count()
}

fn id_of(archive: &Archive) -> Result<Id> {
    Id::from_hex(&archive.id).ok_or_else(|| cannot_read(archive).because("its id is none"))
}

fn cannot_read(archive: &Archive) -> Error {
    Error::failed(format!("cannot read the archive {}", archive.name))
}
