//! The archives of a repository, read without borg.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use borg_repository::Error::{Integrity, NotFound, Unsupported};
use borg_repository::{Authenticity, Chunk, ChunkLists, Id, Item, Repository};

use super::layout::ChunkLayout;
use super::lists::Lists;
use super::opening::{self, NotOpened, Opened};
use super::saved::Saved;
use super::shared::Shared;
use super::source::ChunkSource;
use crate::archive::filter::ArchiveFilter;
use crate::archive::name::Archive;
use crate::archive::origin::Origin;
use crate::archive::tree::{Tree, View};
use crate::archives::pace::Pace;
use crate::archives::salvage::Salvage;
use crate::archives::source::{CacheSink, Catalog, ContentSource, Layout};
use crate::archives::storage::Remembered;
use crate::directories::Private;
use crate::error::{Error, Result};
use crate::process::daemon;
use crate::process::memory::Budget;
use crate::tools::borg::{Borg, Origins, Server, has_workaround, not_authentic};
use parking_lot::{Mutex, MutexGuard};

/// Makes borg read an archive with a wrong signature.
const WORKAROUND: &str = "ignore_invalid_archive_tam";
/// The purpose of the key that seals lists of files on disk.
const SAVED: &[u8] = b"lists of files";

/// A repository of borg 1.x.
pub struct NativeCatalog {
    borg: Borg,
    filter: ArchiveFilter,
    lock_wait: Duration,
    server: Option<Arc<Server>>,
    shared: Arc<Shared>,
    /// The chunk lists of the loaded archives, by the archive's id.
    lists: Mutex<HashMap<String, Arc<Lists>>>,
    /// Where lists of files are kept for the next mount, if anywhere.
    saved: Option<Arc<Saved>>,
    /// Archives that are read only because the user allows it: every mount must check them again.
    doubtful: Mutex<HashSet<String>>,
    saving: Mutex<Vec<JoinHandle<()>>>,
    origins: Mutex<Option<Origins>>,
    /// The time of the manifest whose archives were listed last.
    listed_at: Mutex<Option<String>>,
    pace: Pace,
    salvage: Option<Salvage>,
}

impl NativeCatalog {
    /// Opens the repository of `borg`. A read fails if nothing arrives for `stall`.
    ///
    /// # Errors
    /// [`NotOpened::OnlyBorg`] when only borg can read it; [`NotOpened::Failed`] when it must not
    /// be trusted, cannot be reached, or its key cannot be opened.
    pub fn open(
        borg: &Borg,
        filter: ArchiveFilter,
        lock_wait: Duration,
        stall: Duration,
    ) -> Result<Self, NotOpened> {
        daemon::open_many_files();
        let pace = Pace::new(borg, None);
        let Opened { repository, server } = opening::open(borg, stall)?;
        Ok(NativeCatalog {
            borg: borg.clone(),
            filter,
            lock_wait,
            server,
            shared: Arc::new(Shared::new(repository)),
            lists: Mutex::default(),
            saved: None,
            doubtful: Mutex::default(),
            saving: Mutex::default(),
            origins: Mutex::default(),
            listed_at: Mutex::default(),
            pace,
            salvage: None,
        })
    }

    /// Keeps on disk what the next command can use.
    pub fn remembering(self, what: Remembered) -> Self {
        let catalog = self.saving_in(what.catalogs);
        match what.chunks {
            Some((dir, limit)) => catalog.keeping_chunks_in(dir, limit),
            None => catalog,
        }
    }

    /// Keeps lists of files in `dir`, if there is one, for the next mount.
    fn saving_in(mut self, dir: Option<PathBuf>) -> Self {
        let secret = self.shared.repository.derive(SAVED);
        self.saved = dir.zip(secret).map(|(dir, secret)| Arc::new(Saved::new(dir, secret)));
        self
    }

    /// Sets the interval between two checks for new archives.
    pub fn looking_every(mut self, every: Option<Duration>) -> Self {
        self.pace = self.pace.looking_every(every);
        self
    }

