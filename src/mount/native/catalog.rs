//! What is in the repository, read by ourselves.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use super::ahead::Ahead;
use super::flights::Flights;
use super::lists::{Lists, Numbers};
use super::opening::{self, Cannot, Opened};
use super::{Chunked, Files, Native};
use crate::archive::item::Item;
use crate::archive::name::Archive;
use crate::archive::tree::Tree;
use crate::error::{Error, Result};
use crate::mount::source::{Catalog, ContentSource, Kept, Layout};
use crate::repository::Repository;
use crate::repository::id::Id;
use crate::repository::items::{Chunk, ChunkLists};
use crate::repository::tam::Authenticity;
use crate::tools::borg::{ArchiveFilter, Borg, Server, has_workaround, not_authentic};

/// What makes borg read an archive with a wrong signature.
const WORKAROUND: &str = "ignore_invalid_archive_tam";

/// A repository of borg 1.x.
pub struct NativeCatalog {
    borg: Borg,
    filter: ArchiveFilter,
    lock_wait: Duration,
    server: Option<Arc<Server>>,
    shared: Arc<Shared>,
    /// The chunk lists of archives that were read and are not shown yet.
    lists: Mutex<HashMap<String, Arc<Lists>>>,
}

/// What all archives have in common.
pub struct Shared {
    pub repository: Repository,
    numbers: Mutex<Numbers>,
    ending: AtomicBool,
}

impl Shared {
    pub fn ending(&self) -> bool {
        self.ending.load(Ordering::Acquire)
    }

    pub fn chunk(&self, number: u32) -> Chunk {
        lock(&self.numbers).get(number).chunk
    }
}

impl NativeCatalog {
    /// Opens the repository of `borg`; `Err` of the inner result tells why only borg can read it.
    /// Reads fail some time after nothing came for `stall`.
    ///
    /// # Errors
    /// When nobody should read it, it cannot be reached, or the key cannot be opened.
    pub fn open(
        borg: &Borg,
        filter: ArchiveFilter,
        lock_wait: Duration,
        stall: Duration,
    ) -> Result<Result<Self, String>> {
        let Opened { repository, server } = match opening::open(borg, stall) {
            Ok(opened) => opened,
            Err(Cannot::OnlyBorg(why)) => return Ok(Err(why)),
            Err(Cannot::Failed(error)) => return Err(error),
        };
        let shared = Shared { repository, numbers: Mutex::default(), ending: AtomicBool::new(false) };
        let (borg, shared) = (borg.clone(), Arc::new(shared));
        Ok(Ok(NativeCatalog { borg, filter, lock_wait, server, shared, lists: Mutex::default() }))
    }

    fn listed(&self, archive: &Archive) -> Arc<Lists> {
        lock(&self.lists).get(&archive.id).cloned().unwrap_or_default()
    }
}

impl Catalog for NativeCatalog {
    fn archives(&self) -> Result<Vec<Archive>> {
        if self.filter
            != (ArchiveFilter {
                consider_checkpoints: self.filter.consider_checkpoints,
                ..Default::default()
            })
        {
            // Which archives these are is borg's to say.
            return self.borg.archives(&self.filter, self.lock_wait);
        }
        // It was read a moment ago, and to look again would take a new server.
        let manifest = self.shared.repository.manifest();
        let shown = |name: &str| self.filter.consider_checkpoints || !name.contains(".checkpoint");
        let mut archives: Vec<Archive> = manifest
            .archives
            .iter()
            .filter_map(|entry| {
                let name = String::from_utf8(entry.name.clone()).ok().filter(|name| shown(name))?;
                Some(Archive { name, id: entry.id.to_string(), start: entry.time.clone() })
            })
            .collect();
        archives.sort_by(|a, b| a.start.cmp(&b.start));
        Ok(archives)
    }

    fn items(&self, archive: &Archive, each: &mut dyn FnMut(Item)) -> Result<()> {
        let cannot = || Error::failed(format!("cannot read the archive {}", archive.name));
        let id = Id::from_hex(&archive.id).ok_or_else(|| cannot().because("its id is none"))?;
        let repository = &self.shared.repository;
        let meta = repository.archive(&id).map_err(|e| cannot().because(e))?;
        if meta.authenticity == Authenticity::Wrong && !has_workaround(WORKAROUND) {
            return Err(not_authentic(&format!("read the archive {}", archive.name)));
        }
        let mut lists = Lists::default();
        let mut complete = true;
        let mut take = |item: Item, chunks: ChunkLists| {
            if !chunks.chunks.is_empty() {
                let mut numbers = lock(&self.shared.numbers);
                let number = |chunk: &Chunk| {
                    let number = numbers.number(chunk, || repository.is_zero(chunk))?;
                    Some((number, numbers.get(number).zeros))
                };
                complete &= lists.add(item.number, &chunks.chunks, number).is_some();
            }
            each(item);
        };
        let refused = repository.items(&meta, &mut take).map_err(|e| cannot().because(e))?;
        if !complete {
            return Err(cannot().because("a chunk stands in it with two sizes, or is beyond all sizes"));
        }
        if refused > 0 {
            tracing::warn!("{}: {refused} items with unusable paths are not shown", archive.name);
        }
        lock(&self.lists).insert(archive.id.clone(), Arc::new(lists));
        Ok(())
    }

    fn layout(&self, archive: &Archive, _number: u32, tree: &Arc<Tree>) -> Arc<dyn Layout> {
        Arc::new(Chunked { tree: Arc::clone(tree), lists: self.listed(archive) })
    }

    fn contents(&self, archive: &Archive, tree: Arc<Tree>, kept: Arc<dyn Kept>) -> Arc<dyn ContentSource> {
        let files = Arc::new(Files {
            catalog: Arc::clone(&self.shared),
            tree,
            lists: self.listed(archive),
            kept,
            flights: Flights::default(),
        });
        Arc::new(Native { ahead: Ahead::new(&files), files })
    }

    fn shut_down(&self) {
        self.shared.ending.store(true, Ordering::Release);
        if let Some(server) = &self.server {
            server.end();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}
