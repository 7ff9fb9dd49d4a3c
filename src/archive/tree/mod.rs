//! The tree that the items of an archive make: folders, hard links, and where each file's bytes
//! stand in the archive.
//!
//! It is a few flat arrays of plain records and one of all texts, so that a million files take
//! little memory, and that it can be written to disk and be had again without being parsed.

mod builder;
mod records;

pub use builder::{LARGEST_XATTR, TreeBuilder};

use borg_repository::{ItemPath, Xattr};

use super::left_out::LeftOut;
use records::{ContentRecord, Entry, ExtraRecord, Kind, Neighbours, NodeRecord, Owner, Text, XattrRecord};
use zerocopy::{FromZeros, IntoBytes};

/// Which part of an archive is shown, and under which names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct View {
    /// Only these and what is below them; everything when empty.
    pub paths: Vec<ItemPath>,
    /// Leading components taken off each path; items with no more than these are not shown.
    pub strip_components: usize,
}

impl View {
    /// Whether what is at `path`, which is no folder, is shown.
    pub fn shows(&self, path: &ItemPath) -> bool {
        self.shown(path).is_some_and(|shown| !shown.is_empty())
    }

    /// The path under which `path` is shown, if it is.
    fn shown<'a>(&self, path: &'a ItemPath) -> Option<&'a [u8]> {
        if !self.paths.is_empty() && !self.paths.iter().any(|p| path.is_within(p)) {
            return None;
        }
        let mut rest = path.as_bytes();
        for _ in 0..self.strip_components {
            rest = &rest[memchr::memchr(b'/', rest)? + 1..];
        }
        Some(rest)
    }
}

/// Number of a node in its tree; the root is node 0.
pub type NodeId = u32;
/// Number of a content in its tree, in the order of the archive.
pub type ContentId = u32;

/// Number of the owner of a folder that the archive has no item for.
const MADE_UP: u32 = u32::MAX;

/// What a file has besides its bytes, in the terms of stat(2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meta<'a> {
    /// With the file type.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub user: Option<&'a [u8]>,
    pub group: Option<&'a [u8]>,
    /// Times in nanoseconds since the epoch.
    pub mtime: i64,
    pub atime: i64,
    pub ctime: i64,
    pub rdev: u64,
    /// The archive says nothing of it: a folder that leads to what is in the archive. What is here is
    /// made up.
    pub made_up: bool,
}

/// Extended attributes and POSIX ACLs (as borg's text), of those few that have any.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Extra {
    pub xattrs: Vec<Xattr>,
    pub acl_access: Option<Box<[u8]>>,
    pub acl_default: Option<Box<[u8]>>,
}

/// What kind of file a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body<'a> {
    Directory {
        parent: NodeId,
        children: Children<'a>,
    },
    File(ContentId),
    Symlink(&'a [u8]),
    /// Device, FIFO, socket; or a hard link whose master the archive does not have.
    Special,
}

/// The names in a directory, sorted by their bytes.
#[derive(Debug, Clone, Copy)]
pub struct Children<'a> {
    tree: &'a Tree,
    entries: &'a [Entry],
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

/// An inode: hard links are several names of one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Node<'a> {
    pub meta: Meta<'a>,
    pub body: Body<'a>,
    /// Names shown in this tree (a directory's as usual: two and one for each folder in it).
    pub nlink: u32,
}

/// Where the bytes of a file stand: `borg extract --stdout` of its path gives `before` bytes of earlier
/// items of the same path, then the `size` bytes of this file, then `after` bytes of later ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Content<'a> {
    /// Number of the item that has the bytes.
    pub item: u32,
    /// The folder in which it stands and the name that it has there, as the archive has them, also
    /// where the view shows others.
    pub folder: &'a [u8],
    pub name: &'a [u8],
    /// The path in the archive, where it is written in an unusual way, such as `./a`.
    pub unusual: Option<&'a [u8]>,
    /// Bytes.
    pub size: u64,
    pub before: u64,
    pub after: u64,
    /// borg put zeros where chunks were lost.
    pub damaged: bool,
}

impl Content<'_> {
    /// The path in the archive, as it is written there.
    pub fn path(&self) -> Vec<u8> {
        if let Some(path) = self.unusual {
            return path.to_vec();
        }
        if self.folder.is_empty() { self.name.to_vec() } else { [self.folder, self.name].join(&b'/') }
    }
}