    /// Reads files with lost chunks. Their lists are not those that others may remember.
    pub fn salvaging(mut self, salvage: Option<Salvage>) -> Self {
        self.salvage = salvage;
        if salvage.is_some() {
            self.saved = None;
        }
        self
    }

    /// Keeps what a server sends in `dir` for the next mount, encrypted as in the repository, up to
    /// `limit` bytes.
    fn keeping_chunks_in(mut self, dir: PathBuf, limit: u64) -> Self {
        match (Private::make(&dir), Arc::get_mut(&mut self.shared)) {
            (Ok(directory), Some(shared)) => {
                shared.repository.keep_objects_in(directory.path(), limit);
                shared.chunks = Some(directory);
            }
            (Err(e), _) => tracing::warn!("chunks are not kept for the next mount: {}", e.chain()),
            // Nobody else has the catalog yet.
            (_, None) => {}
        }
        self
    }

    /// The repository.
    pub fn repository(&self) -> &Repository {
        &self.shared.repository
    }

    /// The metadata of `archive`.
    ///
    /// # Errors
    /// When it cannot be read, or nobody with the key wrote it.
    pub fn metadata(&self, archive: &Archive) -> Result<borg_repository::Archive> {
        let id = Id::from_hex(&archive.id);
        let id = id.ok_or_else(|| cannot_read(archive).because("its id is none"))?;
        let meta = self.shared.repository.archive(&id).map_err(|e| cannot_read(archive).because(e))?;
        if meta.authenticity == Authenticity::Wrong && !has_workaround(WORKAROUND) {
            return Err(not_authentic(&format!("read the archive {}", archive.name)));
        }
        Ok(meta)
    }

    /// Passes every item of an archive with its chunks to `each`, in the order of the archive.
    ///
    /// # Errors
    /// When the archive cannot be read to its end.
    pub fn each_item(
        &self,
        metadata: &borg_repository::Archive,
        each: &mut dyn FnMut(Item, &ChunkLists),
    ) -> Result<()> {
        let memory = Budget::of_free_memory();
        self.shared.repository.items(metadata, || memory.check(), each).map_err(|e| {
            let name = String::from_utf8_lossy(&metadata.name);
            Error::failed(format!("cannot read the archive {name}")).because(e)
        })
    }

    /// The chunk lists of `archive`, if its items were read or are remembered.
    pub fn lists(&self, archive: &Archive) -> Arc<Lists> {
        lock(&self.lists).get(&archive.id).cloned().unwrap_or_default()
    }
}

impl Catalog for NativeCatalog {
    fn archives(&self) -> Result<Vec<Archive>> {
        // The list was read a moment ago, and another look would need a new server.
        let manifest = self.shared.repository.manifest();
        let named = manifest.archives.iter().map(|entry| {
            let name = String::from_utf8_lossy(&entry.name).into_owned();
            Archive { name, id: entry.id.to_string(), start: entry.time.clone() }
        });
        let archives = match self.filter.choose(named.collect()) {
            Some(archives) => archives,
            None => self.borg.archives(&self.filter, self.lock_wait)?,
        };
        *lock(&self.listed_at) = Some(manifest.timestamp.clone());
        Ok(archives)
    }

    fn origin(&self, archive: &Archive) -> Result<Origin> {
        let mut origins = lock(&self.origins);
        let origins = origins.get_or_insert_with(|| Origins::load(self.borg.repository()));
        if let Some(known) = origins.get(archive) {
            return Ok(known.clone());
        }
        let Some(id) = Id::from_hex(&archive.id) else { return Ok(Origin::default()) };
        let meta = match self.shared.repository.archive(&id) {
            Ok(meta) => meta,
            Err(NotFound(_) | Integrity(_) | Unsupported(_)) => return Ok(Origin::default()),
            Err(e) => return Err(e.into()),
        };
        let origin = Origin::new(meta.hostname, &meta.comment, &meta.command_line);
        origins.insert(&archive.id, origin.clone());
        Ok(origin)
    }

