//! Builds the arrays of a tree from items.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::mem;

use borg_repository::{FileType, Item};
use hashbrown::{DefaultHashBuilder, HashTable};

use super::limits::{LONGEST_PATH, holdable, showable, target};
use super::masters::{Master, Masters};
use super::neighbours::neighbours;
use super::paths::{names, split};
use super::records::{
    ContentRecord, ExtraRecord, Kind, NameRecord, NodeRecord, Owner, Place, Text, XattrRecord, stretch,
    stretch_if_any,
};
use super::stripped::Stripped;
use super::view::View;
use super::{ContentId, MADE_UP, NodeId, Tree};

/// Builds a [`Tree`] from items in the order of the archive. If several items have the same path,
/// the last one is shown, as by `borg mount`.
pub struct TreeBuilder {
    view: View,
    tree: Tree,
    /// Each name with its directory, in the order of the archive.
    links: Vec<(NodeId, NameRecord)>,
    /// The nodes of visible directories, by parent and name.
    directories: HashTable<(NodeId, Text, NodeId)>,
    /// The items of directories above the requested paths.
    above: Vec<Item>,
    stripped: Stripped,
    /// The directory that was looked up last: the next file is usually in it, too.
    last: Directory,
    directory_paths: HashMap<Box<[u8]>, Text>,
    masters: Masters,
    /// Contents with the same path, each with the next one.
    repeated: Vec<(ContentId, ContentId)>,
    hasher: DefaultHashBuilder,
    owner_numbers: HashMap<[Option<Box<[u8]>>; 2], u32>,
    last_owner: Option<(Owner, u32)>,
    made: i64,
}

/// A directory of the archive.
struct Directory {
    text: Text,
    /// The path under which it was last shown, and its node.
    visible: Option<(Box<[u8]>, NodeId)>,
}

