//! From items to the arrays of a tree.

use std::collections::{HashMap, HashSet};
use std::hash::BuildHasher;
use std::mem;

use borg_repository::{FileType, Item, ItemPath, Xattr};
use hashbrown::{DefaultHashBuilder, HashTable};

use super::records::{
    ContentRecord, Entry, ExtraRecord, Kind, Neighbours, NodeRecord, Owner, Place, Text, XattrRecord,
};
use super::{ContentId, MADE_UP, NodeId, Tree, View};

/// No file system of Linux that we know has longer names, in bytes, and the kernel fails a folder
/// with much longer ones.
const LONGEST_NAME: usize = 255;
/// Longer paths are not shown, in bytes: sixteen times what a program can name at once.
const LONGEST_PATH: usize = 64 << 10;
/// An xattr's value is no larger on Linux, in bytes.
pub const LARGEST_XATTR: usize = 64 << 10;
/// Nor are all names of a file's xattrs, each ended by a NUL; some of it is for the names of ACLs.
const LONGEST_XATTR_LIST: usize = (64 << 10) - 64;
/// What the names of Linux's xattrs begin with.
const NAMESPACES: [&[u8]; 5] = [b"user.", b"trusted.", b"security.", b"system.", b"btrfs."];
/// A symlink leads no further, in bytes.
const LONGEST_TARGET: usize = 4095;

/// Makes a [`Tree`] of items in the order of the archive. Of several items of one path the last
/// one is shown, as `borg mount` does.
pub struct TreeBuilder {
    view: View,
    tree: Tree,
    /// Each name with the directory that it is in, in the order of the archive.
    links: Vec<(NodeId, Entry)>,
    /// Folders that are shown, by the folder that they are in and their name.
    directories: HashTable<(NodeId, Text, NodeId)>,
    /// What the archive says of folders above those that are asked for.
    above: Vec<Item>,
    stripped: Stripped,
    /// The folder of the archive that was looked up last, since the next file is in it, too.
    last: Folder,
    folders: HashMap<Box<[u8]>, Text>,
    /// Possible hard-link masters, shown or not, by their path in the archive.
    masters: HashTable<Master>,
    /// Contents of one path, each with the next one.
    repeated: Vec<(ContentId, ContentId)>,
    hasher: DefaultHashBuilder,
    owner_numbers: HashMap<[Option<Box<[u8]>>; 2], u32>,
    last_owner: Option<(Owner, u32)>,
    made: i64,
}

/// What the items of one path in the archive are.
#[derive(Clone, Copy)]
struct Master {
    place: Place,
    /// The last one.
    node: NodeId,
    /// The last one that has bytes.
    content: Option<ContentId>,
}

/// Folders whose names are stripped from all paths: the root is shown in their place.
#[derive(Default)]
struct Stripped {
    modes: HashMap<Box<[u8]>, u32>,
    /// Those in which something is shown.
    used: HashSet<Box<[u8]>>,
    last: Option<Box<[u8]>>,
}

impl Stripped {
    /// Something in the folder `path` is shown.
    fn note(&mut self, path: &[u8]) {
        if self.last.as_deref() == Some(path) {
            return;
        }
        self.last = Some(path.into());
        let ends = memchr::memchr_iter(b'/', path).chain([path.len()]);
        for folder in ends.map(|end| &path[..end]) {
            if !self.used.contains(folder) {
                self.used.insert(folder.into());
            }
        }
    }

    /// Whether the archive says of all of them that everybody could look into them.
    fn are_open(&self) -> bool {
        let is_open = |mode: &u32| mode & 0o005 == 0o005;
        let above = self.modes.get(&[][..]).is_none_or(is_open);
        above && self.used.iter().all(|folder| self.modes.get(folder).is_some_and(is_open))
    }
}

/// A folder of the archive.
struct Folder {
    text: Text,
    /// Under which path it was last shown, and as which node.
    shown: Option<(Box<[u8]>, NodeId)>,
}

