//! The tree that the items of an archive make: folders, hard links, and where each file's bytes
//! stand in the archive.

use std::collections::HashMap;
use std::sync::Arc;

use super::item::{Item, Kind, Xattr};
use super::path::ItemPath;

/// Which part of an archive is shown, and under which names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct View {
    /// Only these and what is below them; everything when empty.
    pub paths: Vec<ItemPath>,
    /// Leading components taken off each path; items with no more than these are not shown.
    pub strip_components: usize,
}

impl View {
    /// The components under which `path` is shown, if it is.
    fn shown<'a>(&self, path: &'a ItemPath) -> Option<Vec<&'a [u8]>> {
        if !self.paths.is_empty() && !self.paths.iter().any(|p| path.is_within(p)) {
            return None;
        }
        let parts: Vec<&[u8]> = path.components().collect();
        (self.strip_components == 0 || parts.len() > self.strip_components)
            .then(|| parts[self.strip_components..].to_vec())
    }
}

/// Number of a node in its tree; the root is node 0.
pub type NodeId = u32;
/// Number of a content in its tree, in the order of the archive.
pub type ContentId = u32;

/// What a file has besides its bytes, in the terms of stat(2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meta {
    /// With the file type.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub user: Option<Arc<[u8]>>,
    pub group: Option<Arc<[u8]>>,
    /// Times in nanoseconds since the epoch.
    pub mtime: i64,
    pub atime: i64,
    pub ctime: i64,
    pub rdev: u64,
    /// xattrs and ACLs, of those few that have any.
    pub extra: Option<Box<Extra>>,
}

/// Extended attributes and POSIX ACLs (as borg's text).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Extra {
    pub xattrs: Vec<Xattr>,
    pub acl_access: Option<Box<[u8]>>,
    pub acl_default: Option<Box<[u8]>>,
}

/// What kind of file a node is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    Directory {
        parent: NodeId,
        children: Vec<(Box<[u8]>, NodeId)>,
    },
    File(ContentId),
    Symlink(Box<[u8]>),
    /// Device, FIFO, socket; or a hard link whose master the archive does not have.
    Special,
}

/// An inode: hard links are several names of one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    pub meta: Meta,
    pub body: Body,
    /// Names shown in this tree (a directory's as usual: two and one for each folder in it).
    pub nlink: u32,
}

/// Where the bytes of a file stand: `borg extract --stdout pf:PATH` gives `before` bytes of earlier
/// items of the same path, then the `size` bytes of this file, then `after` bytes of later ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// Number of the item that has the bytes.
    pub item: u64,
    /// As the archive has it, also where the view shows another name.
    pub path: Arc<[u8]>,
    /// Bytes.
    pub size: u64,
    pub before: u64,
    pub after: u64,
    /// borg put zeros where chunks were lost.
    pub damaged: bool,
}

/// The files, folders and links of one archive, as one mount shows them.
#[derive(Debug)]
pub struct Tree {
    nodes: Vec<Node>,
    contents: Vec<Content>,
    /// Items whose master or type was not to be made out.
    pub strange: u64,
}

impl Tree {
    pub const ROOT: NodeId = 0;

    pub fn node(&self, id: NodeId) -> Option<&Node> {
        self.nodes.get(id as usize)
    }

    pub fn content(&self, id: ContentId) -> Option<&Content> {
        self.contents.get(id as usize)
    }

    /// All contents in the order of the archive, so in the order in which one extract gives them.
    pub fn contents(&self) -> &[Content] {
        &self.contents
    }

