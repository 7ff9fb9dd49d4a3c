//! The tree that the items of an archive make: directories, hard links, and the place of each
//! file's bytes in the archive.
//!
//! The tree consists of a few flat arrays of plain records and one array with all texts. So a
//! million files take little memory, and the tree can be written to disk and loaded again without
//! parsing.

mod builder;
mod content;
mod limits;
mod masters;
mod meta;
mod neighbours;
mod paths;
mod records;
mod stripped;
mod view;

pub use builder::TreeBuilder;
pub use content::Content;
pub use limits::LARGEST_XATTR;
pub use meta::{Extra, Meta};
pub use view::View;

use borg_repository::ItemPath;

use super::left_out::LeftOut;
use records::{
    ContentRecord, ExtraRecord, Kind, NameRecord, Neighbours, NodeRecord, Owner, Text, XattrRecord,
};
use zerocopy::{FromZeros, IntoBytes};

/// The number of a node in its tree; the root is 0.
pub type NodeId = u32;
/// The number of a content in its tree, in the order of the archive.
pub type ContentId = u32;

/// The owner number of a directory without an item.
const MADE_UP: u32 = u32::MAX;

/// The kind of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body<'a> {
    Directory {
        parent: NodeId,
        children: Children<'a>,
    },
    File(ContentId),
    Symlink(&'a [u8]),
    /// A device, FIFO or socket; or a hard link whose master is missing in the archive.
    Special,
}

/// The names in a directory, sorted by their bytes.
#[derive(Debug, Clone, Copy)]
pub struct Children<'a> {
    tree: &'a Tree,
    entries: &'a [NameRecord],
}

impl PartialEq for Children<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Children<'_> {}

impl<'a> Children<'a> {
    /// Names and nodes.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&'a [u8], NodeId)> + use<'a> {
        let tree = self.tree;
        self.entries.iter().map(move |entry| (tree.text(entry.name), entry.node))
    }

    fn find(&self, name: &[u8]) -> Option<NodeId> {
        let at = self.entries.binary_search_by(|entry| self.tree.text(entry.name).cmp(name)).ok()?;
        Some(self.entries[at].node)
    }
}

/// An inode. Hard links are several names of one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Node<'a> {
    pub meta: Meta<'a>,
    pub body: Body<'a>,
    /// The number of names in this tree; for a directory as usual two, and one for each directory
    /// in it.
    pub nlink: u32,
}

/// The files, directories and links of an archive in one view.
#[derive(Debug, Default)]
pub struct Tree {
    nodes: Vec<NodeRecord>,
    /// The names in all directories, grouped by directory.
    entries: Vec<NameRecord>,
    contents: Vec<ContentRecord>,
    /// For contents whose path is in the archive more than once; sorted.
    neighbours: Vec<Neighbours>,
    /// The names of owner and group, each pair once.
    owners: Vec<Owner>,
    extras: Vec<ExtraRecord>,
    xattrs: Vec<XattrRecord>,
    /// All texts.
    texts: Vec<u8>,
    left_out: LeftOut,
    /// Files with xattrs that Linux cannot hold.
    unheld: LeftOut,
    /// Items that no backup makes: they would be restored to another place than their path says.
    misplaced: LeftOut,
}

/// The number of arrays in a tree.
pub const SECTIONS: usize = 14;

impl Tree {
    pub const ROOT: NodeId = 0;

