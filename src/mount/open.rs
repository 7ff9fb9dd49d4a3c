//! From what a person asked for to a mount that is up: checks the mount point, picks a source,
//! reads the list of files, makes the session.

use std::fs::DirBuilder;
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Once};
use std::time::Duration;

use chrono::Local;

use super::archives::{Archives, ChooseLatest};
use super::cache::{Cache, Limits as CacheLimits};
use super::fs::{FileSystem, Rules};
use super::native::NativeCatalog;
use super::owners::{Owners, Ownership};
use super::session::{Access, Guards, Session, Settings};
use super::source::Catalog;
use super::streams::{BorgCatalog, Limits};
use crate::archive::choice::{Shelf, Wanted};
use crate::archive::filter::ArchiveFilter;
use crate::archive::name::Archive;
use crate::archive::tree::View;
use crate::error::{Error, Kind, Result};
use crate::folders;
use crate::tools::borg::Borg;
use crate::tools::mounts;

/// File contents in memory, in bytes. Little, since the kernel keeps what
/// was read, too, and pages of the scratch.
const MEMORY: u64 = 8 << 20;
/// The same where there is no scratch file.
const MEMORY_ALONE: u64 = 512 << 20;
/// The scratch file takes at most this, unless more is asked for.
const SCRATCH: u64 = 64 << 30;
/// Folder in that of the cache for chunks.
const CHUNKS: &str = "chunks";
/// Folder in that of the cache for lists of files.
pub const CATALOGS: &str = "catalogs";
/// Less than this is not worth a file.
const LEAST_SCRATCH: u64 = 1 << 20;
/// A read that nobody answered for this long fails: a far seek in a large image over a slow line
/// may take most of it.
const DEADLINE: Duration = Duration::from_secs(3600);

/// Where the bytes come from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Source {
    /// Chunks where we can read the repository, else streams.
    #[default]
    Auto,
    /// Streams of `borg extract`.
    Stream,
    /// Chunks, read by ourselves.
    Native,
}

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
            return None;
        }
        let chosen = choose(&Wanted::Latest(0), &*catalog, archives, &borg);
        chosen
            .inspect_err(|e| said.call_once(|| tracing::warn!("there is no link `latest`: {}", e.chain())))
            .ok()
    })
}

