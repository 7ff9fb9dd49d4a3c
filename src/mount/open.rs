//! Opens a mount: finds the archives, reads the list of files, and starts the session.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Once};
use std::time::Duration;

use super::fs::{FileSystem, Presentation};
use super::loaded::MOST_BYTES;
use super::session::{Guards, Session, Settings};
use super::shown::{ChooseLatest, ShownArchives};
use crate::archive::choice::Wanted;
use crate::archive::filter::ArchiveFilter;
use crate::archive::name::Archive;
use crate::archive::tree::View;
use crate::archives::cache::Cache;
use crate::archives::open::{Archives, Options, Source};
use crate::archives::salvage::Salvage;
use crate::archives::source::Catalog;
use crate::archives::storage::{Storage, for_chunks};
use crate::archives::streams::Limits;
use crate::error::{Kind, Result};
use crate::progress::Monitor;
use crate::tools::borg::Borg;
use crate::tools::fuse::mounted::Access;
use crate::tools::owners::{Owners, Ownership};

/// What an archive is opened for.
pub const DOING: &str = "mount it";
/// The default deadline of a read. A far seek in a large image over a slow connection may take most
/// of it.
const DEADLINE: Duration = Duration::from_secs(3600);

/// What to mount, and how.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// `None`: every archive that `filter` selects, as directories.
    pub archive: Option<Wanted>,
    pub source: Source,
    pub filter: ArchiveFilter,
    pub view: View,
    pub ownership: Ownership,
    pub allow_damaged_files: bool,
    /// Reads files with lost chunks; they count as allowed.
    pub salvage: Option<Salvage>,
    pub access: Access,
    /// The kernel does not check owners and modes.
    pub ignore_permissions: bool,
    pub guards: Guards,
    /// Links never lead out of the archive.
    pub transform_symlinks: bool,
    /// If the mount point is missing, it is made with this mode.
    pub make_point: Option<u32>,
    /// The limit of the cache on disk in bytes; `None`: half of the free space, up to 64 GiB.
    pub cache_size: Option<u64>,
    pub cache_dir: Option<PathBuf>,
    pub idle: Option<Duration>,
    pub stall: Option<Duration>,
    pub deadline: Option<Duration>,
    pub lock_wait: Option<Duration>,
    /// The interval between two checks for new archives, in a mount of all archives.
    pub look: Option<Duration>,
}

/// An archive, or all of them, ready to be mounted.
pub struct Opened {
    pub fs: Arc<FileSystem>,
    /// The archive's name, or the number of archives.
    pub what: String,
    /// The name of the source.
    pub source: &'static str,
    catalog: Arc<dyn Catalog>,
    settings: Settings,
}

/// Finds and reads what is to be mounted. `monitor` receives the number of entries of the archive
/// that were read.
///
/// # Errors
/// When the repository or the archive cannot be read, or the archive does not exist.
pub fn open(borg: &Borg, request: Request, monitor: &dyn Monitor) -> Result<Opened> {
    find(borg, request)?.read(monitor)
}

/// What is to be mounted: found, but not read yet.
pub struct Found {
    /// `None`: all archives.
    pub archive: Option<Archive>,
    /// The source of the mount in the mount table.
    pub name: String,
    archives: Archives,
    list: Vec<Archive>,
    cache: Arc<Cache>,
    presentation: Presentation,
    settings: Settings,
}