    /// Number of nodes, the root among them.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    pub fn is_empty(&self) -> bool {
        self.nodes.len() <= 1
    }

    /// The sum of the sizes of all files that are shown, in bytes.
    pub fn total_size(&self) -> u64 {
        let size = |node: &Node| match node.body {
            Body::File(id) if node.nlink > 0 => self.content(id).map_or(0, |c| c.size),
            _ => 0,
        };
        self.nodes.iter().map(size).sum()
    }

    pub fn child(&self, dir: NodeId, name: &[u8]) -> Option<NodeId> {
        let Body::Directory { children, .. } = &self.node(dir)?.body else { return None };
        let at = children.binary_search_by(|(n, _)| (**n).cmp(name)).ok()?;
        Some(children[at].1)
    }

    /// The node of a path as the mount shows it.
    pub fn find(&self, path: &ItemPath) -> Option<NodeId> {
        path.components().try_fold(Self::ROOT, |dir, name| self.child(dir, name))
    }
}

/// Makes a [`Tree`] of items in the order of the archive. Of several items of one path the last
/// one is shown, as `borg mount` does.
pub struct TreeBuilder {
    view: View,
    nodes: Vec<Node>,
    contents: Vec<Content>,
    /// Folders by the path that is shown.
    directories: HashMap<Arc<[u8]>, NodeId>,
    /// Possible hard-link masters, shown or not, by their path in the archive.
    masters: HashMap<Arc<[u8]>, NodeId>,
    names: HashMap<Box<[u8]>, Arc<[u8]>>,
    made: i64,
    strange: u64,
}

impl TreeBuilder {
    /// Folders for which the archive has no item get the time `made` (nanoseconds since the epoch).
    pub fn new(view: View, made: i64) -> Self {
        let root = Node {
            meta: synthetic_directory(made),
            body: Body::Directory { parent: Tree::ROOT, children: Vec::new() },
            nlink: 2,
        };
        TreeBuilder {
            view,
            nodes: vec![root],
            contents: Vec::new(),
            directories: HashMap::from([(Arc::from(&[][..]), Tree::ROOT)]),
            masters: HashMap::new(),
            names: HashMap::new(),
            made,
            strange: 0,
        }
    }

    pub fn add(&mut self, item: Item) {
        let Some(kind) = Kind::of(item.mode) else {
            self.strange += 1;
            return;
        };
        if item.part {
            return;
        }
        let path = item.path.clone();
        if kind == Kind::Directory {
            if let Some(shown) = self.view.shown(&path) {
                let id = self.directory(&shown);
                let meta = self.meta(item);
                self.nodes[id as usize].meta = meta;
            }
            return;
        }
        let node = self.inode(kind, item);
        match (self.view.shown(&path).as_deref(), node) {
            (Some([folders @ .., name]), Some(node)) => {
                let parent = self.directory(folders);
                self.link(parent, name, node);
            }
            (_, None) => self.strange += 1,
            _ => {}
        }
    }

    pub fn finish(mut self) -> Tree {
        drop((self.directories, self.masters, self.names));
        let mut links = vec![0u32; self.nodes.len()];
        for at in 0..self.nodes.len() {
            let Body::Directory { children, .. } = &mut self.nodes[at].body else { continue };
            let children = last_of_each_name(std::mem::take(children));
            for (_, child) in &children {
                links[*child as usize] += 1;
            }
            let is_dir = |(_, child): &&(_, NodeId)| {
                matches!(self.nodes[*child as usize].body, Body::Directory { .. })
            };
            let folders = children.iter().filter(is_dir).count() as u32;
            self.nodes[at].nlink = 2 + folders;
            if let Body::Directory { children: place, .. } = &mut self.nodes[at].body {
                *place = children;
            }
        }
        for (node, links) in self.nodes.iter_mut().zip(links) {
            if !matches!(node.body, Body::Directory { .. }) {
                node.nlink = links;
            }
        }
        self.nodes.shrink_to_fit();
        self.contents.shrink_to_fit();
        Tree { nodes: self.nodes, contents: self.contents, strange: self.strange }
    }