impl TreeBuilder {
    /// Folders for which the archive has no item get the time `made` (nanoseconds since the epoch).
    pub fn new(view: View, made: i64) -> Self {
        let mut builder = TreeBuilder {
            view,
            tree: Tree::default(),
            links: Vec::new(),
            directories: HashTable::new(),
            above: Vec::new(),
            stripped: Stripped::default(),
            last: Folder { text: Text::NONE, shown: None },
            folders: HashMap::new(),
            masters: HashTable::new(),
            repeated: Vec::new(),
            hasher: DefaultHashBuilder::default(),
            owner_numbers: HashMap::new(),
            last_owner: None,
            made,
        };
        builder.new_directory(Tree::ROOT);
        if builder.view.strip_components == 0 {
            builder.tree.nodes[Tree::ROOT as usize].owner = 0;
        }
        builder
    }

    pub fn add(&mut self, item: Item) {
        if !item.part && self.try_add(&item).is_none() {
            self.tree.left_out.add(item.raw.as_deref().unwrap_or(item.path.as_bytes()));
        }
    }

    /// `None` when it cannot be shown: it is of a kind that no file has, a link to nothing, or has a
    /// name that is none, or texts beyond all sizes.
    fn try_add(&mut self, item: &Item) -> Option<()> {
        if item.raw.as_deref().unwrap_or(item.path.as_bytes()).len() > LONGEST_PATH {
            return None;
        }
        let kind = match FileType::from_mode(item.mode)? {
            FileType::Directory => Kind::Directory,
            FileType::File => Kind::File,
            FileType::Symlink => Kind::Symlink,
            _ => Kind::Special,
        };
        if kind == Kind::Directory {
            return self.add_directory(item);
        }
        let place = match &item.raw {
            None => self.place(split(item.path.as_bytes()))?,
            Some(raw) => Place { folder: Text::NONE, name: self.keep(raw)? },
        };
        let node = match &item.source {
            Some(source) if kind != Kind::Symlink => self.master(source)?,
            _ => self.inode(kind, item, place)?,
        };
        if let Some(shown) = self.view.shown(&item.path) {
            let (folders, name) = split(showable(shown).filter(|shown| !shown.is_empty())?);
            let parent = self.parent(folders)?;
            let name = if item.raw.is_some() { self.keep(name)? } else { place.name };
            self.links.push((parent, Entry { name, node }));
            if self.view.strip_components > 0 {
                let all = item.path.as_bytes();
                self.stripped.note(&all[..all.len() - shown.len() - 1]);
            }
        }
        Some(())
    }

    fn add_directory(&mut self, item: &Item) -> Option<()> {
        let all = item.path.as_bytes();
        let Some(shown) = self.view.shown(&item.path) else {
            if all.iter().filter(|b| **b == b'/').count() < self.view.strip_components {
                self.stripped.modes.insert(all.into(), item.mode);
            }
            if self.view.paths.iter().any(|path| path.is_within(&item.path)) {
                self.above.push(item.clone());
            }
            return Some(());
        };
        let id = self.directory(showable(shown)?)?;
        if self.view.strip_components > 0 {
            self.stripped.note(&all[..all.len() - shown.len() - 1]);
        }
        self.describe(id, item)
    }

    /// Gives the folders above what is asked for, where they are shown, what the archive says of them.
    fn describe_above(&mut self) {
        for item in mem::take(&mut self.above) {
            let shown = View { paths: Vec::new(), ..self.view.clone() };
            let known = shown.shown(&item.path).and_then(|path| self.known_directory(path));
            // Where it cannot be kept the folder stays as one that the archive does not have.
            let _ = known.and_then(|id| self.describe(id, &item));
        }
        let root = &mut self.tree.nodes[Tree::ROOT as usize];
        if root.owner == MADE_UP && self.stripped.are_open() {
            root.owner = 0;
        }
    }

    pub fn finish(mut self) -> Tree {
        self.describe_above();
        self.tree.neighbours = self.neighbours();
        drop((self.directories, self.masters, self.folders, self.owner_numbers));
        let nodes = self.tree.nodes.len();
        let mut starts = vec![0u32; nodes + 1];
        self.links.iter().for_each(|(parent, _)| starts[*parent as usize + 1] += 1);
        for at in 1..starts.len() {
            starts[at] += starts[at - 1];
        }
        let mut sorted = vec![Entry { name: Text::NONE, node: 0 }; self.links.len()];
        let mut free = starts.clone();
        for (parent, entry) in self.links {
            let at = &mut free[parent as usize];
            sorted[*at as usize] = entry;
            *at += 1;
        }
        let mut tree = self.tree;
        tree.entries = Vec::with_capacity(sorted.len());
        for directory in 0..nodes {
            if Kind::of(tree.nodes[directory].kind) != Kind::Directory {
                continue;
            }
            let children = &mut sorted[starts[directory] as usize..starts[directory + 1] as usize];
            let first = tree.entries.len();
            take_last_of_each_name(children, &tree.texts, &mut tree.entries);
            let mut folders = 0;
            for entry in &tree.entries[first..] {
                let child = &mut tree.nodes[entry.node as usize];
                match Kind::of(child.kind) {
                    Kind::Directory => folders += 1,
                    _ => child.nlink += 1,
                }
            }
            let node = &mut tree.nodes[directory];
            node.nlink = 2 + folders;
            node.body[1] = first as u32;
            node.body[2] = (tree.entries.len() - first) as u32;
        }
        tree.nodes.shrink_to_fit();
        tree.entries.shrink_to_fit();
        tree.contents.shrink_to_fit();
        tree.texts.shrink_to_fit();
        tree
    }

