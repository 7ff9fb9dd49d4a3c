//! How archives look as a file system; here and only here. No kernel and no FUSE in it: `fuse.rs`
//! translates, and tests call it directly.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use borg_repository::{ItemPath, Xattr};
use nix::errno::Errno;

use super::acl;
use super::archives::{Archives, LATEST, Slot, Volume};
use super::links::Depths;
use super::look::Looks;
use crate::archive::name::Archive;
use crate::archive::tree::{Body, Content, ContentId, Extra, LARGEST_XATTR, NodeId, Tree, TreeBuilder, View};
use crate::archive::volumes;
use crate::archives::cache::Cache;
use crate::archives::reader::{Reader, Shelf};
use crate::archives::source::{Catalog, FRAME, ReadError};
use crate::error::{Error, Result};
use crate::tools::mounts::{MARK, MARK_INO};
use crate::tools::owners::Owners;

/// Inode number of the mount's root.
pub const ROOT: u64 = 1;
/// The link to the newest archive. A new one when it leads elsewhere: the kernel keeps what a link says.
const LATEST_INO: u64 = ROOT + 1;
/// Number of the entry `latest` in the root.
const LAST: u64 = 1 << 33;
/// An archive never changes, so the kernel may keep what it was told.
const FOR_EVER: Duration = Duration::from_secs(24 * 3600);
/// But archives come and go.
const FOR_A_MOMENT: Duration = Duration::from_secs(1);

/// What stat(2) tells; times in nanoseconds since the epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attr {
    pub ino: u64,
    pub size: u64,
    /// Bytes that are no hole.
    pub data: u64,
    /// With the file type.
    pub mode: u32,
    pub nlink: u32,
    pub uid: u32,
    pub gid: u32,
    pub rdev: u64,
    pub atime: i64,
    pub mtime: i64,
    pub ctime: i64,
    /// How long the kernel may keep this.
    pub lifetime: Duration,
}

/// One name of a directory.
pub struct Entry<'a> {
    pub name: &'a [u8],
    pub attr: Attr,
}

/// What is in an archive.
pub struct Summary {
    pub entries: u64,
    /// Path and size in bytes of the images of volumes, which a person may want to attach.
    pub volumes: Vec<(Vec<u8>, u64)>,
}

/// How the archives are shown.
pub struct Rules {
    pub view: View,
    pub owners: Owners,
    /// Files in which borg put zeros for lost chunks can be opened.
    pub allow_damaged_files: bool,
    /// Links never lead out of the archive.
    pub transform_symlinks: bool,
    /// Other users may look in: what protected a file in the archive must protect it here.
    pub for_everyone: bool,
}

/// One archive, or all of them as folders.
pub struct FileSystem {
    catalog: Arc<dyn Catalog>,
    cache: Arc<Cache>,
    rules: Rules,
    archives: Arc<Archives>,
    /// The archive is the root itself, not a folder in it.
    single: bool,
    looks: Looks,
}

/// Where an inode is.
enum Place {
    /// The folder of all archives.
    Top,
    Latest,
    /// The link that tells which archive this is.
    Mark,
    In(usize, NodeId),
}