impl TreeBuilder {
    /// Directories without an item get the time `made` (nanoseconds since 1970).
    pub fn new(view: View, made: i64) -> Self {
        let mut builder = TreeBuilder {
            view,
            tree: Tree::default(),
            links: Vec::new(),
            directories: HashTable::new(),
            above: Vec::new(),
            stripped: Stripped::default(),
            last: Directory { text: Text::NONE, visible: None },
            directory_paths: HashMap::new(),
            masters: Masters::default(),
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
        if item.part {
            return;
        }
        let path = item.raw.as_deref().unwrap_or(item.path.as_bytes());
        if leads_out(path) || item.source.as_deref().is_some_and(|to| !is_symlink(&item) && leads_out(to)) {
            self.tree.misplaced.add(path);
        }
        if self.try_add(&item).is_none() {
            self.tree.left_out.add(path);
        }
    }

    /// `None` if the item cannot be shown: no file has its kind, it is a link to nothing, its name
    /// is invalid, or a text is too long.
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
            Some(raw) => Place { directory: Text::NONE, name: self.keep(raw)? },
        };
        let node = match &item.source {
            Some(source) if kind != Kind::Symlink => self.masters.find(&self.tree.texts, source)?,
            _ => self.inode(kind, item, place)?,
        };
        if let Some(visible) = self.view.visible_part(&item.path) {
            let (directories, name) = split(showable(visible).filter(|visible| !visible.is_empty())?);
            let parent = self.parent(directories)?;
            let name = if item.raw.is_some() { self.keep(name)? } else { place.name };
            self.links.push((parent, NameRecord { name, node }));
            if self.view.strip_components > 0 {
                let all = item.path.as_bytes();
                self.stripped.note(&all[..all.len() - visible.len() - 1]);
            }
        }
        Some(())
    }

    fn add_directory(&mut self, item: &Item) -> Option<()> {
        let all = item.path.as_bytes();
        let Some(visible) = self.view.visible_part(&item.path) else {
            if all.iter().filter(|b| **b == b'/').count() < self.view.strip_components {
                self.stripped.modes.insert(all.into(), item.mode);
            }
            if self.view.paths.iter().any(|path| path.is_within(&item.path)) {
                self.above.push(item.clone());
            }
            return Some(());
        };
        let id = self.directory(showable(visible)?)?;
        if self.view.strip_components > 0 {
            self.stripped.note(&all[..all.len() - visible.len() - 1]);
        }
        self.describe(id, item)
    }

    /// Gives the visible directories above the requested paths the attributes that the archive has
    /// for them.
    fn describe_above(&mut self) {
        for item in mem::take(&mut self.above) {
            let unfiltered = View { paths: Vec::new(), ..self.view.clone() };
            let known = unfiltered.visible_part(&item.path).and_then(|path| self.known_directory(path));
            // If the attributes cannot be kept, the directory stays like one without an item.
            let _ = known.and_then(|id| self.describe(id, &item));
        }
        let root = &mut self.tree.nodes[Tree::ROOT as usize];
        if root.owner == MADE_UP && self.stripped.are_open() {
            root.owner = 0;
        }
    }

    pub fn finish(mut self) -> Tree {
        self.describe_above();
        self.tree.neighbours = neighbours(&self.repeated, &self.tree.contents);
        drop((self.directories, self.masters, self.directory_paths, self.owner_numbers));
        let nodes = self.tree.nodes.len();
        let mut starts = vec![0u32; nodes + 1];
        self.links.iter().for_each(|(parent, _)| starts[*parent as usize + 1] += 1);
        for at in 1..starts.len() {
            starts[at] += starts[at - 1];
        }
        let mut sorted = vec![NameRecord { name: Text::NONE, node: 0 }; self.links.len()];
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
            let kind = |entry: &NameRecord| Kind::of(tree.nodes[entry.node as usize].kind);
            let mut hide = |hidden: &NameRecord, visible: &NameRecord| {
                // Everything below the directory would go where the link leads.
                if (kind(hidden) == Kind::Directory) != (kind(visible) == Kind::Directory) {
                    tree.misplaced.add(stretch(&tree.texts, hidden.name));
                }
            };
            take_last_of_each_name(children, &tree.texts, &mut tree.entries, &mut hide);
            let mut directories = 0;
            for entry in &tree.entries[first..] {
                let child = &mut tree.nodes[entry.node as usize];
                match Kind::of(child.kind) {
                    Kind::Directory => directories += 1,
                    _ => child.nlink += 1,
                }
            }
            let node = &mut tree.nodes[directory];
            node.nlink = 2 + directories;
            node.body[1] = first as u32;
            node.body[2] = (tree.entries.len() - first) as u32;
        }
        tree.nodes.shrink_to_fit();
        tree.entries.shrink_to_fit();
        tree.contents.shrink_to_fit();
        tree.texts.shrink_to_fit();
        tree
    }

    /// A new node that is not a directory.
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
        let earlier = self.masters.add(&self.tree.texts, Master { place, node: id, content });
        self.repeated.extend(earlier.zip(content));
        Some(id)
    }

    fn new_content(&mut self, place: Place, item: &Item) -> Option<ContentId> {
        i64::try_from(item.size).ok()?;
        let id = ContentId::try_from(self.tree.contents.len()).ok()?;
        let item_number = u32::try_from(item.number).ok()?;
        let damaged = item.damaged.into();
        self.tree.contents.push(ContentRecord { size: item.size, place, item: item_number, damaged });
        Some(id)
    }

    /// The visible directory for the next entry.
    fn parent(&mut self, directories: &[u8]) -> Option<NodeId> {
        match &self.last.visible {
            Some((path, id)) if **path == *directories => Some(*id),
            _ => {
                let id = self.directory(directories)?;
                self.last.visible = Some((directories.into(), id));
                Some(id)
            }
        }
    }

    /// The directory with this path. It and its parents are made if the archive has no items for
    /// them.
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
        self.links.push((parent, NameRecord { name: text, node }));
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

    /// Copies the attributes of the item to the node.
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
        let has_acl = item.acl_access.is_some() || item.acl_default.is_some();
        if xattrs.is_empty() && !has_acl && item.flags == 0 {
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
        let flags = item.flags;
        self.tree.extras.push(ExtraRecord { acl_access, acl_default, first, count, flags, unused: 0 });
        u32::try_from(self.tree.extras.len()).ok()
    }

    /// The number of this pair of owner and group: a few own all files.
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

    fn place(&mut self, (directory, name): (&[u8], &[u8])) -> Option<Place> {
        if stretch_if_any(&self.tree.texts, self.last.text) != Some(directory) {
            let known = self.directory_paths.get(directory).copied();
            self.last.text = match known {
                Some(text) => text,
                None => {
                    let text = self.keep(directory)?;
                    self.directory_paths.insert(directory.into(), text);
                    text
                }
            };
        }
        Some(Place { directory: self.last.text, name: self.keep(name)? })
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

fn is_symlink(item: &Item) -> bool {
    FileType::from_mode(item.mode) == Some(FileType::Symlink)
}

/// Whether a path in the archive leads out of it.
fn leads_out(path: &[u8]) -> bool {
    path.first() == Some(&b'/') || path.split(|byte| *byte == b'/').any(|name| name == b"..")
}

/// Appends `children` to `entries`, sorted by name. If several have the same name, appends only the
/// last one, and calls `hide` with each of the others and the last one.
fn take_last_of_each_name(
    children: &mut [NameRecord],
    texts: &[u8],
    entries: &mut Vec<NameRecord>,
    hide: &mut dyn FnMut(&NameRecord, &NameRecord),
) {
    let name = |entry: &NameRecord| stretch(texts, entry.name);
    // A stable sort, so that the last one of a name stays last.
    children.sort_by(|a, b| name(a).cmp(name(b)));
    let first = entries.len();
    for entry in children {
        match entries[first..].last_mut() {
            Some(last) if name(last) == name(entry) => {
                hide(last, entry);
                *last = *entry;
            }
            _ => entries.push(*entry),
        }
    }
}