    /// The inode of an item that is no directory: its master's, or a new one.
    fn inode(&mut self, kind: Kind, item: Item) -> Option<NodeId> {
        if kind != Kind::Symlink
            && let Some(source) = &item.source
        {
            let master = ItemPath::new(source)?;
            return self.masters.get(master.as_bytes()).copied();
        }
        let path: Arc<[u8]> = Arc::from(item.path.as_bytes());
        let body = match kind {
            Kind::File => Body::File(self.content_of(&path, &item)),
            Kind::Symlink => Body::Symlink(item.source.clone().unwrap_or_default()),
            _ => Body::Special,
        };
        let meta = self.meta(item);
        let id = self.nodes.len() as NodeId;
        self.nodes.push(Node { meta, body, nlink: 0 });
        if kind != Kind::Symlink {
            self.masters.insert(path, id);
        }
        Some(id)
    }

    fn content_of(&mut self, path: &Arc<[u8]>, item: &Item) -> ContentId {
        let size = item.size;
        let mut before = 0;
        if let Some(Body::File(earlier)) = self.masters.get(path).map(|id| &self.nodes[*id as usize].body) {
            let latest = &self.contents[*earlier as usize];
            before = latest.before + latest.size;
            // Rare (overlapping roots), so a scan will do.
            for content in self.contents.iter_mut().filter(|c| c.path == *path) {
                content.after += size;
            }
        }
        let id = self.contents.len() as ContentId;
        let (path, damaged) = (Arc::clone(path), item.damaged);
        self.contents.push(Content { item: item.number, path, size, before, after: 0, damaged });
        id
    }

    /// The folder at these components, made with its parents where the archive has no item for it.
    fn directory(&mut self, components: &[&[u8]]) -> NodeId {
        let joined = components.join(&b'/');
        if let Some(id) = self.directories.get(&joined[..]) {
            return *id;
        }
        let Some((name, above)) = components.split_last() else { return Tree::ROOT };
        let parent = self.directory(above);
        let id = self.nodes.len() as NodeId;
        let body = Body::Directory { parent, children: Vec::new() };
        self.nodes.push(Node { meta: synthetic_directory(self.made), body, nlink: 2 });
        self.link(parent, name, id);
        self.directories.insert(joined.into(), id);
        id
    }

    fn link(&mut self, parent: NodeId, name: &[u8], node: NodeId) {
        if let Body::Directory { children, .. } = &mut self.nodes[parent as usize].body {
            children.push((name.into(), node));
        }
    }

    fn meta(&mut self, item: Item) -> Meta {
        let extra = Extra { xattrs: item.xattrs, acl_access: item.acl_access, acl_default: item.acl_default };
        Meta {
            mode: item.mode,
            uid: item.uid,
            gid: item.gid,
            user: item.user.map(|name| self.intern(name)),
            group: item.group.map(|name| self.intern(name)),
            mtime: item.mtime,
            atime: item.atime.unwrap_or(item.mtime),
            ctime: item.ctime.unwrap_or(item.mtime),
            rdev: item.rdev,
            extra: (extra != Extra::default()).then(|| Box::new(extra)),
        }
    }

    /// A few names own all files: each is kept once.
    fn intern(&mut self, name: Box<[u8]>) -> Arc<[u8]> {
        Arc::clone(self.names.entry(name).or_insert_with_key(|name| Arc::from(&**name)))
    }
}

fn synthetic_directory(made: i64) -> Meta {
    Meta {
        mode: libc::S_IFDIR | 0o755,
        uid: 0,
        gid: 0,
        user: None,
        group: None,
        mtime: made,
        atime: made,
        ctime: made,
        rdev: 0,
        extra: None,
    }
}