/// The files, folders and links of one archive, as one mount shows them.
#[derive(Debug, Default)]
pub struct Tree {
    nodes: Vec<NodeRecord>,
    /// The names in all directories: those of one directory stand together.
    entries: Vec<Entry>,
    contents: Vec<ContentRecord>,
    /// Of contents whose path the archive has more than once; sorted.
    neighbours: Vec<Neighbours>,
    /// Names of owner and group, each pair once.
    owners: Vec<Owner>,
    extras: Vec<ExtraRecord>,
    xattrs: Vec<XattrRecord>,
    /// Whatever is of no fixed length.
    texts: Vec<u8>,
    left_out: LeftOut,
    /// Files with xattrs that Linux cannot hold.
    unheld: LeftOut,
}

/// How many arrays a tree is.
pub const SECTIONS: usize = 12;

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

    /// Whether any node has xattrs or ACLs.
    pub fn has_extras(&self) -> bool {
        !self.extras.is_empty()
    }

    /// The xattrs and ACLs of a node.
    pub fn extra(&self, id: NodeId) -> Option<Extra> {
        let number = self.nodes.get(id as usize)?.extra.checked_sub(1)?;
        let record = self.extras.get(number as usize)?;
        let xattrs = self.xattrs.get(record.first as usize..)?.get(..record.count as usize)?;
        let owned = |text| self.text_if_any(text).map(Into::into);
        Some(Extra {
            xattrs: xattrs.iter().map(|x| (self.text(x.name).into(), self.text(x.value).into())).collect(),
            acl_access: owned(record.acl_access),
            acl_default: owned(record.acl_default),
        })
    }

    pub fn content(&self, id: ContentId) -> Option<Content<'_>> {
        let record = self.contents.get(id as usize)?;
        let beside = self.neighbours.binary_search_by_key(&id, |n| n.content);
        let beside = beside.map_or_else(|_| Neighbours::default(), |at| self.neighbours[at]);
        let (folder, name) = (self.text_if_any(record.place.folder), self.text(record.place.name));
        let unusual = folder.is_none().then_some(name);
        let whole = || {
            name.iter()
                .rposition(|b| *b == b'/')
                .map_or((&name[..0], name), |at| (&name[..at], &name[at + 1..]))
        };
        let (folder, name) = folder.map_or_else(whole, |folder| (folder, name));
        Some(Content {
            item: record.item,
            folder,
            name,
            unusual,
            size: record.size,
            before: beside.before,
            after: beside.after,
            damaged: record.damaged != 0,
        })
    }

    /// All contents in the order of the archive, so in the order in which one extract gives them.
    pub fn contents(&self) -> impl Iterator<Item = Content<'_>> {
        (0..self.content_count()).filter_map(|id| self.content(id))
    }

    pub fn content_count(&self) -> ContentId {
        self.contents.len() as ContentId
    }

    /// Number of nodes, the root among them.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    pub fn is_empty(&self) -> bool {
        self.nodes.len() <= 1
    }

    /// Items that no folder can show: of no kind, links without their master, names too long.
    pub fn left_out(&self) -> &LeftOut {
        &self.left_out
    }

    /// Files of which xattrs are not shown, since Linux cannot hold them.
    pub fn unheld(&self) -> &LeftOut {
        &self.unheld
    }

    /// The sum of the sizes of all files that are shown, in bytes.
    pub fn total_size(&self) -> u64 {
        let shown = self.nodes.iter().filter(|n| Kind::of(n.kind) == Kind::File && n.nlink > 0);
        let sizes = shown.filter_map(|n| self.contents.get(n.body[0] as usize)).map(|c| c.size);
        sizes.fold(0, u64::saturating_add)
    }

    pub fn child(&self, dir: NodeId, name: &[u8]) -> Option<NodeId> {
        match self.node(dir)?.body {
            Body::Directory { children, .. } => children.find(name),
            _ => None,
        }
    }

    /// The node of a path as the mount shows it.
    pub fn find(&self, path: &ItemPath) -> Option<NodeId> {
        path.components().try_fold(Self::ROOT, |dir, name| self.child(dir, name))
    }

    /// The tree as bytes, in the order of this machine.
    pub fn sections(&self) -> [&[u8]; SECTIONS] {
        let [count, names] = self.left_out.sections();
        let [more, files] = self.unheld.sections();
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
        ]
    }

    /// A tree whose [sections](Tree::sections) have these lengths, to be filled. `None` when none
    /// has, or there is no memory for it.
    pub fn with_lengths(lengths: [usize; SECTIONS]) -> Option<Self> {
        let [nodes, entries, contents, neighbours, owners, extras, xattrs, texts, rest @ ..] = lengths;
        let [count, names, more, files] = rest;
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
        })
    }

    pub fn sections_mut(&mut self) -> [&mut [u8]; SECTIONS] {
        let [count, names] = self.left_out.sections_mut();
        let [more, files] = self.unheld.sections_mut();
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
        ]
    }

    fn text(&self, text: Text) -> &[u8] {
        self.text_if_any(text).unwrap_or_default()
    }

    fn text_if_any(&self, text: Text) -> Option<&[u8]> {
        self.texts.get(text.range()?)
    }
}