    /// The node of a hard link's master.
    fn master(&self, source: &[u8]) -> Option<NodeId> {
        let path = address(source);
        let same = |master: &Master| self.path(master.place) == path;
        self.masters.find(self.hasher.hash_one(path), same).map(|master| master.node)
    }

    /// A new node that is no directory.
    fn inode(&mut self, kind: Kind, item: &Item, place: Place) -> Option<NodeId> {
        let halves = |[low, high]: [u32; 2]| [low, high, 0];
        let body = match kind {
            Kind::Symlink => halves(self.keep(target(item)?)?.halves()),
            Kind::File => [self.new_content(place, item)?, 0, 0],
            _ => halves([item.rdev as u32, (item.rdev >> 32) as u32]),
        };
        let id = self.new_node(kind, body)?;
        self.describe(id, item)?;
        if kind == Kind::Symlink {
            return Some(id);
        }
        let content = (kind == Kind::File).then_some(body[0]);
        let earlier = self.add_master(Master { place, node: id, content });
        self.repeated.extend(earlier.zip(content));
        Some(id)
    }

    /// From here on links to its path are names of its node; returns which content the path had before.
    fn add_master(&mut self, master: Master) -> Option<ContentId> {
        let (texts, hasher) = (&self.tree.texts, &self.hasher);
        let path = |master: &Master| path_in(texts, master.place);
        let hash = |master: &Master| hasher.hash_one(path(master));
        let wanted = path(&master);
        match self.masters.entry(hasher.hash_one(wanted), |other| path(other) == wanted, hash) {
            hashbrown::hash_table::Entry::Occupied(mut known) => {
                let earlier = known.get().content;
                *known.get_mut() = Master { content: master.content.or(earlier), ..master };
                earlier
            }
            hashbrown::hash_table::Entry::Vacant(free) => {
                free.insert(master);
                None
            }
        }
    }

    fn new_content(&mut self, place: Place, item: &Item) -> Option<ContentId> {
        i64::try_from(item.size).ok()?;
        let id = ContentId::try_from(self.tree.contents.len()).ok()?;
        let item_number = u32::try_from(item.number).ok()?;
        let damaged = item.damaged.into();
        self.tree.contents.push(ContentRecord { size: item.size, place, item: item_number, damaged });
        Some(id)
    }

    /// How many bytes of the same path stand before and after those of each content.
    fn neighbours(&self) -> Vec<Neighbours> {
        let mut first: HashMap<ContentId, ContentId> = HashMap::new();
        let mut paths: HashMap<ContentId, Vec<ContentId>> = HashMap::new();
        for (earlier, later) in &self.repeated {
            let head = *first.get(earlier).unwrap_or(earlier);
            first.insert(*later, head);
            paths.entry(head).or_insert_with(|| vec![head]).push(*later);
        }
        let size = |id: &ContentId| self.tree.contents[*id as usize].size;
        let mut neighbours = Vec::with_capacity(first.len() + paths.len());
        for contents in paths.into_values() {
            let mut after = contents.iter().map(size).fold(0, u64::saturating_add);
            let mut before = 0u64;
            for content in contents {
                after = after.saturating_sub(size(&content));
                neighbours.push(Neighbours { before, after, content, unused: 0 });
                before = before.saturating_add(size(&content));
            }
        }
        neighbours.sort_unstable_by_key(|n| n.content);
        neighbours
    }

