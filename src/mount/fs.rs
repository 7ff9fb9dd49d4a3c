//! How archives look as a file system; here and only here. No kernel and no FUSE in it: `fuse.rs`
//! translates, and tests call it directly.

use std::ops::Range;
use std::sync::{Arc, Mutex, OnceLock};

use nix::errno::Errno;

use super::acl;
use super::cache::Cache;
use super::owners::Owners;
use super::reader::{Reader, Shelf};
use super::source::{Catalog, FRAME, ReadError};
use crate::archive::item::Xattr;
use crate::archive::name::Archive;
use crate::archive::path::ItemPath;
use crate::archive::tree::{Body, Content, ContentId, Extra, NodeId, Tree, TreeBuilder, View};
use crate::archive::volumes;
use crate::error::{Error, Result};
use crate::tools::mounts::{MARK, MARK_INO};

/// Inode number of the mount's root.
pub const ROOT: u64 = 1;
/// Name of the link to the newest archive, where all archives are shown.
const LATEST: &str = "latest";
const LATEST_INO: u64 = ROOT + 1;

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
}

/// One archive, or all of them as folders.
pub struct FileSystem {
    catalog: Arc<dyn Catalog>,
    cache: Arc<Cache>,
    rules: Rules,
    shown: Vec<Shown>,
    /// The archive is the root itself, not a folder in it.
    single: bool,
    /// Where `latest` leads.
    latest: Option<usize>,
}

struct Shown {
    archive: Archive,
    volume: OnceLock<Arc<Volume>>,
    /// Held while the archive is loaded, so that it is loaded once.
    loading: Mutex<()>,
}

impl Shown {
    fn new(archive: Archive) -> Self {
        Shown { archive, volume: OnceLock::new(), loading: Mutex::new(()) }
    }
}

