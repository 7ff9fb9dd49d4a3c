//! Which part of an archive is restored.

use std::collections::{BTreeMap, HashSet};

use borg_repository::ItemPath;

use crate::archive::tree::{Body, NodeId, Tree};
use crate::error::Result;

/// What of a directory is chosen.
#[derive(Debug, PartialEq, Eq)]
pub enum Scope {
    All,
    /// Only what is chosen in these of its names. The directory itself is not.
    Below(BTreeMap<Box<[u8]>, Scope>),
}

/// A name in a directory, of which something is chosen.
pub struct Child<'a> {
    pub name: Box<[u8]>,
    pub node: NodeId,
    pub scope: &'a Scope,
}

/// How much is chosen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Size {
    /// Files, directories, links and whatever else there is; each name counts.
    pub entries: u64,
    /// Of these, those that are no directories.
    pub files: u64,
    /// Of all files; each file counts once.
    pub bytes: u64,
}

impl Scope {
    /// These paths with all that is in them; everything where there is none.
    pub fn new(paths: &[ItemPath]) -> Self {
        let mut scope = Scope::Below(BTreeMap::new());
        paths.iter().for_each(|path| scope.add(&mut path.components()));
        if paths.is_empty() { Scope::All } else { scope }
    }

    fn add(&mut self, names: &mut dyn Iterator<Item = &[u8]>) {
        let Scope::Below(children) = self else { return };
        match names.next() {
            None => *self = Scope::All,
            Some(name) => children.entry(name.into()).or_insert(Scope::Below(BTreeMap::new())).add(names),
        }
    }

    pub fn is_all(&self) -> bool {
        *self == Scope::All
    }

    /// Whether `path`, or something in it, is chosen.
    pub fn reaches(&self, path: &ItemPath) -> bool {
        let mut scope = self;
        for name in path.components() {
            match scope {
                Scope::All => return true,
                Scope::Below(children) => match children.get(name) {
                    Some(child) => scope = child,
                    None => return false,
                },
            }
        }
        true
    }

    /// What is chosen in a directory: files in the order of the archive, so that their bytes come in the order in
    /// which it has them, and then directories.
    ///
    /// # Errors
    /// When the archive cannot be read.
    pub fn children<'a>(&'a self, tree: &Tree, directory: NodeId) -> Result<Vec<Child<'a>>> {
        let mut chosen: Vec<((u32, u32), Child<'_>)> = Vec::new();
        let mut choose = |name: Box<[u8]>, node: NodeId, scope: &'a Scope| -> Result<()> {
            let order = match tree.node(node)?.map(|node| node.body) {
                Some(Body::File(content)) => (1, content),
                Some(Body::Directory) => (2, 0),
                _ => (0, 0),
            };
            chosen.push((order, Child { name, node, scope }));
            Ok(())
        };
        match self {
            Scope::All => {
                for child in tree.children(directory)? {
                    let child = child?;
                    choose(child.name, child.node, self)?;
                }
            }
            Scope::Below(children) => {
                for (name, scope) in children {
                    if let Some(node) = tree.child(directory, name)? {
                        choose(name.clone(), node, scope)?;
                    }
                }
            }
        }
        chosen.sort_by(|(a, one), (b, other)| a.cmp(b).then_with(|| one.name.cmp(&other.name)));
        Ok(chosen.into_iter().map(|(_, child)| child).collect())
    }

    /// How much of `tree` is chosen.
    ///
    /// # Errors
    /// When the archive cannot be read.
    pub fn size(&self, tree: &Tree) -> Result<Size> {
        let mut size = Size::default();
        let mut linked = HashSet::new();
        let mut open = vec![(Tree::ROOT, self)];
        while let Some((directory, scope)) = open.pop() {
            for child in scope.children(tree, directory)? {
                size.entries += u64::from(child.scope.is_all());
                let Some(node) = tree.node(child.node)? else { continue };
                size.files += u64::from(node.body != Body::Directory);
                match node.body {
                    Body::Directory => open.push((child.node, child.scope)),
                    Body::File(content) if node.nlink < 2 || linked.insert(child.node) => {
                        size.bytes += tree.content(content)?.map_or(0, |content| content.size);
                    }
                    _ => {}
                }
            }
        }
        Ok(size)
    }
}

#[cfg(test)]
mod tests {
    use borg_repository::Item;

    use super::*;
    use crate::archive::tree::{TreeBuilder, View};

    fn path(text: &str) -> ItemPath {
        ItemPath::new(text.as_bytes()).unwrap()
    }

    fn tree() -> Tree {
        let mut builder = TreeBuilder::new(View::default(), 0);
        for (number, name) in ["a/z", "a/b/c", "a/b/d", "a/c", "e"].iter().enumerate() {
            let item =
                Item { number: number as u64, size: 10, ..Item::new(path(name), libc::S_IFREG | 0o644) };
            builder.add(&item);
        }
        builder.add(&Item { source: Some(b"e"[..].into()), ..Item::new(path("f"), libc::S_IFREG | 0o644) });
        builder.finish().unwrap()
    }

    #[test]
    fn a_path_within_another_adds_nothing() {
        assert_eq!(Scope::new(&[path("a"), path("a/b")]), Scope::new(&[path("a/b"), path("a")]));
        assert_eq!(Scope::new(&[]), Scope::All);
        assert_eq!(Scope::new(&[path("a/b"), ItemPath::root()]), Scope::All);
        let scope = Scope::new(&[path("a/b")]);
        for (name, reached) in [("a", true), ("a/b", true), ("a/b/c", true), ("a/c", false), ("b", false)] {
            assert_eq!(
                (scope.reaches(&path(name)), Scope::All.reaches(&path(name))),
                (reached, true),
                "{name}"
            );
        }
    }

    #[test]
    fn only_what_was_chosen_counts_and_links_count_their_bytes_once() {
        let tree = tree();
        let size = |paths: &[&str]| {
            let size = Scope::new(&paths.iter().map(|p| path(p)).collect::<Vec<_>>()).size(&tree).unwrap();
            (size.entries, size.bytes)
        };
        assert_eq!(size(&[]), (8, 50));
        assert_eq!(size(&["a/b"]), (3, 20));
        assert_eq!(size(&["a/b/c", "f"]), (2, 20));
        assert_eq!(size(&["no"]), (0, 0));
    }

    #[test]
    fn files_come_in_the_order_of_the_archive_before_directories() {
        let tree = tree();
        let scope = Scope::new(&[path("a")]);
        let children = scope.children(&tree, Tree::ROOT).unwrap();
        assert_eq!(children.iter().map(|c| &*c.name).collect::<Vec<_>>(), [b"a"]);
        let below = children[0].scope.children(&tree, children[0].node).unwrap();
        assert_eq!(below.iter().map(|c| &*c.name).collect::<Vec<_>>(), [&b"z"[..], b"c", b"b"]);
    }
}