    fn is_stale(&self) -> bool {
        self.pace.is_due()
    }

    fn look_again(&self) -> Result<Option<Vec<Archive>>> {
        self.pace.look(&self.borg, || {
            let manifest = self.shared.repository.refresh().map_err(|e| opening::message(&self.borg, e))?;
            let is_listed = lock(&self.listed_at).as_ref() == Some(&manifest.timestamp);
            if is_listed { Ok(None) } else { self.archives().map(Some) }
        })
    }

    fn items(&self, archive: &Archive, each: &mut dyn FnMut(Item)) -> Result<()> {
        let meta = self.metadata(archive)?;
        if meta.authenticity == Authenticity::Wrong {
            lock(&self.doubtful).insert(archive.id.clone());
        }
        let mut lists = Lists::default();
        let mut complete = true;
        self.each_item(&meta, &mut |item, chunks| {
            let chunks = match self.salvage {
                Some(_) if !chunks.healthy.is_empty() => &chunks.healthy,
                _ => &chunks.chunks,
            };
            if !chunks.is_empty() {
                let number = u32::try_from(item.number).ok();
                let is_zero = |chunk: &Chunk| self.shared.repository.is_zero(chunk);
                complete &= number.and_then(|n| lists.add(n, chunks, is_zero)).is_some();
            }
            each(item);
        })?;
        if !complete {
            return Err(cannot_read(archive).because("it has more chunks than can be counted"));
        }
        lists.finish();
        lock(&self.lists).insert(archive.id.clone(), Arc::new(lists));
        Ok(())
    }

    fn remembered(&self, archive: &Archive, view: &View) -> Option<Tree> {
        let (tree, lists) = self.saved.as_ref()?.load(&archive.id, view)?;
        lock(&self.lists).insert(archive.id.clone(), Arc::new(lists));
        Some(tree)
    }

    fn remember(&self, archive: &Archive, view: &View, tree: &Arc<Tree>) {
        let Some(saved) = self.saved.clone().filter(|_| !lock(&self.doubtful).contains(&archive.id)) else {
            return;
        };
        let (archive, view, tree, lists) =
            (archive.clone(), view.clone(), Arc::clone(tree), self.lists(archive));
        // The mount does not wait for the file to be written.
        let save = move || {
            if let Err(e) = saved.save(&archive.id, &view, &tree, &lists) {
                tracing::info!("the list of files of {} is not kept: {e}", archive.name);
            }
        };
        if let Ok(thread) = std::thread::Builder::new().name("save".into()).spawn(save) {
            lock(&self.saving).push(thread);
        }
    }

    fn forget(&self, archive: &Archive) {
        lock(&self.lists).remove(&archive.id);
    }

    fn layout(&self, archive: &Archive, _number: u32, tree: &Arc<Tree>) -> Arc<dyn Layout> {
        Arc::new(ChunkLayout {
            shared: Arc::clone(&self.shared),
            tree: Arc::clone(tree),
            lists: self.lists(archive),
        })
    }

    fn contents(
        &self,
        archive: &Archive,
        tree: Arc<Tree>,
        sink: Arc<dyn CacheSink>,
    ) -> Arc<dyn ContentSource> {
        let zeros = self.salvage == Some(Salvage::Zeros);
        let fill = zeros.then(|| Id::from_hex(&archive.id)).flatten();
        Arc::new(ChunkSource::new(Arc::clone(&self.shared), tree, self.lists(archive), sink).filling(fill))
    }

    fn shut_down(&self) {
        if let Some(origins) = &*lock(&self.origins) {
            origins.save();
        }
        self.shared.end();
        if let Some(server) = &self.server {
            server.end();
        }
        for thread in lock(&self.saving).drain(..) {
            // The thread logged its own errors.
            let _ = thread.join();
        }
    }
}

fn cannot_read(archive: &Archive) -> Error {
    Error::failed(format!("cannot read the archive {}", archive.name))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock()
}
