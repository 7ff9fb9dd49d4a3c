//! The archives of a repository, read without borg.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use borg_repository::Error::{Integrity, NotFound, Unsupported};
use borg_repository::{ChunkLists, Id, Item, Repository};

use super::fetcher::Fetcher;
use super::layout::ChunkLayout;
use super::loader::Loader;
use super::opening::{self, NotOpened, Opened};
use super::saved::Saved;
use super::shared::Shared;
use super::source::ChunkSource;
use crate::archive::filter::ArchiveFilter;
use crate::archive::name::Archive;
use crate::archive::origin::Origin;
use crate::archive::tree::{Pages, Tree, View};
use crate::archives::options::Options;
use crate::archives::pace::Pace;
use crate::archives::salvage::Salvage;
use crate::archives::source::{CacheSink, Catalog, ContentSource, Layout};

use crate::directories::Private;
use crate::error::{Error, Result};
use crate::process::daemon;
use crate::process::memory::Budget;
use crate::progress::Monitor;
use crate::tools::borg::{Borg, Origins, Server};
use parking_lot::{Mutex, MutexGuard};

/// The purpose of the key that seals lists of files on disk.
const SAVED: &[u8] = b"lists of files";
/// The memory for pages of lists, in bytes.
const PAGES: usize = 24 << 20;

/// A repository of borg 1.x.
pub struct NativeCatalog {
    borg: Borg,
    filter: ArchiveFilter,
    lock_wait: Duration,
    server: Option<Arc<Server>>,
    shared: Arc<Shared>,
    loader: Arc<Loader>,
    /// Made when the first file is read.
    fetcher: OnceLock<Arc<Fetcher>>,
    origins: Mutex<Option<Origins>>,
    /// The time of the manifest whose archives were listed last.
    listed_at: Mutex<Option<String>>,
    pace: Pace,
    salvage: Option<Salvage>,
}

impl NativeCatalog {
    /// Opens the repository of `borg`.
    ///
    /// # Errors
    /// [`NotOpened::OnlyBorg`] when only borg can read it; [`NotOpened::Failed`] when it must not
    /// be trusted, cannot be reached, or its key cannot be opened.
    pub fn open(borg: &Borg, options: &Options) -> Result<Self, NotOpened> {
        daemon::open_many_files();
        let (limits, remembered) = (&options.limits, &options.remembered);
        let pace = Pace::new(borg, limits.look);
        let Opened { mut repository, server } = opening::open(borg, limits.stall)?;
        let chunks = remembered.chunks.as_ref().and_then(|(dir, limit)| match Private::make(dir) {
            Ok(directory) => {
                // Encrypted as in the repository.
                repository.keep_objects_in(directory.path(), *limit);
                Some(directory)
            }
            Err(e) => {
                tracing::warn!("chunks are not kept for the next mount: {}", e.chain());
                None
            }
        });
        let saved = remembered.catalogs.clone().zip(repository.derive(SAVED));
        let pages = Arc::new(Pages::new(PAGES));
        let saved = saved.map(|(dir, secret)| Saved::new(dir, secret, remembered.catalog_limit, pages));
        let shared = Arc::new(Shared::new(repository, server.is_none(), chunks));
        Ok(NativeCatalog {
            borg: borg.clone(),
            filter: options.filter.clone(),
            lock_wait: limits.lock_wait,
            server,
            loader: Arc::new(Loader::new(Arc::clone(&shared), saved, options.salvage)),
            shared,
            fetcher: OnceLock::new(),
            origins: Mutex::default(),
            listed_at: Mutex::default(),
            pace,
            salvage: options.salvage,
        })
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
        self.loader.metadata(archive)
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

    fn tree(&self, archive: &Archive, view: &View, monitor: &dyn Monitor) -> Result<Tree> {
        let list = self.loader.load(archive, monitor)?;
        let (loader, again) = (Arc::clone(&self.loader), archive.clone());
        Tree::new(list, view.clone(), Some(Box::new(move || loader.make_anew(&again))))
    }

    fn layout(&self, _archive: &Archive, _number: u32, tree: &Arc<Tree>) -> Arc<dyn Layout> {
        Arc::new(ChunkLayout { tree: Arc::clone(tree) })
    }

    fn contents(
        &self,
        archive: &Archive,
        tree: Arc<Tree>,
        sink: Arc<dyn CacheSink>,
    ) -> Arc<dyn ContentSource> {
        let zeros = self.salvage == Some(Salvage::Zeros);
        let fill = zeros.then(|| Id::from_hex(&archive.id)).flatten();
        let fetcher = Arc::clone(self.fetcher.get_or_init(|| Fetcher::start(Arc::clone(&self.shared))));
        Arc::new(ChunkSource::new(Arc::clone(&self.shared), fetcher, tree, sink).filling(fill))
    }

    fn shut_down(&self) {
        if let Some(origins) = &*lock(&self.origins) {
            origins.save();
        }
        self.shared.end();
        if let Some(server) = &self.server {
            server.end();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock()
}
