//! From what a person asked for to a mount that is up: finds the archives, reads the list of files, makes
//! the session.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Once};
use std::time::Duration;

use super::archives::{Archives, ChooseLatest};
use super::fs::{FileSystem, Rules};
use super::session::{Access, Guards, Session, Settings};
use crate::archive::choice::Wanted;
use crate::archive::filter::ArchiveFilter;
use crate::archive::name::Archive;
use crate::archive::tree::View;
use crate::archives::cache::{Cache, Limits as CacheLimits};
use crate::archives::native::NativeCatalog;
use crate::archives::open::{CATALOGS, Source, catalog, choose};
use crate::archives::source::Catalog;
use crate::archives::streams::Limits;
use crate::error::{Error, Kind, Result};
use crate::folders;
use crate::tools::borg::Borg;
use crate::tools::owners::{Owners, Ownership};

/// File contents in memory, in bytes. Little, since the kernel keeps what
/// was read, too, and pages of the scratch.
const MEMORY: u64 = 8 << 20;
/// The same where there is no scratch file.
const MEMORY_ALONE: u64 = 512 << 20;
/// The scratch file takes at most this, unless more is asked for.
const SCRATCH: u64 = 64 << 30;
/// Folder in that of the cache for chunks.
const CHUNKS: &str = "chunks";
/// Less than this is not worth a file.
const LEAST_SCRATCH: u64 = 1 << 20;
/// A read that nobody answered for this long fails: a far seek in a large image over a slow line
/// may take most of it.
const DEADLINE: Duration = Duration::from_secs(3600);

/// What is to be mounted, and how.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// `None`: every archive that `filter` takes, as folders.
    pub archive: Option<Wanted>,
    pub source: Source,
    pub filter: ArchiveFilter,
    pub view: View,
    pub ownership: Ownership,
    pub allow_damaged_files: bool,
    pub access: Access,
    /// Owners and modes are not checked.
    pub ignore_permissions: bool,
    pub guards: Guards,
    /// Links never lead out of the archive.
    pub transform_symlinks: bool,
    /// The mount point is made with this mode, where it is missing.
    pub make_point: Option<u32>,
    /// Bytes on disk for the cache; `None`: half of what is free, up to 64 GiB.
    pub cache_size: Option<u64>,
    pub cache_dir: Option<PathBuf>,
    pub idle: Option<Duration>,
    pub stall: Option<Duration>,
    pub deadline: Option<Duration>,
    pub lock_wait: Option<Duration>,
    /// How often a mount of all archives looks for new ones.
    pub look: Option<Duration>,
}

/// An archive, or all of them, ready to be mounted.
pub struct Opened {
    pub fs: Arc<FileSystem>,
    /// The archive's name, or how many there are.
    pub what: String,
    /// The name of the source.
    pub source: &'static str,
    catalog: Arc<dyn Catalog>,
    settings: Settings,
}

/// Reads what is to be shown from the repository; `progress` is told how many entries of the
/// archive were read.
///
/// # Errors
/// When the repository or the archive cannot be read, or there is no such archive.
pub fn open(borg: &Borg, request: Request, progress: &dyn Fn(u64)) -> Result<Opened> {
    find(borg, request)?.read(progress)
}

/// What is to be mounted, found in the repository, but not read yet.
pub struct Found {
    /// `None`: all of them.
    pub archive: Option<Archive>,
    /// Under which the mount stands in the mount table.
    pub name: String,
    catalog: Arc<dyn Catalog>,
    source: &'static str,
    archives: Vec<Archive>,
    choose_latest: ChooseLatest,
    cache: Arc<Cache>,
    rules: Rules,
    settings: Settings,
}

/// Finds what is to be shown.
///
/// # Errors
/// As [`open`].
pub fn find(borg: &Borg, request: Request) -> Result<Found> {
    let mut on_disk = cache_limits(&request)?;
    let chunks = kept_chunks(borg, &request, &mut on_disk);
    let catalogs = (on_disk.scratch > 0).then(|| on_disk.dir.join(CATALOGS));
    let cache = Arc::new(Cache::new(&on_disk)?);
    let deadline = request.deadline.unwrap_or_else(deadline);
    let mut limits = Limits::default();
    limits.idle = request.idle.unwrap_or(limits.idle);
    limits.stall = request.stall.unwrap_or(limits.stall).min(deadline);
    limits.lock_wait = request.lock_wait.unwrap_or(limits.lock_wait);
    limits.look = request.look;
    let filter = match request.archive {
        // A checkpoint can be named; it is only not offered.
        Some(_) => ArchiveFilter { consider_checkpoints: true, ..ArchiveFilter::default() },
        None => request.filter,
    };
    let look = limits.look;
    let keep = |catalog: NativeCatalog| {
        let catalog = catalog.saving_in(catalogs).looking_every(look);
        match chunks {
            Some((dir, limit)) => catalog.keeping_chunks_in(dir, limit),
            None => catalog,
        }
    };
    let (catalog, source) = catalog(borg, request.source, filter, limits, keep)?;
    let archives = catalog.archives()?;
    let rules = Rules {
        view: request.view,
        owners: Owners::new(request.ownership),
        allow_damaged_files: request.allow_damaged_files,
        transform_symlinks: request.transform_symlinks,
        for_everyone: request.access == Access::Everyone && !request.ignore_permissions,
    };
    let archive = match &request.archive {
        Some(wanted) => Some(choose(wanted, &*catalog, &archives, borg)?),
        None => None,
    };
    let name = match &archive {
        Some(archive) => format!("{}::{}", borg.repository(), archive.name),
        None => borg.repository().to_owned(),
    };
    let permissions = !request.ignore_permissions;
    let (access, guards) = (request.access, request.guards);
    let settings = Settings { name: name.clone(), access, permissions, guards, deadline };
    let choose_latest = latest_for_links(Arc::clone(&catalog), borg);
    Ok(Found { archive, name, catalog, source, archives, choose_latest, cache, rules, settings })
}

