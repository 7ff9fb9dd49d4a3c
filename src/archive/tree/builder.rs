//! From items to the arrays of a tree.

use std::collections::HashMap;
use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};

use super::records::{
    ContentRecord, Entry, ExtraRecord, Kind, Neighbours, NodeRecord, Owner, Place, Text, XattrRecord,
};
use super::{ContentId, NodeId, Tree, View};
use crate::archive::item::{self, Item};
use crate::archive::path::ItemPath;

/// Makes a [`Tree`] of items in the order of the archive. Of several items of one path the last
/// one is shown, as `borg mount` does.
pub struct TreeBuilder {
    view: View,
    tree: Tree,
    /// Each name with the directory that it is in, in the order of the archive.
    links: Vec<(NodeId, Entry)>,
    /// Folders by the path that is shown.
    directories: HashMap<Box<[u8]>, NodeId>,
    /// The folder of the archive that was looked up last, since the next file is in it, too.
    last: Folder,
    folders: HashMap<Box<[u8]>, Text>,
    /// Possible hard-link masters, shown or not, by their path in the archive.
    masters: HashTable<(Place, NodeId)>,
    hasher: DefaultHashBuilder,
    owner_numbers: HashMap<[Option<Box<[u8]>>; 2], u32>,
    last_owner: Option<(Owner, u32)>,
    made: i64,
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
            directories: HashMap::from([(Box::default(), Tree::ROOT)]),
            last: Folder { text: Text::NONE, shown: None },
            folders: HashMap::new(),
            masters: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
            owner_numbers: HashMap::new(),
            last_owner: None,
            made,
        };
        builder.new_directory(Tree::ROOT);
        builder
    }

    pub fn add(&mut self, item: Item) {
        if !item.part && self.try_add(&item).is_none() {
            self.tree.strange += 1;
        }
    }

    /// `None` when it is of a kind that no file has, a link to nothing, or has texts beyond all
    /// sizes.
    fn try_add(&mut self, item: &Item) -> Option<()> {
        let kind = match item::Kind::of(item.mode)? {
            item::Kind::Directory => Kind::Directory,
            item::Kind::File => Kind::File,
            item::Kind::Symlink => Kind::Symlink,
            _ => Kind::Special,
        };
        if kind == Kind::Directory {
            let Some(shown) = self.view.shown(&item.path) else { return Some(()) };
            let id = self.directory(shown)?;
            return self.describe(id, item);
        }
        let (folder, name) = split(item.path.as_bytes());
        let place = self.place(folder, name)?;
        let node = match &item.source {
            Some(source) if kind != Kind::Symlink => self.master(source)?,
            _ => self.inode(kind, item, place)?,
        };
        if let Some(shown) = self.view.shown(&item.path).filter(|shown| !shown.is_empty()) {
            let parent = self.parent(split(shown).0)?;
            self.links.push((parent, Entry { name: place.name, node }));
        }
        Some(())
    }

    pub fn finish(self) -> Tree {
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
        let path = ItemPath::new(source)?;
        let path = split(path.as_bytes());
        let same = |(place, _): &(Place, NodeId)| self.path(*place) == path;
        self.masters.find(self.hasher.hash_one(path), same).map(|(_, node)| *node)
    }

    /// A new node that is no directory.
    fn inode(&mut self, kind: Kind, item: &Item, place: Place) -> Option<NodeId> {
        let halves = |[low, high]: [u32; 2]| [low, high, 0];
        let body = match kind {
            Kind::Symlink => halves(self.keep(item.source.as_deref().unwrap_or_default())?.halves()),
            Kind::File => [self.new_content(place, item)?, 0, 0],
            _ => halves([item.rdev as u32, (item.rdev >> 32) as u32]),
        };
        let id = self.new_node(kind, body)?;
        self.describe(id, item)?;
        if kind == Kind::Symlink {
            return Some(id);
        }
        let earlier = self.add_master(place, id).map(|node| self.tree.nodes[node as usize]);
        if let Some(earlier) = earlier.filter(|node| Kind::of(node.kind) == Kind::File)
            && kind == Kind::File
        {
            self.add_neighbour(earlier.body[0], body[0], item.size);
        }
        Some(id)
    }

    /// From here on links to this path are names of `node`; returns of which node they were before.
    fn add_master(&mut self, place: Place, node: NodeId) -> Option<NodeId> {
        let (texts, hasher) = (&self.tree.texts, &self.hasher);
        let path = |place: Place| (stretch(texts, place.folder), stretch(texts, place.name));
        let hash = |(place, _): &(Place, NodeId)| hasher.hash_one(path(*place));
        let wanted = path(place);
        let entry = self.masters.entry(hasher.hash_one(wanted), |(other, _)| path(*other) == wanted, hash);
        match entry {
            hashbrown::hash_table::Entry::Occupied(mut known) => {
                Some(std::mem::replace(&mut known.get_mut().1, node))
            }
            hashbrown::hash_table::Entry::Vacant(free) => {
                free.insert((place, node));
                None
            }
        }
    }

    fn new_content(&mut self, place: Place, item: &Item) -> Option<ContentId> {
        let id = ContentId::try_from(self.tree.contents.len()).ok()?;
        let item_number = u32::try_from(item.number).ok()?;
        let damaged = item.damaged.into();
        self.tree.contents.push(ContentRecord { size: item.size, place, item: item_number, damaged });
        Some(id)
    }

    /// The content `id`, of `size` bytes, has the path of `latest`, which came before it.
    fn add_neighbour(&mut self, latest: ContentId, id: ContentId, size: u64) {
        let place = self.tree.contents[latest as usize].place;
        let known = |tree: &Tree, content| tree.neighbours.iter().position(|n| n.content == content);
        if known(&self.tree, latest).is_none() {
            let first = Neighbours { content: latest, ..Neighbours::default() };
            let at = self.tree.neighbours.partition_point(|n| n.content < latest);
            self.tree.neighbours.insert(at, first);
        }
        let mut before = 0;
        // Rare (overlapping roots), so a scan will do.
        for at in 0..self.tree.neighbours.len() {
            let content = self.tree.contents[self.tree.neighbours[at].content as usize];
            if self.path(content.place) == self.path(place) {
                self.tree.neighbours[at].after += size;
                before += content.size;
            }
        }
        self.tree.neighbours.push(Neighbours { before, content: id, ..Neighbours::default() });
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
        if let Some(id) = self.directories.get(path) {
            return Some(*id);
        }
        let (above, name) = split(path);
        let parent = self.directory(above)?;
        let name = self.keep(name)?;
        let node = self.new_directory(parent)?;
        self.links.push((parent, Entry { name, node }));
        self.directories.insert(path.into(), node);
        Some(node)
    }

    fn new_directory(&mut self, parent: NodeId) -> Option<NodeId> {
        let id = self.new_node(Kind::Directory, [parent, 0, 0])?;
        let owner = self.owner(None, None)?;
        let node = &mut self.tree.nodes[id as usize];
        node.owner = owner;
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
        if item.xattrs.is_empty() && item.acl_access.is_none() && item.acl_default.is_none() {
            return Some(0);
        }
        let first = u32::try_from(self.tree.xattrs.len()).ok()?;
        for (name, value) in &item.xattrs {
            let record = XattrRecord { name: self.keep(name)?, value: self.keep(value)? };
            self.tree.xattrs.push(record);
        }
        let acl_access = self.keep_if_any(item.acl_access.as_deref())?;
        let acl_default = self.keep_if_any(item.acl_default.as_deref())?;
        let count = item.xattrs.len() as u32;
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

    fn place(&mut self, folder: &[u8], name: &[u8]) -> Option<Place> {
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

    fn path(&self, place: Place) -> (&[u8], &[u8]) {
        (stretch(&self.tree.texts, place.folder), stretch(&self.tree.texts, place.name))
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
