//! How archives look as a file system. This module knows neither the kernel nor FUSE: `fuse.rs`
//! translates, and tests call it directly.

use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;

mod attributes;
mod directories;
mod files;

pub use directories::DirectoryEntry;

use super::attr::Attr;
use super::links;
use super::loaded::{LoadedArchive, LoadedArchives};
use super::look::Looks;
use super::shown::{LATEST, ShownArchives, Slot};
use crate::archive::name::Archive;
use crate::archive::tree::{Body, ContentId, NodeId, Tree, View};
use crate::archive::volumes;
use crate::archives::cache::Cache;
use crate::archives::load;
use crate::archives::source::Catalog;
use crate::error::{Error, Result};
use crate::progress::{Monitor, Silent};
use crate::tools::mounts::{MARK, MARK_INO};
use crate::tools::owners::Owners;
use borg_repository::ItemPath;

/// The inode number of the mount's root.
pub const ROOT: u64 = 1;
/// The inode number of the link to the newest archive. The link gets a new inode when its target
/// changes, because the kernel caches link targets.
const LATEST_INO: u64 = ROOT + 1;
/// The position of the entry `latest` in the root.
const LAST: u64 = 1 << 33;
/// The kernel may cache what is in an archive, which never changes.
const FOR_EVER: Duration = Duration::from_secs(24 * 3600);
/// The list of archives does change.
const FOR_A_MOMENT: Duration = Duration::from_secs(1);

/// The contents of an archive in numbers.
pub struct Summary {
    pub entries: u64,
    /// The paths and sizes in bytes of the images of volumes, which a person may want to attach.
    pub volumes: Vec<(Vec<u8>, u64)>,
}

/// How archives are shown.
pub struct Presentation {
    pub view: View,
    pub owners: Owners,
    /// Files in which borg put zeros for lost chunks can be opened.
    pub allow_damaged_files: bool,
    /// Links never lead out of the archive.
    pub transform_symlinks: bool,
    /// Other users may look in, so what protected a file in the archive must protect it here.
    pub for_everyone: bool,
    /// The limit on the memory of all trees together, in bytes.
    pub tree_memory: u64,
}

/// One archive, or all of them as directories.
pub struct FileSystem {
    catalog: Arc<dyn Catalog>,
    cache: Arc<Cache>,
    presentation: Presentation,
    archives: Arc<ShownArchives>,
    loaded: LoadedArchives,
    /// The archive itself is the root, and not a directory in it.
    single: bool,
    looks: Looks,
}

/// What an inode stands for.
enum Place {
    /// The directory of all archives.
    Top,
    Latest,
    /// The link with the archive's id.
    Mark,
    In(usize, NodeId),
}

impl FileSystem {
    /// Shows `archive` itself, loaded at once. `monitor` receives the number of entries that were
    /// read.
    ///
    /// # Errors
    /// When the archive cannot be read.
    pub fn of_archive(
        catalog: Arc<dyn Catalog>,
        cache: Arc<Cache>,
        presentation: Presentation,
        archive: Archive,
        monitor: &dyn Monitor,
    ) -> Result<Self> {
        let fs = Self::new(catalog, cache, presentation, ShownArchives::single(archive), true);
        let slot = fs.archives.slot(0).ok_or_else(|| Error::failed("there is no archive to be shown"))?;
        let loaded = fs.load(0, &slot.archive, monitor)?;
        if !fs.presentation.view.paths.is_empty() && loaded.tree.is_empty()? {
            let paths: Vec<_> = fs.presentation.view.paths.iter().map(|p| p.to_string()).collect();
            let name = &slot.archive.name;
            return Err(Error::usage(format!("there is no {} in the archive {name}", paths.join(", ")))
                .hint(format!("`borg-offsite-backup list ::{name}` shows what is")));
        }
        // It is the only archive, and stays loaded.
        fs.loaded.put(0, loaded);
        Ok(fs)
    }

    /// Shows each of `archives` as a directory, which is loaded when somebody enters it.
    pub fn of_archives(
        catalog: Arc<dyn Catalog>,
        cache: Arc<Cache>,
        presentation: Presentation,
        archives: ShownArchives,
    ) -> Self {
        Self::new(catalog, cache, presentation, archives, false)
    }