    /// The folder in which what is added is shown.
    fn parent(&mut self, folders: &[u8]) -> Option<NodeId> {
        match &self.last.shown {
            Some((path, id)) if **path == *folders => Some(*id),
            _ => {
                let id = self.directory(folders)?;
                self.last.shown = Some((folders.into(), id));
                Some(id)
            }
        }
    }

    /// The folder at this path, made with its parents where the archive has no item for it.
    fn directory(&mut self, path: &[u8]) -> Option<NodeId> {
        let mut directory = Tree::ROOT;
        for name in names(path) {
            directory = match self.directory_in(directory, name) {
                Some(known) => known,
                None => self.add_directory_in(directory, name)?,
            };
        }
        Some(directory)
    }

    fn known_directory(&self, path: &[u8]) -> Option<NodeId> {
        names(path).try_fold(Tree::ROOT, |directory, name| self.directory_in(directory, name))
    }

    fn directory_in(&self, parent: NodeId, name: &[u8]) -> Option<NodeId> {
        let same = |(above, other, _): &(NodeId, Text, NodeId)| {
            *above == parent && stretch(&self.tree.texts, *other) == name
        };
        self.directories.find(self.hasher.hash_one((parent, name)), same).map(|(.., id)| *id)
    }

    fn add_directory_in(&mut self, parent: NodeId, name: &[u8]) -> Option<NodeId> {
        let text = self.keep(name)?;
        let node = self.new_directory(parent)?;
        self.links.push((parent, Entry { name: text, node }));
        let (texts, hasher) = (&self.tree.texts, &self.hasher);
        let hash =
            |(above, name, _): &(NodeId, Text, NodeId)| hasher.hash_one((*above, stretch(texts, *name)));
        self.directories.insert_unique(hasher.hash_one((parent, name)), (parent, text, node), hash);
        Some(node)
    }

    fn new_directory(&mut self, parent: NodeId) -> Option<NodeId> {
        let id = self.new_node(Kind::Directory, [parent, 0, 0])?;
        self.owner(None, None)?;
        let node = &mut self.tree.nodes[id as usize];
        node.owner = MADE_UP;
        node.mode = libc::S_IFDIR | 0o755;
        (node.mtime, node.atime, node.ctime) = (self.made, self.made, self.made);
        Some(id)
    }

    fn new_node(&mut self, kind: Kind, body: [u32; 3]) -> Option<NodeId> {
        let id = NodeId::try_from(self.tree.nodes.len()).ok()?;
        self.tree.nodes.push(NodeRecord { kind: kind as u32, body, ..NodeRecord::default() });
        Some(id)
    }

    /// Gives the node the attributes of the item.
    fn describe(&mut self, id: NodeId, item: &Item) -> Option<()> {
        let owner = self.owner(item.user.as_deref(), item.group.as_deref())?;
        let extra = self.extra(item)?;
        let node = &mut self.tree.nodes[id as usize];
        *node = NodeRecord {
            mode: item.mode,
            uid: item.uid,
            gid: item.gid,
            mtime: item.mtime,
            atime: item.atime.unwrap_or(item.mtime),
            ctime: item.ctime.unwrap_or(item.mtime),
            owner,
            extra,
            ..*node
        };
        Some(())
    }

    fn extra(&mut self, item: &Item) -> Option<u32> {
        let xattrs = holdable(&item.xattrs);
        if xattrs.len() < item.xattrs.len() {
            self.tree.unheld.add(item.path.as_bytes());
        }
        if xattrs.is_empty() && item.acl_access.is_none() && item.acl_default.is_none() {
            return Some(0);
        }
        let first = u32::try_from(self.tree.xattrs.len()).ok()?;
        for (name, value) in &xattrs {
            let record = XattrRecord { name: self.keep(name)?, value: self.keep(value)? };
            self.tree.xattrs.push(record);
        }
        let acl_access = self.keep_if_any(item.acl_access.as_deref())?;
        let acl_default = self.keep_if_any(item.acl_default.as_deref())?;
        let count = xattrs.len() as u32;
        self.tree.extras.push(ExtraRecord { acl_access, acl_default, first, count });
        u32::try_from(self.tree.extras.len()).ok()
    }