fn last_of_each_name(mut children: Vec<(Box<[u8]>, NodeId)>) -> Vec<(Box<[u8]>, NodeId)> {
    children.sort_by(|a, b| a.0.cmp(&b.0));
    children.reverse();
    children.dedup_by(|a, b| a.0 == b.0);
    children.reverse();
    children.shrink_to_fit();
    children
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(path: &str, kind: u32, size: u64) -> Item {
        Item {
            number: 0,
            path: ItemPath::new(path.as_bytes()).unwrap(),
            mode: kind | 0o644,
            uid: 1,
            gid: 2,
            user: None,
            group: None,
            mtime: 7,
            atime: None,
            ctime: None,
            size,
            rdev: 0,
            source: None,
            xattrs: vec![],
            acl_access: None,
            acl_default: None,
            damaged: false,
            part: false,
        }
    }

    fn file(path: &str, size: u64) -> Item {
        item(path, libc::S_IFREG, size)
    }

    fn link(path: &str, master: &str) -> Item {
        Item { source: Some(master.as_bytes().into()), ..file(path, 0) }
    }

    fn tree(view: View, items: Vec<Item>) -> Tree {
        let mut builder = TreeBuilder::new(view, 3);
        items.into_iter().for_each(|i| builder.add(i));
        builder.finish()
    }

    fn at<'a>(tree: &'a Tree, path: &str) -> Option<&'a Node> {
        tree.find(&ItemPath::new(path.as_bytes()).unwrap()).and_then(|id| tree.node(id))
    }

    fn content<'a>(tree: &'a Tree, path: &str) -> &'a Content {
        let Body::File(id) = at(tree, path).unwrap().body else { panic!("{path} is no file") };
        tree.content(id).unwrap()
    }

    #[test]
    fn folders_without_an_item_are_made() {
        let t = tree(View::default(), vec![file("a/b/c", 1), item("a", libc::S_IFDIR, 0)]);
        assert_eq!(at(&t, "a").unwrap().meta.mtime, 7, "the later item gives the folder its attributes");
        assert_eq!(at(&t, "a/b").unwrap().meta.mode, libc::S_IFDIR | 0o755);
        assert_eq!(at(&t, "a/b").unwrap().meta.mtime, 3, "it is as old as the archive");
        assert_eq!(at(&t, "a").unwrap().nlink, 3);
    }

    #[test]
    fn hard_links_are_names_of_one_node_and_counted_as_shown() {
        let items = || vec![file("d/m", 5), link("d/s1", "d/m"), link("e/s2", "d/m")];
        let t = tree(View::default(), items());
        assert_eq!(t.find(&ItemPath::new(b"d/m").unwrap()), t.find(&ItemPath::new(b"e/s2").unwrap()));
        assert_eq!(at(&t, "d/m").unwrap().nlink, 3);

        let view = View { paths: vec![ItemPath::new(b"e").unwrap()], strip_components: 0 };
        let t = tree(view, items());
        assert!(at(&t, "d").is_none());
        assert_eq!(at(&t, "e/s2").unwrap().nlink, 1);
        assert_eq!(&*content(&t, "e/s2").path, b"d/m", "its bytes are its master's");
    }

    #[test]
    fn stripping_that_makes_names_equal_mixes_no_bytes() {
        let view = View { paths: vec![], strip_components: 1 };
        let t = tree(view, vec![file("a/x", 1), file("b/x", 2), link("c/y", "a/x")]);
        assert_eq!(content(&t, "x").size, 2, "the last one is shown");
        assert_eq!(&*content(&t, "y").path, b"a/x");
    }

    #[test]
    fn a_path_that_comes_twice_knows_where_its_bytes_stand_in_the_stream() {
        let t = tree(View::default(), vec![file("x", 10), link("y", "x"), file("x", 12)]);
        let (x, y) = (content(&t, "x"), content(&t, "y"));
        assert_eq!((x.before, x.size, x.after), (10, 12, 0));
        assert_eq!((y.before, y.size, y.after), (0, 10, 12));
    }

    #[test]
    fn names_are_found_by_their_bytes() {
        let t = tree(View::default(), vec![file("pfx", 1), file("pfx2", 2), file("p", 3)]);
        assert_eq!(content(&t, "pfx").size, 1);
        assert!(at(&t, "pf").is_none());
    }

    #[test]
    fn a_link_without_its_master_and_a_part_file_are_not_shown() {
        let part = Item { part: true, ..file("big.borg_part_1", 9) };
        let t = tree(View::default(), vec![link("l", "nowhere"), part]);
        assert!(at(&t, "l").is_none() && at(&t, "big.borg_part_1").is_none());
        assert_eq!(t.strange, 1);
    }
}