/// Records of together `bytes` bytes, to be filled; `None` when no number of them has so many.
pub fn zeroed<T: FromZeros>(bytes: usize) -> Option<Vec<T>> {
    bytes.is_multiple_of(size_of::<T>()).then(|| T::new_vec_zeroed(bytes / size_of::<T>()).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;
    use borg_repository::Item;

    fn item(path: &str, kind: u32, size: u64) -> Item {
        Item {
            number: 0,
            path: ItemPath::new(path.as_bytes()).unwrap(),
            raw: None,
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

    fn at<'a>(tree: &'a Tree, path: &str) -> Option<Node<'a>> {
        tree.find(&ItemPath::new(path.as_bytes()).unwrap()).and_then(|id| tree.node(id))
    }

    fn content<'a>(tree: &'a Tree, path: &str) -> Content<'a> {
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
        assert_eq!(content(&t, "e/s2").path(), b"d/m", "its bytes are its master's");
    }

    #[test]
    fn stripping_that_makes_names_equal_mixes_no_bytes() {
        let view = View { paths: vec![], strip_components: 1 };
        let t = tree(view, vec![file("a/x", 1), file("b/x", 2), link("c/y", "a/x")]);
        assert_eq!(content(&t, "x").size, 2, "the last one is shown");
        assert_eq!(content(&t, "y").path(), b"a/x");
    }

    #[test]
    fn a_path_that_comes_twice_knows_where_its_bytes_stand_in_the_stream() {
        let t = tree(View::default(), vec![file("x", 10), link("y", "x"), file("x", 12)]);
        let (x, y) = (content(&t, "x"), content(&t, "y"));
        assert_eq!((x.before, x.size, x.after), (10, 12, 0));
        assert_eq!((y.before, y.size, y.after), (0, 10, 12));
    }

    #[test]
    fn a_path_without_end_is_left_out_and_a_long_one_can_be_walked() {
        let deep = |folders| file(&("d/".repeat(folders) + "f"), 1);
        let t = tree(View::default(), vec![deep(100_000), deep(30_000), file("after", 1)]);
        assert_eq!((t.left_out().count(), content(&t, "after").size), (1, 1));
        let mut at = Tree::ROOT;
        for _ in 0..30_000 {
            at = t.child(at, b"d").unwrap();
        }
        assert!(t.child(at, b"f").is_some() && t.child(at, b"d").is_none());
    }

    #[test]
    fn what_no_folder_can_show_is_left_out_and_named_and_the_rest_is_there() {
        let long = "x".repeat(256);
        let symlink =
            |name: &str, target: &[u8]| Item { source: Some(target.into()), ..item(name, libc::S_IFLNK, 0) };
        let items = vec![
            file(&long, 1),
            file(&format!("d/{long}/f"), 1),
            file("", 1),
            file("huge", 1 << 63),
            symlink("nowhere", b""),
            symlink("far", &[b'x'; 4096]),
            link("linked", &long),
            file(&"y".repeat(255), 1),
        ];
        let t = tree(View::default(), items);
        assert_eq!(t.left_out().count(), 6);
        assert!(t.left_out().to_string().starts_with("\"xxx"), "{}", t.left_out());
        let Body::Directory { children, .. } = t.node(Tree::ROOT).unwrap().body else { panic!() };
        let names: Vec<_> = children.iter().map(|(name, _)| name.len()).collect();
        assert_eq!(names, [6, 255], "and no folder is made for what is left out");
    }

    #[test]
    fn xattrs_that_linux_cannot_hold_are_left_out_and_their_files_named() {
        let xattr =
            |name: &str, value: usize| -> Xattr { (name.as_bytes().into(), vec![b'x'; value].into()) };
        let with = |path: &str, xattrs| Item { xattrs, ..file(path, 1) };
        let held = vec![xattr("user.fits", 65_536), xattr("security.capability", 20)];
        let long = format!("user.{}", "n".repeat(251));
        let odd = ["user.", "com.apple.x", "user.a\0b", &long].map(|name| xattr(name, 1));
        let odd: Vec<Xattr> = odd.into_iter().chain([xattr("user.big", 65_537)]).collect();
        let many: Vec<Xattr> = (0..1000).map(|n| xattr(&format!("user.{n:0100}"), 1)).collect();
        let mixed = held.iter().cloned().chain(odd.clone()).collect();
        let t = tree(
            View::default(),
            vec![with("held", held.clone()), with("mixed", mixed), with("odd", odd), with("many", many)],
        );
        let extra = |path: &str| t.extra(t.find(&ItemPath::new(path.as_bytes()).unwrap()).unwrap());
        assert_eq!(extra("held").unwrap().xattrs, held);
        assert_eq!(extra("mixed").unwrap().xattrs, held);
        assert!(extra("odd").is_none());
        let listed: usize = extra("many").unwrap().xattrs.iter().map(|(name, _)| name.len() + 1).sum();
        assert!((60_000..=65_536).contains(&listed), "{listed}");
        assert_eq!(t.unheld().to_string(), "\"mixed\", \"odd\", \"many\"");
        assert!(t.left_out().is_empty());
    }

    #[test]
    fn of_very_many_items_of_one_path_the_last_is_shown() {
        let items = (1..=200_000).map(|size| file("x", size)).collect();
        let t = tree(View::default(), items);
        let x = content(&t, "x");
        assert_eq!((x.before, x.size, x.after), (199_999 * 200_000 / 2, 200_000, 0));
    }

    #[test]
    fn a_file_of_another_kind_between_does_not_hide_that_a_path_comes_twice() {
        let fifo = item("x", libc::S_IFIFO, 0);
        let t = tree(View::default(), vec![file("x", 3), fifo, file("x", 5)]);
        assert_eq!(content(&t, "x").before, 3);
    }

    #[test]
    fn two_ways_to_write_one_path_are_two_items_with_their_own_bytes_and_links() {
        let raw = |path: &str, raw: &str, size| Item { raw: Some(raw.as_bytes().into()), ..file(path, size) };
        let items =
            || vec![file("d/f", 1), raw("d/f", "./d/f", 2), link("plain", "d/f"), link("dotted", "./d/f")];
        let t = tree(View::default(), items());
        let shown = content(&t, "d/f");
        assert_eq!((shown.path(), shown.folder, shown.name), (b"./d/f".to_vec(), &b"./d"[..], &b"f"[..]));
        assert_eq!((shown.size, shown.before, shown.after), (2, 0, 0));
        assert_eq!((content(&t, "plain").size, content(&t, "dotted").size), (1, 2));
    }

    #[test]
    fn folders_above_what_is_asked_for_keep_what_the_archive_says_of_them() {
        let closed = || Item { mode: libc::S_IFDIR | 0o700, uid: 5, ..item("prot", libc::S_IFDIR, 0) };
        let view = View { paths: vec![ItemPath::new(b"prot/data").unwrap()], strip_components: 0 };
        let t = tree(view, vec![file("prot/data/f", 1), closed(), item("other", libc::S_IFDIR, 0)]);
        let meta = at(&t, "prot").unwrap().meta;
        assert_eq!((meta.mode & 0o777, meta.uid, meta.made_up), (0o700, 5, false));
        assert!(at(&t, "other").is_none() && at(&t, "prot/data").unwrap().meta.made_up);
        let nothing = View { paths: vec![ItemPath::new(b"prot/none").unwrap()], strip_components: 0 };
        assert!(tree(nothing, vec![closed()]).is_empty());
    }

    #[test]
    fn the_root_is_made_up_where_it_stands_for_folders_that_were_not_open() {
        let dir = |path: &str, mode| Item { mode: libc::S_IFDIR | mode, ..item(path, libc::S_IFDIR, 0) };
        let strip = |n| View { paths: vec![], strip_components: n };
        let made_up = |view, items| tree(view, items).node(Tree::ROOT).unwrap().meta.made_up;
        assert!(!made_up(strip(0), vec![file("a/b/f", 1)]));
        assert!(made_up(strip(1), vec![file("a/f", 1)]), "nobody knows how `a` was");
        assert!(!made_up(strip(1), vec![dir("a", 0o755), dir("c", 0o700), file("a/f", 1)]));
        assert!(made_up(strip(1), vec![dir("a", 0o750), file("a/f", 1)]));
        assert!(made_up(strip(2), vec![dir("a", 0o700), dir("a/b", 0o755), file("a/b/f", 1)]));
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
        assert_eq!(t.left_out().to_string(), "\"l\"");
    }
}