    fn new(
        catalog: Arc<dyn Catalog>,
        cache: Arc<Cache>,
        presentation: Presentation,
        archives: ShownArchives,
        single: bool,
    ) -> Self {
        let archives = Arc::new(archives);
        let looks = Looks::new(Arc::clone(&catalog), Arc::clone(&archives));
        let loaded = LoadedArchives::new(presentation.tree_memory);
        FileSystem { catalog, cache, presentation, archives, loaded, single, looks }
    }

    /// The contents of the archive, if only one is shown. The log says why it cannot be read.
    pub fn summary(&self) -> Option<Summary> {
        let loaded = self.loaded.get(0).filter(|_| self.single)?;
        let volumes = self.volumes(&loaded.tree).map_err(unreadable).ok()?;
        Some(Summary { entries: loaded.tree.entries(), volumes })
    }

    /// The images of volumes that are shown.
    fn volumes(&self, tree: &Tree) -> Result<Vec<(Vec<u8>, u64)>> {
        // A view may strip what leads to them, and then only the whole archive knows where they are.
        let tree = &Tree::new(tree.archive(), View::default(), None)?;
        let directory = ItemPath::new(volumes::DIRECTORY).map(|path| tree.find(&path)).transpose()?;
        let mut files: Vec<ContentId> = Vec::new();
        let mut open: Vec<NodeId> = directory.flatten().into_iter().collect();
        while let Some(node) = open.pop() {
            match tree.node(node)?.map(|node| node.body) {
                Some(Body::Directory) => {
                    for child in tree.children(node)? {
                        open.push(child?.node);
                    }
                }
                Some(Body::File(file)) => files.push(file),
                _ => {}
            }
        }
        files.sort_unstable();
        files.dedup();
        let mut volumes = Vec::new();
        for file in files {
            if let (Some(path), Some(content)) = (tree.path(file)?, tree.content(file)?)
                && volumes::name_of(&path).is_some()
                // The master of a hard link may be outside of what is shown.
                && ItemPath::new(&path).is_some_and(|path| self.presentation.view.shows(&path))
            {
                volumes.push((path, content.size));
            }
        }
        Ok(volumes)
    }

    /// The id of the archive if all of it is shown, unaltered.
    fn whole_archive(&self) -> Option<String> {
        let whole = self.single
            && self.presentation.view == View::default()
            && !self.presentation.allow_damaged_files;
        self.archives.slot(0).filter(|_| whole).map(|slot| slot.archive.id.clone())
    }

    /// Whether an operation on this inode can be answered without waiting for the source.
    pub fn is_ready(&self, ino: u64) -> bool {
        match self.place(ino) {
            Some(Place::In(n, _)) => self.loaded.has(n),
            _ => true,
        }
    }

    /// The same for attributes: those of an archive's directory are known before it is loaded.
    pub fn has_attr(&self, ino: u64) -> bool {
        let is_directory = matches!(self.place(ino), Some(Place::In(_, Tree::ROOT))) && !self.single;
        is_directory || self.is_ready(ino)
    }

    /// The same for listing the directory.
    pub fn has_entries(&self, ino: u64) -> bool {
        match self.place(ino) {
            Some(Place::Top) => self.looks.is_quiet(),
            _ => self.is_ready(ino),
        }
    }

    /// The same for looking up a name in the directory. Every path leads through here, so a known
    /// archive does not wait for a look for new ones.
    pub fn has_name(&self, parent: u64, name: &[u8]) -> bool {
        match self.place(parent) {
            Some(Place::Top) if self.find(name).is_some() => true,
            _ => self.has_entries(parent),
        }
    }

    /// Whether the entries of the directory never change.
    pub fn is_constant(&self, ino: u64) -> bool {
        !matches!(self.place(ino), Some(Place::Top))
    }

