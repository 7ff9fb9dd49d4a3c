//! The files, directories and links of an archive.

use std::collections::HashSet;
use std::num::NonZeroUsize;
use std::sync::{Arc, OnceLock};

use borg_repository::ItemPath;
use lru::LruCache;
use parking_lot::Mutex;

use super::assembly::{Assembly, Found};
use super::children::Children;
use super::content::{Content, Place};
use super::current::{Current, Rebuild};
use super::meta::Extra;
use super::node::{Body, ContentId, Node, NodeId, ROOT};
use super::path_hash::PathHash;
use super::paths::{names, split};
use super::records::{ChunkRecord, Kind, flag};
use super::shown::{Listing, Shown};
use super::view::View;
use crate::archive::left_out::LeftOut;
use crate::error::Result;

/// Listings that are kept: readers of a directory come back for its next entries.
const LISTINGS: NonZeroUsize = NonZeroUsize::new(16).unwrap();

/// Files with the same path: the node of each, and the bytes up to its end.
type Same = Vec<(NodeId, u64)>;

/// The files, directories and links of an archive in one view.
pub struct Tree {
    current: Current,
    shown: Shown,
    listings: Mutex<LruCache<NodeId, Arc<Listing>>>,
    /// Files with the same path, by the path.
    repeated: Mutex<LruCache<Box<[u8]>, Arc<Same>>>,
    visible: OnceLock<(u64, u64)>,
}

impl Tree {
    pub const ROOT: NodeId = ROOT;

    /// `archive` as `view` shows it.
    ///
    /// # Errors
    /// When the archive cannot be read.
    pub fn new(archive: Arc<Assembly>, view: View, rebuild: Option<Rebuild>) -> Result<Self> {
        let current = Current::new(archive, rebuild);
        let shown = current.with(|archive| Shown::of(archive, &view))?;
        let listings = Mutex::new(LruCache::new(LISTINGS));
        let repeated = Mutex::new(LruCache::new(LISTINGS));
        Ok(Tree { current, shown, listings, repeated, visible: OnceLock::new() })
    }

    /// The archive as it is now.
    pub fn archive(&self) -> Arc<Assembly> {
        self.current.get()
    }

    fn with<T>(&self, work: impl Fn(&Assembly) -> Result<T>) -> Result<T> {
        self.current.with(work)
    }

    /// # Errors
    /// When the archive cannot be read.
    pub fn node(&self, id: NodeId) -> Result<Option<Node>> {
        self.with(|archive| self.shown.node(archive, id))
    }