/// The archive of `archives`, which are all of `catalog`, that is `wanted`. Which one that is the log
/// says where it was not named exactly.
///
/// # Errors
/// As [`Wanted::find`].
pub fn choose(wanted: &Wanted, catalog: &dyn Catalog, archives: &[Archive], borg: &Borg) -> Result<Archive> {
    let (repository, today) = (borg.repository(), Local::now().date_naive());
    let shelf = Shelf { archives, repository, identity: borg.identity(), today };
    let chosen = wanted.find(&shelf, &mut |archive| catalog.origin(archive))?;
    if let Some(note) = chosen.note {
        tracing::warn!("{note}");
    }
    Ok(chosen.archive)
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

/// The source that was asked for, and its name. What only borg can read streams read; what nobody
/// should read is an error.
fn catalog(
    borg: &Borg,
    source: Source,
    filter: ArchiveFilter,
    limits: Limits,
    keep: impl FnOnce(NativeCatalog) -> NativeCatalog,
) -> Result<(Arc<dyn Catalog>, &'static str)> {
    match native(borg, source, filter.clone(), &limits)? {
        Some(catalog) => Ok((Arc::new(keep(catalog)), "native")),
        None => Ok((Arc::new(BorgCatalog::new(borg.clone(), filter, limits)), "stream")),
    }
}

/// The native source, if it is wanted and can read the repository; `None`: streams it is to be, and
/// the log says why.
///
/// # Errors
/// When nobody should read the repository, or only the native source was to and cannot.
pub fn native(
    borg: &Borg,
    source: Source,
    filter: ArchiveFilter,
    limits: &Limits,
) -> Result<Option<NativeCatalog>> {
    if source == Source::Stream {
        return Ok(None);
    }
    match NativeCatalog::open(borg, filter, limits.lock_wait, limits.stall)? {
        Ok(catalog) => Ok(Some(catalog)),
        Err(why) if source == Source::Native => {
            let repository = borg.repository();
            Err(Error::usage(format!("the native source cannot read {repository}: {why}"))
                .hint("`--source stream` can"))
        }
        Err(why) => {
            tracing::warn!("streams of borg are used, so far seeks are slow: {why}");
            Ok(None)
        }
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

/// Makes `dir`, if it is missing, with its parents.
///
/// # Errors
/// When it cannot be made.
pub fn make_mount_point(dir: &Path, mode: u32) -> Result<()> {
    let made = if dir.symlink_metadata().is_ok() {
        Ok(())
    } else {
        DirBuilder::new().recursive(true).mode(mode).create(dir)
    };
    made.map_err(|e| Error::failed(format!("cannot make the mount point {}", dir.display())).because(e))
}

/// Makes sure that `dir` can be mounted on, and returns it as an absolute path without links. A
/// dead mount of ours that is in the way is taken down.
///
/// # Errors
/// When it is missing, no folder, not empty, mounted already, or inside the local repository.
pub fn mount_point(dir: &Path, repository: Option<&Path>) -> Result<PathBuf> {
    let shown = dir.display();
    let dir = absolute(dir)?;
    if let Some(mount) = mounts::at(&dir)?.filter(|m| m.kind == mounts::FUSE_TYPE) {
        if !mount.is_dead() {
            return Err(Error::new(
                Kind::Busy,
                format!("{} is mounted at {shown} already", mount.source.display()),
            )
            .hint(format!("end it with `borg-offsite-backup umount {shown}`")));
        }
        tracing::warn!("{shown} had a mount whose process was killed: it is cleared");
        mounts::unmount(&dir, true)?;
    }
    let mut entries = std::fs::read_dir(&dir).map_err(|e| match e.kind() {
        ErrorKind::NotFound => Error::usage(format!("the mount point {shown} does not exist"))
            .hint(format!("make it with `mkdir -p {shown}`")),
        ErrorKind::NotADirectory => Error::usage(format!("the mount point {shown} is no folder")),
        _ => Error::usage(format!("cannot look into the mount point {shown}")).because(e),
    })?;
    if entries.next().is_some() {
        return Err(Error::usage(format!("the mount point {shown} is not empty"))
            .hint("a mount would hide what is in it; take an empty folder"));
    }
    let repository = repository.and_then(|r| r.canonicalize().ok());
    if let Some(repository) = repository.filter(|r| dir.starts_with(r)) {
        return Err(Error::usage(format!(
            "the mount point {shown} is inside the repository {}",
            repository.display()
        ))
        .hint("borg would wait for the mount and the mount for borg; take a folder elsewhere"));
    }
    Ok(dir)
}

/// `dir` without links and relative parts. What is mounted there is not touched: it may be dead.
///
/// # Errors
/// When the folder that it is in does not exist.
pub fn absolute(dir: &Path) -> Result<PathBuf> {
    match dir.canonicalize() {
        Ok(dir) => return Ok(dir),
        Err(e) if e.raw_os_error() != Some(libc::ENOTCONN) && e.kind() != ErrorKind::NotFound => {
            return Err(Error::usage(format!("cannot use {}", dir.display())).because(e));
        }
        Err(_) => {}
    }
    let parent = match dir.parent() {
        Some(p) if !p.as_os_str().is_empty() => p,
        _ => Path::new("."),
    };
    match (parent.canonicalize(), dir.file_name()) {
        (Ok(parent), Some(name)) => Ok(parent.join(name)),
        _ => Err(Error::usage(format!("the mount point {} does not exist", dir.display()))
            .hint(format!("make it with `mkdir -p {}`", dir.display()))),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_point_must_be_an_empty_folder_outside_the_repository() {
        let dir = tempfile::tempdir().unwrap();
        let repository = dir.path().join("repo");
        std::fs::create_dir_all(repository.join("data/empty")).unwrap();
        let refused = |path: &Path| mount_point(path, Some(&repository)).unwrap_err().to_string();
        assert!(refused(&dir.path().join("missing")).contains("does not exist"));
        assert!(refused(&dir.path().join("no/parent")).contains("does not exist"));
        assert!(refused(&repository).contains("not empty"));
        assert!(refused(&repository.join("data/empty")).contains("inside the repository"));
        std::fs::write(dir.path().join("file"), "").unwrap();
        assert!(refused(&dir.path().join("file")).contains("no folder"));
        let good = dir.path().join("good");
        std::fs::create_dir(&good).unwrap();
        std::os::unix::fs::symlink(&good, dir.path().join("link")).unwrap();
        let found = mount_point(&dir.path().join("link"), Some(&repository)).unwrap();
        assert_eq!(found, good.canonicalize().unwrap());
    }
}