    pub fn node(&self, id: NodeId) -> Option<Node<'_>> {
        let record = self.nodes.get(id as usize)?;
        let owner = self.owners.get(record.owner as usize).copied().unwrap_or_default();
        let [first, second, third] = record.body;
        let mut rdev = 0;
        let body = match Kind::of(record.kind) {
            Kind::Directory => {
                let entries = self.entries.get(second as usize..)?.get(..third as usize)?;
                Body::Directory { parent: first, children: Children { tree: self, entries } }
            }
            Kind::File => Body::File(first),
            Kind::Symlink => Body::Symlink(self.text(Text::of_halves(first, second))),
            Kind::Special => {
                rdev = u64::from(second) << 32 | u64::from(first);
                Body::Special
            }
        };
        let meta = Meta {
            mode: record.mode,
            uid: record.uid,
            gid: record.gid,
            user: self.text_if_any(owner.user),
            group: self.text_if_any(owner.group),
            mtime: record.mtime,
            atime: record.atime,
            ctime: record.ctime,
            rdev,
            made_up: record.owner == MADE_UP,
        };
        Some(Node { meta, body, nlink: record.nlink })
    }

    /// Whether any node has xattrs, ACLs or flags.
    pub fn has_extras(&self) -> bool {
        !self.extras.is_empty()
    }

    /// The xattrs, ACLs and flags of a node.
    pub fn extra(&self, id: NodeId) -> Option<Extra> {
        let number = self.nodes.get(id as usize)?.extra.checked_sub(1)?;
        let record = self.extras.get(number as usize)?;
        let xattrs = self.xattrs.get(record.first as usize..)?.get(..record.count as usize)?;
        let owned = |text| self.text_if_any(text).map(Into::into);
        Some(Extra {
            xattrs: xattrs.iter().map(|x| (self.text(x.name).into(), self.text(x.value).into())).collect(),
            acl_access: owned(record.acl_access),
            acl_default: owned(record.acl_default),
            flags: record.flags,
        })
    }

    pub fn content(&self, id: ContentId) -> Option<Content<'_>> {
        let record = self.contents.get(id as usize)?;
        let beside = self.neighbours.binary_search_by_key(&id, |n| n.content);
        let beside = beside.map_or_else(|_| Neighbours::default(), |at| self.neighbours[at]);
        let (directory, name) = (self.text_if_any(record.place.directory), self.text(record.place.name));
        let unusual = directory.is_none().then_some(name);
        let whole = || {
            name.iter()
                .rposition(|b| *b == b'/')
                .map_or((&name[..0], name), |at| (&name[..at], &name[at + 1..]))
        };
        let (directory, name) = directory.map_or_else(whole, |directory| (directory, name));
        Some(Content {
            item: record.item,
            directory,
            name,
            unusual,
            size: record.size,
            before: beside.before,
            after: beside.after,
            damaged: record.damaged != 0,
        })
    }

    /// All contents in the order of the archive, which is the order of an extract.
    pub fn contents(&self) -> impl Iterator<Item = Content<'_>> {
        (0..self.content_count()).filter_map(|id| self.content(id))
    }

    pub fn content_count(&self) -> ContentId {
        self.contents.len() as ContentId
    }

    /// The number of nodes, including the root.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    pub fn is_empty(&self) -> bool {
        self.nodes.len() <= 1
    }

    /// Items that no directory can show: of an unknown kind, links without their master, names that
    /// are too long.
    pub fn left_out(&self) -> &LeftOut {
        &self.left_out
    }

    /// Files with xattrs that are not shown, because Linux cannot hold them.
    pub fn unheld(&self) -> &LeftOut {
        &self.unheld
    }

    /// Items that no backup makes: links out of the archive, and files or links at the path of a
    /// directory in the archive.
    pub fn misplaced(&self) -> &LeftOut {
        &self.misplaced
    }

    /// The sum of the sizes of all visible files, in bytes.
    pub fn total_size(&self) -> u64 {
        let files = self.nodes.iter().filter(|n| Kind::of(n.kind) == Kind::File && n.nlink > 0);
        let sizes = files.filter_map(|n| self.contents.get(n.body[0] as usize)).map(|c| c.size);
        sizes.fold(0, u64::saturating_add)
    }

    pub fn child(&self, dir: NodeId, name: &[u8]) -> Option<NodeId> {
        match self.node(dir)?.body {
            Body::Directory { children, .. } => children.find(name),
            _ => None,
        }
    }

    /// The node with this path in the view.
    pub fn find(&self, path: &ItemPath) -> Option<NodeId> {
        path.components().try_fold(Self::ROOT, |dir, name| self.child(dir, name))
    }

    /// The tree as bytes, in the byte order of this machine.
    pub fn sections(&self) -> [&[u8]; SECTIONS] {
        let [count, names] = self.left_out.sections();
        let [more, files] = self.unheld.sections();
        let [misplaced, paths] = self.misplaced.sections();
        [
            self.nodes.as_bytes(),
            self.entries.as_bytes(),
            self.contents.as_bytes(),
            self.neighbours.as_bytes(),
            self.owners.as_bytes(),
            self.extras.as_bytes(),
            self.xattrs.as_bytes(),
            &self.texts,
            count,
            names,
            more,
            files,
            misplaced,
            paths,
        ]
    }

    /// A tree whose [sections](Tree::sections) have these lengths; the caller fills it. `None` if
    /// the lengths are impossible, or memory is short.
    pub fn with_lengths(lengths: [usize; SECTIONS]) -> Option<Self> {
        let [nodes, entries, contents, neighbours, owners, extras, xattrs, texts, rest @ ..] = lengths;
        let [count, names, more, files, misplaced, paths] = rest;
        Some(Tree {
            nodes: zeroed(nodes)?,
            entries: zeroed(entries)?,
            contents: zeroed(contents)?,
            neighbours: zeroed(neighbours)?,
            owners: zeroed(owners)?,
            extras: zeroed(extras)?,
            xattrs: zeroed(xattrs)?,
            texts: zeroed(texts)?,
            left_out: LeftOut::with_lengths(count, names)?,
            unheld: LeftOut::with_lengths(more, files)?,
            misplaced: LeftOut::with_lengths(misplaced, paths)?,
        })
    }

    pub fn sections_mut(&mut self) -> [&mut [u8]; SECTIONS] {
        let [count, names] = self.left_out.sections_mut();
        let [more, files] = self.unheld.sections_mut();
        let [misplaced, paths] = self.misplaced.sections_mut();
        [
            self.nodes.as_mut_bytes(),
            self.entries.as_mut_bytes(),
            self.contents.as_mut_bytes(),
            self.neighbours.as_mut_bytes(),
            self.owners.as_mut_bytes(),
            self.extras.as_mut_bytes(),
            self.xattrs.as_mut_bytes(),
            &mut self.texts,
            count,
            names,
            more,
            files,
            misplaced,
            paths,
        ]
    }

    fn text(&self, text: Text) -> &[u8] {
        self.text_if_any(text).unwrap_or_default()
    }

    fn text_if_any(&self, text: Text) -> Option<&[u8]> {
        self.texts.get(text.range()?)
    }
}

/// Records with `bytes` bytes together; the caller fills them. `None` if no number of records has
/// this size.
pub fn zeroed<T: FromZeros>(bytes: usize) -> Option<Vec<T>> {
    bytes.is_multiple_of(size_of::<T>()).then(|| T::new_vec_zeroed(bytes / size_of::<T>()).ok())?
}

#[cfg(test)]
mod tests;