    /// The entries of a directory, from a position on: 0, or the `next` of an earlier entry.
    ///
    /// # Errors
    /// When the archive cannot be read.
    pub fn children_from(&self, directory: NodeId, position: u64) -> Result<Children<'_>> {
        let known = self.listings.lock().get(&directory).cloned();
        let listing = match known {
            Some(listing) => listing,
            None => {
                let listing = Arc::new(self.with(|archive| self.shown.listing(archive, directory))?);
                self.listings.lock().put(directory, Arc::clone(&listing));
                listing
            }
        };
        let filtered = self.with(|archive| {
            let found = directory.checked_sub(1).map(|number| archive.item(number)).transpose()?.flatten();
            Ok(self.shown.filters(found.as_ref()))
        })?;
        Ok(Children::new((&self.current, &self.shown), filtered, listing, position))
    }

    /// The entries of a directory.
    ///
    /// # Errors
    /// When the archive cannot be read.
    pub fn children(&self, directory: NodeId) -> Result<Children<'_>> {
        self.children_from(directory, 0)
    }

    /// The directory that a node is in; that of the root is the root.
    ///
    /// # Errors
    /// When the archive cannot be read.
    pub fn parent(&self, id: NodeId) -> Result<Option<NodeId>> {
        self.with(|archive| self.shown.parent(archive, id))
    }

    /// How many directories a node is below the root.
    ///
    /// # Errors
    /// When the archive cannot be read.
    pub fn depth(&self, id: NodeId) -> Result<usize> {
        let number = id.checked_sub(1);
        let found = number.map(|number| self.with(|archive| archive.item(number))).transpose()?.flatten();
        let visible = found.and_then(|found| self.shown.visible(&found)).unwrap_or_default();
        Ok(names(&visible).count().saturating_sub(1))
    }

    /// # Errors
    /// When the archive cannot be read.
    pub fn child(&self, directory: NodeId, name: &[u8]) -> Result<Option<NodeId>> {
        self.with(|archive| match self.shown.directory(archive, directory)? {
            Some(directory) => self.shown.entry(archive, &directory, name),
            None => Ok(None),
        })
    }

    /// The node with this path in the view.
    ///
    /// # Errors
    /// When the archive cannot be read.
    pub fn find(&self, path: &ItemPath) -> Result<Option<NodeId>> {
        let mut node = Self::ROOT;
        for name in path.components() {
            match self.child(node, name)? {
                Some(child) => node = child,
                None => return Ok(None),
            }
        }
        Ok(Some(node))
    }

    /// The xattrs, ACLs and flags of a node.
    ///
    /// # Errors
    /// When the archive cannot be read.
    pub fn extra(&self, id: NodeId) -> Result<Option<Extra>> {
        let extra = |archive: &Assembly, number| -> Result<Option<Extra>> {
            Ok(archive.item(number)?.and_then(|found| found.leaf.extra(found.item())))
        };
        self.with(|archive| match id.checked_sub(1) {
            Some(number) => extra(archive, number),
            None if self.shown.view.strip_components > 0 => Ok(None),
            None => match archive.directory(PathHash::ROOT)? {
                Some(number) => extra(archive, number),
                None => Ok(None),
            },
        })
    }

    /// Whether any node has xattrs, ACLs or flags.
    pub fn has_extras(&self) -> bool {
        self.archive().totals.extras > 0
    }

    /// Whether borg put zeros into any file.
    pub fn has_damaged(&self) -> bool {
        self.archive().totals.damaged > 0
    }

    /// # Errors
    /// When the archive cannot be read.
    pub fn content(&self, id: ContentId) -> Result<Option<Content>> {
        self.with(|archive| {
            let found = archive.item(id)?;
            Ok(found.and_then(|found| content(&found, id)))
        })
    }

    /// All files in the order of the archive, which is the order of an extract.
    pub fn contents(&self) -> impl Iterator<Item = Result<(ContentId, Content)>> + '_ {
        let runs = 0..self.archive().runs.len();
        runs.flat_map(move |run| {
            let contents = self.with(|archive| {
                let leaf = archive.leaf(run)?;
                let numbers = archive.items_of(run);
                let found =
                    numbers.enumerate().map(|(at, number)| (number, Found { leaf: Arc::clone(&leaf), at }));
                let contents =
                    found.filter_map(|(number, found)| Some(Ok((number, content(&found, number)?))));
                Ok(contents.collect::<Vec<_>>())
            });
            contents.unwrap_or_else(|error| vec![Err(error)])
        })
    }

    /// Where the bytes of a file are in the output of an extract.
    ///
    /// # Errors
    /// When the archive cannot be read.
    pub fn place(&self, id: ContentId) -> Result<Option<Place>> {
        self.with(|archive| {
            let Some(found) = archive.item(id)? else { return Ok(None) };
            let raw = found.leaf.raw(found.at);
            let path = found.path();
            let (before, after) = match archive.totals.repeats {
                true => self.beside(archive, raw.unwrap_or(&path), id)?,
                false => (0, 0),
            };
            let (directory, name) = split(raw.unwrap_or(&path));
            let (directory, name) = (directory.to_vec(), name.to_vec());
            Ok(Some(Place { directory, name, unusual: raw.map(<[u8]>::to_vec), before, after }))
        })
    }

    /// How many bytes with the same path are before and after those of a file.
    fn beside(&self, archive: &Assembly, path: &[u8], id: ContentId) -> Result<(u64, u64)> {
        let known = self.repeated.lock().get(path).cloned();
        let same = match known {
            Some(same) => same,
            None => {
                let mut same = vec![(0, 0u64)];
                for number in archive.spelled(path)? {
                    let content = archive.item(number)?.and_then(|found| content(&found, number));
                    let end = same.last().map_or(0, |(_, end)| *end);
                    same.extend(content.map(|content| (number + 1, end.saturating_add(content.size))));
                }
                let same = Arc::new(same);
                self.repeated.lock().put(path.into(), Arc::clone(&same));
                same
            }
        };
        let at = same.partition_point(|(node, _)| *node <= id);
        let end = |at: usize| same.get(at).or(same.last()).map_or(0, |(_, end)| *end);
        Ok((end(at.saturating_sub(1)), end(usize::MAX).saturating_sub(end(at))))
    }

    /// The path of a file as the archive spells it.
    ///
    /// # Errors
    /// When the archive cannot be read.
    pub fn path(&self, id: ContentId) -> Result<Option<Vec<u8>>> {
        self.with(|archive| archive.path(id))
    }

    /// The chunk with the byte `at` of a file, and where it begins in the file.
    ///
    /// # Errors
    /// When the archive cannot be read.
    pub fn chunk(&self, id: ContentId, at: u64) -> Result<Option<(u64, ChunkRecord)>> {
        self.with(|archive| archive.chunk(id, at))
    }

    /// The bytes of a file that are in chunks of zeros.
    ///
    /// # Errors
    /// When the archive cannot be read.
    pub fn holes(&self, id: ContentId) -> Result<u64> {
        self.with(|archive| archive.holes(id))
    }

    /// The number of names in the whole archive.
    pub fn entries(&self) -> u64 {
        self.archive().totals.entries
    }

    /// Whether nothing is visible.
    ///
    /// # Errors
    /// When the archive cannot be read.
    pub fn is_empty(&self) -> Result<bool> {
        Ok(self.children(Self::ROOT)?.next().transpose()?.is_none())
    }

    /// The number of visible names, and the bytes of all visible files.
    ///
    /// # Errors
    /// When the archive cannot be read.
    pub fn totals(&self) -> Result<(u64, u64)> {
        if self.shown.view.is_whole() {
            let archive = self.archive();
            return Ok((archive.totals.entries, archive.totals.bytes));
        }
        if let Some(totals) = self.visible.get() {
            return Ok(*totals);
        }
        let (mut entries, mut bytes, mut linked) = (0, 0u64, HashSet::new());
        let mut open = vec![Self::ROOT];
        while let Some(directory) = open.pop() {
            for child in self.children(directory)? {
                let child = child?;
                entries += 1;
                match self.node(child.node)? {
                    Some(Node { body: Body::Directory, .. }) => open.push(child.node),
                    Some(Node { body: Body::File(id), nlink, .. }) if nlink < 2 || linked.insert(id) => {
                        let size = self.content(id)?.map_or(0, |content| content.size);
                        bytes = bytes.saturating_add(size);
                    }
                    _ => {}
                }
            }
        }
        Ok(*self.visible.get_or_init(|| (entries, bytes)))
    }

    /// Items that no directory can show: of an unknown kind, links without their master, names that
    /// are too long.
    pub fn left_out(&self) -> LeftOut {
        self.archive().totals.left_out.clone()
    }

    /// Files with xattrs that are not shown, because Linux cannot hold them.
    pub fn unheld(&self) -> LeftOut {
        self.archive().totals.unheld.clone()
    }

    /// Items that no backup makes: links out of the archive, and files or links at the path of a
    /// directory in the archive.
    pub fn misplaced(&self) -> LeftOut {
        self.archive().totals.misplaced.clone()
    }

    /// The memory that it takes, in bytes.
    pub fn memory(&self) -> u64 {
        self.archive().memory() as u64
    }
}

fn content(found: &Found, number: u32) -> Option<Content> {
    let item = found.item();
    let is_file = item.kind() == Kind::File && !item.is(flag::LINK | flag::LEFT_OUT);
    is_file.then_some(Content { item: number, size: item.size, damaged: item.is(flag::DAMAGED) })
}