/// What `::latest` means, for the link in a mount of all archives. Where that cannot be said there is no link.
fn latest_for_links(catalog: Arc<dyn Catalog>, borg: &Borg) -> ChooseLatest {
    let borg = borg.clone();
    let said = Once::new();
    Box::new(move |archives| {
        if archives.is_empty() {
            return Ok(None);
        }
        match choose(&Wanted::Latest(0), &*catalog, archives, &borg) {
            Ok(latest) => Ok(Some(latest)),
            Err(e) => {
                said.call_once(|| tracing::warn!("there is no link `latest`: {}", e.chain()));
                // It is not one archive, as long as these are all.
                if matches!(e.kind(), Kind::Usage | Kind::NotFound) { Ok(None) } else { Err(e) }
            }
        }
    })
}

impl Found {
    /// Reads it.
    ///
    /// # Errors
    /// As [`open`].
    pub fn read(self, progress: &dyn Fn(u64)) -> Result<Opened> {
        let Found { catalog, cache, rules, settings, source, .. } = self;
        let (fs, what) = match self.archive {
            Some(archive) => {
                let name = archive.name.clone();
                (FileSystem::of_archive(Arc::clone(&catalog), cache, rules, archive, progress)?, name)
            }
            None => {
                let what = match self.archives.len() {
                    1 => "1 archive".to_owned(),
                    n => format!("{n} archives"),
                };
                let archives = Archives::of(self.archives, self.choose_latest);
                (FileSystem::of_archives(Arc::clone(&catalog), cache, rules, archives), what)
            }
        };
        Ok(Opened { fs: Arc::new(fs), what, source, catalog, settings })
    }
}

impl Opened {
    /// Mounts it at `dir`, as [`mount_point`] gave it.
    ///
    /// # Errors
    /// As [`Session::start`].
    pub fn mount(&self, dir: &Path) -> Result<Session> {
        Session::start(Arc::clone(&self.fs), Arc::clone(&self.catalog), dir, &self.settings)
    }
}

fn cache_limits(request: &Request) -> Result<CacheLimits> {
    let none = CacheLimits { memory: MEMORY_ALONE, scratch: 0, dir: PathBuf::new() };
    if request.cache_size == Some(0) {
        return Ok(none);
    }
    let asked_for = request.cache_dir.is_some();
    let made = match &request.cache_dir {
        // The user's own folder: its mode is the user's affair, the file in it is private.
        Some(dir) => Ok(dir.clone()),
        None => folders::cache_dir().and_then(|dir| folders::make_private(&dir).map(|()| dir)),
    };
    let (dir, free) = match made.and_then(|dir| free_space(&dir).map(|free| (dir, free))) {
        Ok(found) => found,
        Err(e) if asked_for => return Err(e),
        Err(e) => {
            // A rescue system may have no place for it; the restore must go on.
            tracing::warn!("no cache on disk, so far seeks are slow: {}", e.chain());
            return Ok(none);
        }
    };
    match request.cache_size.unwrap_or_else(|| SCRATCH.min(free / 2)) {
        scratch if scratch < LEAST_SCRATCH => Ok(none),
        scratch => Ok(CacheLimits { memory: MEMORY, scratch, dir }),
    }
}

/// Where chunks of a server are kept for the next mount, and up to how many bytes: in a folder that
/// the user names, with half of what the cache may take.
fn kept_chunks(borg: &Borg, request: &Request, on_disk: &mut CacheLimits) -> Option<(PathBuf, u64)> {
    if borg.local().is_some() || request.cache_dir.is_none() || on_disk.scratch == 0 {
        return None;
    }
    on_disk.scratch /= 2;
    Some((on_disk.dir.join(CHUNKS), on_disk.scratch))
}

fn free_space(dir: &Path) -> Result<u64> {
    let stat = nix::sys::statvfs::statvfs(dir)
        .map_err(|e| Error::usage(format!("cannot use the cache folder {}", dir.display())).because(e))?;
    Ok(stat.blocks_available() * stat.fragment_size())
}

/// Where the kernel bounds FUSE requests, one past its bound ends the whole mount: stay below it.
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