    /// The number of these names of owner and group: a few own all files.
    fn owner(&mut self, user: Option<&[u8]>, group: Option<&[u8]>) -> Option<u32> {
        let name = |text| stretch_if_any(&self.tree.texts, text);
        if let Some((last, number)) = self.last_owner
            && (name(last.user), name(last.group)) == (user, group)
        {
            return Some(number);
        }
        let key = [user.map(Into::into), group.map(Into::into)];
        let number = match self.owner_numbers.get(&key) {
            Some(number) => *number,
            None => {
                let owner = Owner { user: self.keep_if_any(user)?, group: self.keep_if_any(group)? };
                let number = u32::try_from(self.tree.owners.len()).ok()?;
                self.tree.owners.push(owner);
                self.owner_numbers.insert(key, number);
                number
            }
        };
        self.last_owner = Some((self.tree.owners[number as usize], number));
        Some(number)
    }

    fn place(&mut self, (folder, name): (&[u8], &[u8])) -> Option<Place> {
        if stretch_if_any(&self.tree.texts, self.last.text) != Some(folder) {
            let known = self.folders.get(folder).copied();
            self.last.text = match known {
                Some(text) => text,
                None => {
                    let text = self.keep(folder)?;
                    self.folders.insert(folder.into(), text);
                    text
                }
            };
        }
        Some(Place { folder: self.last.text, name: self.keep(name)? })
    }

    fn path(&self, place: Place) -> Address<'_> {
        path_in(&self.tree.texts, place)
    }

    fn keep(&mut self, text: &[u8]) -> Option<Text> {
        let at = Text::at(self.tree.texts.len(), text.len())?;
        self.tree.texts.extend_from_slice(text);
        Some(at)
    }

    fn keep_if_any(&mut self, text: Option<&[u8]>) -> Option<Text> {
        text.map_or(Some(Text::NONE), |text| self.keep(text))
    }
}

/// Those xattrs that Linux can hold: a program that copies a file fails at the others.
fn holdable(xattrs: &[Xattr]) -> Vec<&Xattr> {
    let mut list = 0;
    let fits = |xattr: &&Xattr| {
        let (name, value) = *xattr;
        let known = NAMESPACES.iter().any(|space| name.starts_with(space) && name.len() > space.len());
        let fits = known && !name.contains(&0) && name.len() <= LONGEST_NAME && value.len() <= LARGEST_XATTR;
        let longer = list + name.len() + 1;
        if !fits || longer > LONGEST_XATTR_LIST {
            return false;
        }
        list = longer;
        true
    };
    xattrs.iter().filter(fits).collect()
}

/// Where a symlink leads, if the kernel can be told.
fn target(item: &Item) -> Option<&[u8]> {
    let target = item.source.as_deref()?;
    let fits = (1..=LONGEST_TARGET).contains(&target.len()) && !target.contains(&0);
    fits.then_some(target)
}

/// A path in the archive: folder and name, or all of one that is written in an unusual way.
type Address<'a> = (Option<&'a [u8]>, &'a [u8]);

fn path_in(texts: &[u8], place: Place) -> Address<'_> {
    (stretch_if_any(texts, place.folder), stretch(texts, place.name))
}

fn address(path: &[u8]) -> Address<'_> {
    if !ItemPath::is_clean(path) {
        return (None, path);
    }
    let (folder, name) = split(path);
    (Some(folder), name)
}

/// The path, if each of its names can be shown.
fn showable(path: &[u8]) -> Option<&[u8]> {
    names(path).all(|name| name.len() <= LONGEST_NAME).then_some(path)
}

fn names(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|b| *b == b'/').filter(|name| !name.is_empty())
}

fn stretch(texts: &[u8], text: Text) -> &[u8] {
    stretch_if_any(texts, text).unwrap_or_default()
}

fn stretch_if_any(texts: &[u8], text: Text) -> Option<&[u8]> {
    texts.get(text.range()?)
}

/// Folder and name of a path.
fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match memchr::memrchr(b'/', path) {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (&[], path),
    }
}

/// Appends `children` to `entries`, sorted by name; of several of one name the last one.
fn take_last_of_each_name(children: &mut [Entry], texts: &[u8], entries: &mut Vec<Entry>) {
    let name = |entry: &Entry| stretch(texts, entry.name);
    // Stable, so that the last one of a name stays the last.
    children.sort_by(|a, b| name(a).cmp(name(b)));
    let first = entries.len();
    for entry in children {
        match entries[first..].last_mut() {
            Some(last) if name(last) == name(entry) => *last = *entry,
            _ => entries.push(*entry),
        }
    }
}