/// Finds what is to be mounted.
///
/// # Errors
/// As [`open`].
pub fn find(borg: &Borg, request: Request) -> Result<Found> {
    let dir = request.cache_dir.as_deref();
    let storage = Storage::new(dir, request.cache_size, borg.catalog_limit(), borg.local().is_none())?;
    let deadline = request.deadline.unwrap_or_else(deadline);
    let mut limits = Limits::default();
    limits.idle = request.idle.unwrap_or(limits.idle);
    limits.stall = request.stall.unwrap_or(limits.stall).min(deadline);
    limits.lock_wait = request.lock_wait.unwrap_or(limits.lock_wait);
    limits.look = request.look;
    let filter = match request.archive {
        // A checkpoint can be named, but is not offered.
        Some(_) => ArchiveFilter { consider_checkpoints: true, ..ArchiveFilter::default() },
        None => request.filter,
    };
    let (source, salvage) = (request.source, request.salvage);
    let options = Options { source, filter, limits, remembered: storage.remembered, salvage, doing: DOING };
    let archives = Archives::open(borg, options)?;
    let limits = match archives.native() {
        Some(_) => for_chunks(storage.cache),
        None => storage.cache,
    };
    let cache = Arc::new(Cache::new(&limits)?);
    let list = archives.list()?;
    let presentation = Presentation {
        view: request.view,
        owners: Owners::new(request.ownership),
        allow_damaged_files: request.allow_damaged_files || salvage.is_some(),
        transform_symlinks: request.transform_symlinks,
        for_everyone: request.access == Access::Everyone && !request.ignore_permissions,
        tree_memory: MOST_BYTES,
    };
    let archive = match &request.archive {
        Some(wanted) => Some(archives.resolve(wanted, &list)?),
        None => None,
    };
    let name = match &archive {
        Some(archive) => format!("{}::{}", borg.repository(), archive.name),
        None => borg.repository().to_owned(),
    };
    let name = match salvage {
        Some(salvage) => format!("{name} ({})", salvage.name()),
        None => name,
    };
    let permissions = !request.ignore_permissions;
    let (access, guards) = (request.access, request.guards);
    let settings = Settings { name: name.clone(), access, permissions, guards, deadline };
    Ok(Found { archive, name, archives, list, cache, presentation, settings })
}

/// Resolves `::latest` for the link in a mount of all archives. If it cannot be resolved, there is
/// no link.
fn latest_for_links(archives: Archives) -> ChooseLatest {
    let warned = Once::new();
    Box::new(move |list| {
        if list.is_empty() {
            return Ok(None);
        }
        match archives.resolve(&Wanted::Latest(0), list) {
            Ok(latest) => Ok(Some(latest)),
            Err(e) => {
                warned.call_once(|| tracing::warn!("there is no link `latest`: {}", e.chain()));
                // The list itself leaves no single latest archive.
                if matches!(e.kind(), Kind::Usage | Kind::NotFound) { Ok(None) } else { Err(e) }
            }
        }
    })
}

impl Found {
    /// Reads the list of files.
    ///
    /// # Errors
    /// As [`open`].
    pub fn read(self, monitor: &dyn Monitor) -> Result<Opened> {
        let Found { archives, list, cache, presentation, settings, .. } = self;
        let catalog = Arc::clone(archives.catalog());
        let source = archives.source();
        let (fs, what) = match self.archive {
            Some(archive) => {
                let name = archive.name.clone();
                (FileSystem::of_archive(Arc::clone(&catalog), cache, presentation, archive, monitor)?, name)
            }
            None => {
                let what = match list.len() {
                    1 => "1 archive".to_owned(),
                    n => format!("{n} archives"),
                };
                let shown_archives = ShownArchives::of(list, latest_for_links(archives));
                (FileSystem::of_archives(Arc::clone(&catalog), cache, presentation, shown_archives), what)
            }
        };
        Ok(Opened { fs: Arc::new(fs), what, source, catalog, settings })
    }
}

impl Opened {
    /// Mounts it at `dir`, a path from `tools::mount_point`.
    ///
    /// # Errors
    /// As [`Session::start`].
    pub fn mount(&self, dir: &Path) -> Result<Session> {
        Session::start(Arc::clone(&self.fs), Arc::clone(&self.catalog), dir, &self.settings)
    }
}

/// If the kernel limits the time of FUSE requests, one request past the limit ends the whole mount.
/// So the deadline stays below it.
fn deadline() -> Duration {
    let bound = |name: &str| {
        let text = std::fs::read_to_string(format!("/proc/sys/fs/fuse/{name}")).ok()?;
        text.trim().parse::<u64>().ok().filter(|seconds| *seconds > 0)
    };
    let bounds = [bound("default_request_timeout"), bound("max_request_timeout")];
    match bounds.into_iter().flatten().min() {
        Some(seconds) => DEADLINE.min(Duration::from_secs(seconds).mul_f32(0.8)),
        None => DEADLINE,
    }
}