/// A loaded archive.
struct Volume {
    tree: Arc<Tree>,
    reader: Reader,
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
        let shown = vec![Shown::new(archive)];
        let fs = FileSystem { catalog, cache, rules, shown, single: true, latest: None };
        let volume = fs.load(0, progress)?;
        if volume.tree.is_empty() && !fs.rules.view.paths.is_empty() {
            let paths: Vec<_> = fs.rules.view.paths.iter().map(|p| p.to_string()).collect();
            let name = &fs.shown[0].archive.name;
            return Err(Error::usage(format!("there is no {} in the archive {name}", paths.join(", ")))
                .hint(format!("`borg-offsite-backup list ::{name}` shows what is")));
        }
        let _ = fs.shown[0].volume.set(volume);
        Ok(fs)
    }

    /// Shows every one of `archives` as a folder, loaded when it is first entered.
    pub fn of_archives(
        catalog: Arc<dyn Catalog>,
        cache: Arc<Cache>,
        rules: Rules,
        archives: Vec<Archive>,
    ) -> Self {
        let newest = archives.iter().enumerate().max_by(|(_, a), (_, b)| a.start.cmp(&b.start));
        let taken = archives.iter().any(|a| a.name == LATEST);
        let latest = newest.map(|(n, _)| n).filter(|_| !taken);
        let shown = archives.into_iter().map(Shown::new).collect();
        FileSystem { catalog, cache, rules, shown, single: false, latest }
    }

    /// What is in the archive that is shown by itself.
    pub fn summary(&self) -> Option<Summary> {
        let volume = self.shown.first().filter(|_| self.single)?.volume.get()?;
        // Names of hard links may lead to contents that are not shown.
        let shows = |path: &[u8]| ItemPath::new(path).is_some_and(|path| self.rules.view.shows(&path));
        let images = volume.tree.contents().filter(|c| volumes::has_volumes(c.folder));
        let images = images.map(|c| (c.path(), c.size));
        let volumes = images.filter(|(path, _)| volumes::name_of(path).is_some() && shows(path)).collect();
        Some(Summary { entries: volume.tree.len() as u64 - 1, volumes })
    }

    /// The id of the archive that is shown, if nothing is left out and nothing is made up.
    fn whole_archive(&self) -> Option<&str> {
        let whole = self.single && self.rules.view == View::default() && !self.rules.allow_damaged_files;
        whole.then(|| self.shown[0].archive.id.as_str())
    }

    /// Whether an operation on this inode can be answered without waiting for the source.
    pub fn is_ready(&self, ino: u64) -> bool {
        match self.place(ino) {
            Some(Place::In(n, _)) => self.shown[n].volume.get().is_some(),
            _ => true,
        }
    }

    pub fn lookup(&self, parent: u64, name: &[u8]) -> Result<Attr, Errno> {
        match self.place(parent).ok_or(Errno::ENOENT)? {
            Place::Top => {
                if self.latest.is_some() && name == LATEST.as_bytes() {
                    return self.attr(LATEST_INO);
                }
                let at = self.shown.iter().position(|s| s.archive.name.as_bytes() == name);
                // Not the archive's own attributes: listing all archives must not load them.
                self.folder_attr(at.ok_or(Errno::ENOENT)?)
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

    pub fn attr(&self, ino: u64) -> Result<Attr, Errno> {
        match self.place(ino).ok_or(Errno::ENOENT)? {
            Place::Top => Ok(self.plain(ROOT, libc::S_IFDIR | 0o755, 2 + self.shown.len() as u32, 0, 0)),
            Place::Latest => {
                let target = self.latest_name().ok_or(Errno::ENOENT)?;
                Ok(self.plain(LATEST_INO, libc::S_IFLNK | 0o777, 1, target.len() as u64, 0))
            }
            Place::Mark => {
                let id = self.whole_archive().ok_or(Errno::ENOENT)?;
                Ok(self.plain(MARK_INO, libc::S_IFLNK | 0o777, 1, id.len() as u64, 0))
            }
            Place::In(n, Tree::ROOT) if !self.single => self.folder_attr(n),
            Place::In(n, node) => self.node_attr(n, &*self.volume(n)?, node),
        }
    }

    pub fn readlink(&self, ino: u64) -> Result<Vec<u8>, Errno> {
        match self.place(ino).ok_or(Errno::ENOENT)? {
            Place::Top => Err(Errno::EINVAL),
            Place::Latest => Ok(self.latest_name().ok_or(Errno::ENOENT)?.as_bytes().to_vec()),
            Place::Mark => Ok(self.whole_archive().ok_or(Errno::ENOENT)?.as_bytes().to_vec()),
            Place::In(n, node) => match self.volume(n)?.tree.node(node).ok_or(Errno::ENOENT)?.body {
                Body::Symlink(target) => Ok(target.to_vec()),
                _ => Err(Errno::EINVAL),
            },
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
        let mut next = from;
        let mut give = |name: &[u8], attr: Attr| {
            next += 1;
            each(Entry { name, attr }, next)
        };
        let place = self.place(ino).ok_or(Errno::ENOENT)?;
        let above = match place {
            Place::Latest | Place::Mark => return Err(Errno::ENOTDIR),
            Place::Top => ROOT,
            Place::In(n, node) => self.parent(n, node)?,
        };
        let dots: [(&[u8], u64); 2] = [(b".", ino), (b"..", above)];
        for (name, ino) in dots.into_iter().skip(from as usize) {
            if !give(name, self.attr(ino)?) {
                return Ok(());
            }
        }
        let skip = from.saturating_sub(2) as usize;
        match place {
            Place::Top => {
                let folders = self.shown.iter().enumerate();
                let folders = folders.map(|(n, s)| (s.archive.name.as_bytes(), self.folder_attr(n)));
                let latest = self.latest.map(|_| (LATEST.as_bytes(), self.attr(LATEST_INO)));
                for (name, attr) in folders.chain(latest).skip(skip) {
                    if !give(name, attr?) {
                        return Ok(());
                    }
                }
            }
            Place::In(n, node) => {
                let volume = self.volume(n)?;
                let Body::Directory { children, .. } = volume.tree.node(node).ok_or(Errno::ENOENT)?.body
                else {
                    return Err(Errno::ENOTDIR);
                };
                for (name, child) in children.iter().skip(skip) {
                    if !give(name, self.node_attr(n, &volume, child)?) {
                        return Ok(());
                    }
                }
            }
            Place::Latest | Place::Mark => {}
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
        let volume = self.shown[n].volume.get()?;
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
                let (archive, path) =
                    (&self.shown[n].archive.name, content.path().escape_ascii().to_string());
                tracing::error!("{archive}: cannot read {path} at {offset}: {e}");
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
        let tree = self.shown.first().filter(|_| self.single).and_then(|shown| shown.volume.get());
        tree.is_none_or(|volume| volume.tree.has_extras())
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
            Some((name.into(), value.into()))
        };
        let access = acl(b"system.posix_acl_access", &acl_access);
        let default = acl(b"system.posix_acl_default", &acl_default);
        Ok(xattrs.into_iter().chain(access).chain(default).collect())
    }

    /// Bytes of all files and number of all entries, as far as they are loaded.
    pub fn totals(&self) -> (u64, u64) {
        let loaded = self.shown.iter().filter_map(|s| s.volume.get());
        loaded
            .fold((0, 0), |(bytes, entries), v| (bytes + v.tree.total_size(), entries + v.tree.len() as u64))
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
            (0, 1) => Some(Place::Latest),
            (0, _) => None,
            _ => (slot <= self.shown.len()).then_some(Place::In(slot - 1, node)),
        }
    }

    fn ino(&self, n: usize, node: NodeId) -> u64 {
        let slot = if self.single { n } else { n + 1 } as u64;
        (slot << 32 | u64::from(node)) + ROOT
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

    fn latest_name(&self) -> Option<&str> {
        Some(&self.shown[self.latest?].archive.name)
    }

    fn volume(&self, n: usize) -> Result<Arc<Volume>, Errno> {
        let shown = &self.shown[n];
        if let Some(volume) = shown.volume.get() {
            return Ok(Arc::clone(volume));
        }
        let _loading = shown.loading.lock().unwrap_or_else(|e| e.into_inner());
        if let Some(volume) = shown.volume.get() {
            return Ok(Arc::clone(volume));
        }
        match self.load(n, &|_| {}) {
            Ok(loaded) => Ok(Arc::clone(shown.volume.get_or_init(|| loaded))),
            Err(e) => {
                tracing::error!("cannot show the archive {}: {}", self.shown[n].archive.name, e.chain());
                Err(Errno::EIO)
            }
        }
    }

    fn load(&self, n: usize, progress: &dyn Fn(u64)) -> Result<Arc<Volume>> {
        let archive = &self.shown[n].archive;
        let tree = match self.catalog.remembered(archive, &self.rules.view) {
            Some(tree) => Arc::new(tree),
            None => self.build(archive, progress)?,
        };
        if tree.strange() > 0 {
            tracing::warn!(
                "{}: {} items of unknown kind or without their hard-link master are not shown",
                archive.name,
                tree.strange()
            );
        }
        let layout = self.catalog.layout(archive, n as u32, &tree);
        let shelf = Shelf::new(Arc::clone(&self.cache), layout);
        let source = self.catalog.contents(archive, Arc::clone(&tree), Arc::new(shelf.clone()));
        Ok(Arc::new(Volume { tree, reader: Reader::new(shelf, source) }))
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

    fn folder_attr(&self, n: usize) -> Result<Attr, Errno> {
        let time = self.shown[n].archive.start_ns();
        Ok(self.plain(self.ino(n, Tree::ROOT), libc::S_IFDIR | 0o755, 2, 0, time))
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
            Body::Symlink(target) => (target.len() as u64, target.len() as u64),
            _ => (0, 0),
        };
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
        })
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