    /// Must be called before a directory is entered. `was_ready` is what [`FileSystem::is_ready`]
    /// returned when the kernel asked.
    ///
    /// # Errors
    /// ESTALE if the kernel got another mode before the archive was loaded: then the kernel asks
    /// again.
    pub fn enter(&self, ino: u64, was_ready: bool) -> Result<(), Errno> {
        let Some(Place::In(n, Tree::ROOT)) = self.place(ino).filter(|_| !self.single) else { return Ok(()) };
        if !self.presentation.for_everyone || was_ready {
            return Ok(());
        }
        self.loaded(n)?;
        let is_open = self.directory_attr(n)?.mode & 0o005 == 0o005;
        if is_open { Ok(()) } else { Err(Errno::ESTALE) }
    }

    pub fn lookup(&self, parent: u64, name: &[u8]) -> Result<Attr, Errno> {
        match self.place(parent).ok_or(Errno::ENOENT)? {
            Place::Top => {
                self.looks.start();
                let found = self.find(name).or_else(|| {
                    self.looks.wait();
                    self.find(name)
                });
                self.attr(found.ok_or(Errno::ENOENT)?)
            }
            Place::Latest | Place::Mark => Err(Errno::ENOTDIR),
            Place::In(n, dir) => {
                let loaded = self.loaded(n)?;
                let is_mark = dir == Tree::ROOT && name == MARK.as_bytes();
                let child = loaded.tree.child(dir, name).map_err(unreadable)?;
                if is_mark && self.whole_archive().is_some() && child.is_none() {
                    return self.attr(MARK_INO);
                }
                let child = child.ok_or(Errno::ENOENT)?;
                self.node_attr(n, &loaded, child)
            }
        }
    }

    /// The inode of a name in the directory of all archives.
    fn find(&self, name: &[u8]) -> Option<u64> {
        if let Some((_, turns)) = self.archives.latest().filter(|_| name == LATEST.as_bytes()) {
            return Some(LATEST_INO + u64::from(turns));
        }
        let number = self.archives.find(std::str::from_utf8(name).ok()?)?;
        Some(self.ino(number, Tree::ROOT))
    }

    pub fn attr(&self, ino: u64) -> Result<Attr, Errno> {
        match self.place(ino).ok_or(Errno::ENOENT)? {
            Place::Top => {
                let directories = self.archives.count() as u32;
                Ok(self.plain(ROOT, libc::S_IFDIR | 0o755, 2 + directories, 0, 0))
            }
            Place::Latest => {
                let (target, _) = self.archives.latest().ok_or(Errno::ENOENT)?;
                Ok(self.plain(ino, libc::S_IFLNK | 0o777, 1, target.len() as u64, 0))
            }
            Place::Mark => {
                let id = self.whole_archive().ok_or(Errno::ENOENT)?;
                let attr = self.plain(MARK_INO, libc::S_IFLNK | 0o777, 1, id.len() as u64, 0);
                Ok(Attr { lifetime: FOR_EVER, ..attr })
            }
            Place::In(n, Tree::ROOT) if !self.single => self.directory_attr(n),
            Place::In(n, node) => self.node_attr(n, &*self.loaded(n)?, node),
        }
    }

    pub fn readlink(&self, ino: u64) -> Result<Vec<u8>, Errno> {
        match self.place(ino).ok_or(Errno::ENOENT)? {
            Place::Top => Err(Errno::EINVAL),
            Place::Latest => Ok(self.archives.latest().ok_or(Errno::ENOENT)?.0.into_bytes()),
            Place::Mark => Ok(self.whole_archive().ok_or(Errno::ENOENT)?.into_bytes()),
            Place::In(n, node) => {
                let loaded = self.loaded(n)?;
                match loaded.tree.node(node).map_err(unreadable)?.ok_or(Errno::ENOENT)?.body {
                    Body::Symlink(target) => self.link_target(&loaded, node, &target),
                    _ => Err(Errno::EINVAL),
                }
            }
        }
    }

    /// The bytes of all files and the number of all entries, in the archives that are loaded.
    pub fn totals(&self) -> (u64, u64) {
        self.loaded.all().iter().fold((0, 0), |(bytes, entries): (u64, u64), loaded| {
            // What cannot be read now is not counted.
            let (more, size) = loaded.tree.totals().unwrap_or_default();
            (bytes.saturating_add(size), entries + more)
        })
    }