impl FileSystem {
    /// Shows `archive` itself, loaded at once. `progress` is told how many entries were read.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn of_archive(
        catalog: Arc<dyn Catalog>,
        cache: Arc<Cache>,
        rules: Rules,
        archive: Archive,
        progress: &dyn Fn(u64),
    ) -> Result<Self> {
        let fs = Self::new(catalog, cache, rules, Archives::single(archive), true);
        let slot = fs.archives.slot(0).ok_or_else(|| Error::failed("there is no archive to be shown"))?;
        let volume = fs.load(0, &slot.archive, progress)?;
        if volume.tree.is_empty() && !fs.rules.view.paths.is_empty() {
            let paths: Vec<_> = fs.rules.view.paths.iter().map(|p| p.to_string()).collect();
            let name = &slot.archive.name;
            return Err(Error::usage(format!("there is no {} in the archive {name}", paths.join(", ")))
                .hint(format!("`borg-offsite-backup list ::{name}` shows what is")));
        }
        let _ = slot.volume.set(volume);
        Ok(fs)
    }

    /// Shows every one of `archives` as a folder, loaded when it is first entered.
    pub fn of_archives(
        catalog: Arc<dyn Catalog>,
        cache: Arc<Cache>,
        rules: Rules,
        archives: Archives,
    ) -> Self {
        Self::new(catalog, cache, rules, archives, false)
    }

    fn new(
        catalog: Arc<dyn Catalog>,
        cache: Arc<Cache>,
        rules: Rules,
        archives: Archives,
        single: bool,
    ) -> Self {
        let archives = Arc::new(archives);
        let looks = Looks::new(Arc::clone(&catalog), Arc::clone(&archives));
        FileSystem { catalog, cache, rules, archives, single, looks }
    }

    /// What is in the archive that is shown by itself.
    pub fn summary(&self) -> Option<Summary> {
        let slot = self.archives.slot(0).filter(|_| self.single)?;
        let volume = slot.volume.get()?;
        // Names of hard links may lead to contents that are not shown.
        let shows = |path: &[u8]| ItemPath::new(path).is_some_and(|path| self.rules.view.shows(&path));
        let images = volume.tree.contents().filter(|c| volumes::has_volumes(c.folder));
        let images = images.map(|c| (c.path(), c.size));
        let volumes = images.filter(|(path, _)| volumes::name_of(path).is_some() && shows(path)).collect();
        Some(Summary { entries: volume.tree.len() as u64 - 1, volumes })
    }

    /// The id of the archive that is shown, if nothing is left out and nothing is made up.
    fn whole_archive(&self) -> Option<String> {
        let whole = self.single && self.rules.view == View::default() && !self.rules.allow_damaged_files;
        self.archives.slot(0).filter(|_| whole).map(|slot| slot.archive.id.clone())
    }

    /// Whether an operation on this inode can be answered without waiting for the source.
    pub fn is_ready(&self, ino: u64) -> bool {
        match self.place(ino) {
            Some(Place::In(n, _)) => self.archives.slot(n).is_none_or(|slot| slot.volume.get().is_some()),
            _ => true,
        }
    }

    /// The same for its attributes: those of an archive's folder are known before it is loaded.
    pub fn has_attr(&self, ino: u64) -> bool {
        let is_folder = matches!(self.place(ino), Some(Place::In(_, Tree::ROOT))) && !self.single;
        is_folder || self.is_ready(ino)
    }

    /// The same for what is in it.
    pub fn has_entries(&self, ino: u64) -> bool {
        match self.place(ino) {
            Some(Place::Top) => self.looks.is_quiet(),
            _ => self.is_ready(ino),
        }
    }

    /// The same for one name in it: nobody waits for news of an archive that is known, since each path
    /// leads through here.
    pub fn has_name(&self, parent: u64, name: &[u8]) -> bool {
        match self.place(parent) {
            Some(Place::Top) if self.find(name).is_some() => true,
            _ => self.has_entries(parent),
        }
    }

    /// Whether what is in a folder never changes.
    pub fn is_constant(&self, ino: u64) -> bool {
        !matches!(self.place(ino), Some(Place::Top))
    }

    /// To be called before a folder is looked into. `was_ready`: as [`FileSystem::is_ready`] said when
    /// the kernel asked.
    ///
    /// # Errors
    /// ESTALE where the kernel was told of another mode than it has, since the archive was not loaded
    /// then: the kernel asks again.
    pub fn enter(&self, ino: u64, was_ready: bool) -> Result<(), Errno> {
        let Some(Place::In(n, Tree::ROOT)) = self.place(ino).filter(|_| !self.single) else { return Ok(()) };
        if !self.rules.for_everyone || was_ready {
            return Ok(());
        }
        self.volume(n)?;
        let is_open = self.folder_attr(n)?.mode & 0o005 == 0o005;
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
                let volume = self.volume(n)?;
                let is_mark = dir == Tree::ROOT && name == MARK.as_bytes();
                if is_mark && self.whole_archive().is_some() && volume.tree.child(dir, name).is_none() {
                    return self.attr(MARK_INO);
                }
                let child = volume.tree.child(dir, name).ok_or(Errno::ENOENT)?;
                self.node_attr(n, &volume, child)
            }
        }
    }

    /// The inode of a name in the folder of all archives.
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
                let folders = self.archives.count() as u32;
                Ok(self.plain(ROOT, libc::S_IFDIR | 0o755, 2 + folders, 0, 0))
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
            Place::In(n, Tree::ROOT) if !self.single => self.folder_attr(n),
            Place::In(n, node) => self.node_attr(n, &*self.volume(n)?, node),
        }
    }

    pub fn readlink(&self, ino: u64) -> Result<Vec<u8>, Errno> {
        match self.place(ino).ok_or(Errno::ENOENT)? {
            Place::Top => Err(Errno::EINVAL),
            Place::Latest => Ok(self.archives.latest().ok_or(Errno::ENOENT)?.0.into_bytes()),
            Place::Mark => Ok(self.whole_archive().ok_or(Errno::ENOENT)?.into_bytes()),
            Place::In(n, node) => {
                let volume = self.volume(n)?;
                match volume.tree.node(node).ok_or(Errno::ENOENT)?.body {
                    Body::Symlink(target) => Ok(self.link_target(&volume, node, target).into_owned()),
                    _ => Err(Errno::EINVAL),
                }
            }
        }
    }

    /// Gives the entries of a directory from number `from` on to `each`, with the number of the
    /// next one, until it returns false. `.` and `..` are the first two.
    pub fn entries(
        &self,
        ino: u64,
        from: u64,
        each: &mut dyn FnMut(Entry<'_>, u64) -> bool,
    ) -> Result<(), Errno> {
        let place = self.place(ino).ok_or(Errno::ENOENT)?;
        let above = match place {
            Place::Latest | Place::Mark => return Err(Errno::ENOTDIR),
            Place::Top => ROOT,
            Place::In(n, node) => self.parent(n, node)?,
        };
        let dots: [(&[u8], u64); 2] = [(b".", ino), (b"..", above)];
        for (next, (name, ino)) in (1..).zip(dots).skip(from as usize) {
            if !each(Entry { name, attr: self.attr(ino)? }, next) {
                return Ok(());
            }
        }
        match place {
            Place::In(n, node) => self.children(n, node, from, each),
            _ => self.folders(from, each),
        }
    }

    fn children(
        &self,
        n: usize,
        node: NodeId,
        from: u64,
        each: &mut dyn FnMut(Entry<'_>, u64) -> bool,
    ) -> Result<(), Errno> {
        let volume = self.volume(n)?;
        let Body::Directory { children, .. } = volume.tree.node(node).ok_or(Errno::ENOENT)?.body else {
            return Err(Errno::ENOTDIR);
        };
        let skip = from.saturating_sub(2);
        for (next, (name, child)) in (skip + 3..).zip(children.iter().skip(skip as usize)) {
            if !each(Entry { name, attr: self.node_attr(n, &volume, child)? }, next) {
                return Ok(());
            }
        }
        Ok(())
    }

    /// The folders of all archives, each numbered by the archive's number: others come and go while
    /// they are listed.
    fn folders(&self, from: u64, each: &mut dyn FnMut(Entry<'_>, u64) -> bool) -> Result<(), Errno> {
        if from >= LAST {
            return Ok(());
        }
        if from <= 2 {
            self.looks.wait();
        }
        for n in self.archives.shown(from.saturating_sub(2) as usize) {
            let slot = self.archives.slot(n).ok_or(Errno::ENOENT)?;
            let name = slot.archive.name.as_bytes();
            if !each(Entry { name, attr: self.folder_attr(n)? }, n as u64 + 3) {
                return Ok(());
            }
        }
        if let Some((_, turns)) = self.archives.latest() {
            each(Entry { name: LATEST.as_bytes(), attr: self.attr(LATEST_INO + u64::from(turns))? }, LAST);
        }
        Ok(())
    }

    /// Whether the file can be read.
    ///
    /// # Errors
    /// EIO for a file in which borg put zeros for lost chunks, unless they were asked for.
    pub fn open(&self, ino: u64) -> Result<(), Errno> {
        let Some(Place::In(n, node)) = self.place(ino) else { return Err(Errno::EISDIR) };
        let volume = self.volume(n)?;
        let (_, content) = content(&volume, node)?;
        if content.damaged && !self.rules.allow_damaged_files {
            tracing::warn!(
                "{}: chunks of it are lost and were replaced by zeros; -o allow_damaged_files opens it",
                content.path().escape_ascii()
            );
            return Err(Errno::EIO);
        }
        if content.size > FRAME << 32 {
            return Err(Errno::EFBIG);
        }
        Ok(())
    }

    /// Up to `size` bytes at `offset`, if they are in the cache.
    pub fn read_cached(&self, ino: u64, offset: u64, size: u32) -> Option<Vec<u8>> {
        let Some(Place::In(n, node)) = self.place(ino) else { return None };
        let slot = self.archives.slot(n)?;
        let volume = slot.volume.get()?;
        let (id, content) = content(volume, node).ok()?;
        let span = span(offset, size, content.size);
        if span.is_empty() { Some(Vec::new()) } else { volume.reader.cached(id, span) }
    }

    /// Up to `size` bytes at `offset`; fewer only at the end of the file.
    ///
    /// # Errors
    /// EIO when any of the bytes cannot be had; the log says why.
    pub fn read(&self, ino: u64, offset: u64, size: u32) -> Result<Vec<u8>, Errno> {
        let Some(Place::In(n, node)) = self.place(ino) else { return Err(Errno::EISDIR) };
        let volume = self.volume(n)?;
        let (id, content) = content(&volume, node)?;
        let span = span(offset, size, content.size);
        if span.is_empty() {
            return Ok(Vec::new());
        }
        volume.reader.read(id, span).map_err(|e| {
            if e != ReadError::Ending {
                let name = self.archives.slot(n).map(|slot| slot.archive.name.clone()).unwrap_or_default();
                let (archive, path) = (name.as_bytes().escape_ascii(), content.path());
                tracing::error!("{archive}: cannot read {} at {offset}: {e}", path.escape_ascii());
            }
            Errno::EIO
        })
    }

    /// SEEK_DATA and SEEK_HOLE. A source that knows no holes calls all data; at the end of each
    /// file is a hole.
    pub fn seek(&self, ino: u64, offset: u64, hole: bool) -> Result<u64, Errno> {
        let Some(Place::In(n, node)) = self.place(ino) else { return Err(Errno::EISDIR) };
        let volume = self.volume(n)?;
        let (id, content) = content(&volume, node)?;
        if offset >= content.size {
            return Err(Errno::ENXIO);
        }
        match volume.reader.seek(id, offset, content.size, hole) {
            Some(at) => Ok(at),
            None if hole => Ok(content.size),
            None => Err(Errno::ENXIO),
        }
    }

    /// Whether anything in the mount may have xattrs or ACLs: not when it is one archive without any.
    pub fn may_have_xattrs(&self) -> bool {
        let slot = self.archives.slot(0).filter(|_| self.single);
        slot.is_none_or(|slot| slot.volume.get().is_none_or(|volume| volume.tree.has_extras()))
    }

    pub fn xattr(&self, ino: u64, name: &[u8]) -> Result<Vec<u8>, Errno> {
        self.xattrs(ino)?.into_iter().find(|(n, _)| **n == *name).map(|(_, v)| v.into()).ok_or(Errno::ENODATA)
    }

    /// The names of all xattrs, each ended by a NUL.
    pub fn xattr_names(&self, ino: u64) -> Result<Vec<u8>, Errno> {
        let names = self.xattrs(ino)?.into_iter().map(|(name, _)| name.into_vec());
        Ok(names.flat_map(|name| name.into_iter().chain([0])).collect())
    }

    fn xattrs(&self, ino: u64) -> Result<Vec<Xattr>, Errno> {
        let Some(Place::In(n, node)) = self.place(ino) else { return Ok(Vec::new()) };
        if node == Tree::ROOT && !self.single {
            return Ok(Vec::new());
        }
        let volume = self.volume(n)?;
        let Some(extra) = volume.tree.extra(node) else {
            return Ok(Vec::new());
        };
        let Extra { xattrs, acl_access, acl_default } = extra;
        let acl = |name: &[u8], text: &Option<Box<[u8]>>| {
            let value = acl::encode(text.as_ref()?, &self.rules.owners)?;
            (value.len() <= LARGEST_XATTR).then_some(())?;
            Some((name.into(), value.into()))
        };
        let access = acl(b"system.posix_acl_access", &acl_access);
        let default = acl(b"system.posix_acl_default", &acl_default);
        Ok(xattrs.into_iter().chain(access).chain(default).collect())
    }

    /// Bytes of all files and number of all entries, as far as they are loaded.
    pub fn totals(&self) -> (u64, u64) {
        let slots = self.archives.slots();
        let loaded = slots.iter().filter_map(|slot| slot.volume.get()).map(|volume| &volume.tree);
        loaded.fold((0, 0), |(bytes, entries): (u64, u64), tree| {
            (bytes.saturating_add(tree.total_size()), entries + tree.len() as u64)
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

    fn link_target<'a>(&self, volume: &Volume, node: NodeId, target: &'a [u8]) -> Cow<'a, [u8]> {
        if !self.rules.transform_symlinks {
            return Cow::Borrowed(target);
        }
        let links = volume.links.get_or_init(|| Depths::of(&volume.tree));
        Cow::Owned(links.target(node, target, self.rules.view.strip_components))
    }

    fn parent(&self, n: usize, node: NodeId) -> Result<u64, Errno> {
        if node == Tree::ROOT {
            return Ok(ROOT);
        }
        match self.volume(n)?.tree.node(node).ok_or(Errno::ENOENT)?.body {
            Body::Directory { parent, .. } => Ok(self.ino(n, parent)),
            _ => Err(Errno::ENOTDIR),
        }
    }

    fn volume(&self, n: usize) -> Result<Arc<Volume>, Errno> {
        let slot: Arc<Slot> = self.archives.slot(n).ok_or(Errno::ENOENT)?;
        if let Some(volume) = slot.volume.get() {
            return Ok(Arc::clone(volume));
        }
        let _loading = slot.loading.lock();
        if let Some(volume) = slot.volume.get() {
            return Ok(Arc::clone(volume));
        }
        match self.load(n, &slot.archive, &|_| {}) {
            Ok(loaded) => Ok(Arc::clone(slot.volume.get_or_init(|| loaded))),
            Err(e) => {
                let name = slot.archive.name.as_bytes().escape_ascii();
                tracing::error!("cannot show the archive {name}: {}", e.chain());
                Err(Errno::EIO)
            }
        }
    }

    fn load(&self, n: usize, archive: &Archive, progress: &dyn Fn(u64)) -> Result<Arc<Volume>> {
        let tree = match self.catalog.remembered(archive, &self.rules.view) {
            Some(tree) => Arc::new(tree),
            None => self.build(archive, progress)?,
        };
        say_what_is_left_out(archive, &tree);
        let layout = self.catalog.layout(archive, n as u32, &tree);
        let shelf = Shelf::new(Arc::clone(&self.cache), layout);
        let source = self.catalog.contents(archive, Arc::clone(&tree), Arc::new(shelf.clone()));
        let links = OnceLock::new();
        Ok(Arc::new(Volume { tree, reader: Reader::new(shelf, source), links }))
    }

    fn build(&self, archive: &Archive, progress: &dyn Fn(u64)) -> Result<Arc<Tree>> {
        let view = &self.rules.view;
        let mut builder = TreeBuilder::new(view.clone(), archive.start_ns());
        let mut entries = 0;
        self.catalog.items(archive, &mut |item| {
            entries += 1;
            progress(entries);
            builder.add(item);
        })?;
        let tree = Arc::new(builder.finish());
        self.catalog.remember(archive, view, &tree);
        Ok(tree)
    }

    /// Of an archive's folder. Not the archive's own attributes: listing all archives must not load
    /// them. But once it is loaded, other users must not see more than those let them; and until then the
    /// kernel must ask each time, or it lets them in by what it keeps.
    fn folder_attr(&self, n: usize) -> Result<Attr, Errno> {
        let slot = self.archives.slot(n).ok_or(Errno::ENOENT)?;
        if let Some(volume) = slot.volume.get().filter(|_| self.rules.for_everyone) {
            let attr = self.node_attr(n, volume, Tree::ROOT)?;
            return Ok(Attr { lifetime: FOR_A_MOMENT, ..attr });
        }
        let time = slot.archive.start_ns();
        let attr = self.plain(self.ino(n, Tree::ROOT), libc::S_IFDIR | 0o755, 2, 0, time);
        let lifetime = if self.rules.for_everyone { Duration::ZERO } else { FOR_A_MOMENT };
        Ok(Attr { lifetime, ..attr })
    }

    /// The attributes of what is in no archive.
    fn plain(&self, ino: u64, mode: u32, nlink: u32, size: u64, time: i64) -> Attr {
        let rules = &self.rules.owners.rules;
        Attr {
            ino,
            size,
            data: size,
            mode: mode & !rules.umask,
            nlink,
            uid: rules.uid.unwrap_or(0),
            gid: rules.gid.unwrap_or(0),
            rdev: 0,
            atime: time,
            mtime: time,
            ctime: time,
            lifetime: FOR_A_MOMENT,
        }
    }

    fn node_attr(&self, n: usize, volume: &Volume, id: NodeId) -> Result<Attr, Errno> {
        let node = volume.tree.node(id).ok_or(Errno::ENOENT)?;
        let meta = node.meta;
        let (size, data) = match node.body {
            Body::File(content) => {
                let size = volume.tree.content(content).map_or(0, |c| c.size);
                (size, volume.reader.data_size(content, size))
            }
            Body::Symlink(target) => {
                let size = self.link_target(volume, id, target).len() as u64;
                (size, size)
            }
            _ => (0, 0),
        };
        if meta.made_up && self.rules.for_everyone {
            // Nobody knows what it protected.
            let attr = self.plain(self.ino(n, id), libc::S_IFDIR | 0o700, node.nlink, size, meta.mtime);
            let own = self.rules.owners.rules.uid.unwrap_or(nix::unistd::geteuid().as_raw());
            return Ok(Attr { uid: own, lifetime: FOR_EVER, ..attr });
        }
        Ok(Attr {
            ino: self.ino(n, id),
            size,
            data,
            mode: meta.mode & !self.rules.owners.rules.umask,
            nlink: node.nlink,
            uid: self.rules.owners.uid(meta.user, meta.uid),
            gid: self.rules.owners.gid(meta.group, meta.gid),
            rdev: meta.rdev,
            atime: meta.atime,
            mtime: meta.mtime,
            ctime: meta.ctime,
            lifetime: FOR_EVER,
        })
    }
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

fn content(volume: &Volume, node: NodeId) -> Result<(ContentId, Content<'_>), Errno> {
    match volume.tree.node(node).ok_or(Errno::ENOENT)?.body {
        Body::File(id) => Ok((id, volume.tree.content(id).ok_or(Errno::EIO)?)),
        Body::Directory { .. } => Err(Errno::EISDIR),
        _ => Err(Errno::EINVAL),
    }
}

/// What of a read lies within the file.
fn span(offset: u64, size: u32, end: u64) -> Range<u64> {
    let start = offset.min(end);
    start..start.saturating_add(u64::from(size)).min(end)
}