    fn place(&self, ino: u64) -> Option<Place> {
        if ino == MARK_INO {
            return self.single.then_some(Place::Mark);
        }
        let at = ino.checked_sub(ROOT)?;
        let (slot, node) = ((at >> 32) as usize, at as NodeId);
        if self.single {
            return (slot == 0).then_some(Place::In(0, node));
        }
        match (slot, node) {
            (0, 0) => Some(Place::Top),
            (0, _) => Some(Place::Latest),
            _ => self.archives.slot(slot - 1).map(|_| Place::In(slot - 1, node)),
        }
    }

    fn ino(&self, n: usize, node: NodeId) -> u64 {
        let slot = if self.single { n } else { n + 1 } as u64;
        (slot << 32 | u64::from(node)) + ROOT
    }

    fn link_target(&self, loaded: &LoadedArchive, node: NodeId, target: &[u8]) -> Result<Vec<u8>, Errno> {
        if !self.presentation.transform_symlinks {
            return Ok(target.to_vec());
        }
        let depth = loaded.tree.depth(node).map_err(unreadable)?;
        Ok(links::target(depth, target, self.presentation.view.strip_components))
    }

    /// Must be called when a file or directory was opened: its archive stays loaded until it is
    /// closed.
    pub fn hold(&self, ino: u64) {
        if let Some(Place::In(n, _)) = self.place(ino) {
            self.loaded.hold(n);
        }
    }

    /// Must be called when it was closed.
    pub fn release(&self, ino: u64) {
        if let Some(Place::In(n, _)) = self.place(ino) {
            self.loaded.release(n);
            self.forget_deleted();
        }
    }

    /// Drops the trees of archives that were deleted.
    fn forget_deleted(&self) {
        self.loaded.retain(|n| self.archives.is_shown(n));
    }

    fn loaded(&self, n: usize) -> Result<Arc<LoadedArchive>, Errno> {
        if let Some(loaded) = self.loaded.get(n) {
            return Ok(loaded);
        }
        let slot: Arc<Slot> = self.archives.slot(n).ok_or(Errno::ENOENT)?;
        let loading = slot.loading.lock();
        if let Some(loaded) = self.loaded.get(n) {
            return Ok(loaded);
        }
        let loaded = self.load(n, &slot.archive, &Silent).map_err(|e| {
            let name = slot.archive.name.as_bytes().escape_ascii();
            tracing::error!("cannot show the archive {name}: {}", e.chain());
            Errno::EIO
        })?;
        if slot.root.get().is_none() {
            let _ = slot.root.set(self.node_attr(n, &loaded, Tree::ROOT)?);
        }
        self.loaded.put(n, Arc::clone(&loaded));
        drop(loading);
        self.forget_deleted();
        Ok(loaded)
    }

    fn load(&self, n: usize, archive: &Archive, monitor: &dyn Monitor) -> Result<Arc<LoadedArchive>> {
        let tree = Arc::new(self.catalog.tree(archive, &self.presentation.view, monitor)?);
        say_what_is_left_out(archive, &tree);
        let reader = load::reader(&*self.catalog, archive, &tree, Arc::clone(&self.cache), n as u32);
        Ok(Arc::new(LoadedArchive { tree, reader }))
    }
}

/// Logs why a list of files cannot be read.
fn unreadable(error: Error) -> Errno {
    tracing::error!("{}", error.chain());
    Errno::EIO
}

fn say_what_is_left_out(archive: &Archive, tree: &Tree) {
    let (name, left_out, unheld) = (archive.name.as_bytes().escape_ascii(), tree.left_out(), tree.unheld());
    if !left_out.is_empty() {
        tracing::warn!(
            "{name}: {left_out} cannot be shown (a path or name too long or not allowed, a link that \
             leads to nothing, or a kind that no file has)"
        );
    }
    if !unheld.is_empty() {
        tracing::warn!("{name}: extended attributes that Linux cannot hold are left out: of {unheld}");
    }
}
