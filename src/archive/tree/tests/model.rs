//! Trees of random items beside a plain model, and beside trees that use the leaves of another archive.

use std::collections::{BTreeMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use borg_repository::Item;
use proptest::prelude::*;

use super::super::assembly::Totals;
use super::super::pages::Memory;
use super::*;
use crate::archive::left_out::LeftOut;

/// What a directory shows under a name: the kind, the node (0 if it is made up), the number of names, and
/// the bytes.
type Shown = (char, u32, u32, u64);

fn kind_of(item: &Item) -> char {
    match item.mode & libc::S_IFMT {
        libc::S_IFDIR => 'd',
        libc::S_IFLNK => 'l',
        _ if item.source.is_some() => 'h',
        libc::S_IFREG => 'f',
        _ => 's',
    }
}

/// What `items` look like, worked out in the simplest way.
fn model(items: &[Item]) -> BTreeMap<String, Shown> {
    let path = |item: &Item| item.path.to_string();
    let spelled = |item: &Item| item.raw.as_deref().unwrap_or(item.path.as_bytes()).to_vec();
    let master = |at: usize| {
        let to = items[at].source.clone().unwrap().into_vec();
        let is_it = |(_, item): &(usize, &Item)| spelled(item) == to && matches!(kind_of(item), 'f' | 's');
        items[..at].iter().enumerate().rfind(is_it).map(|(n, _)| n)
    };
    let node = |at: usize| if kind_of(&items[at]) == 'h' { master(at) } else { Some(at) };
    // The last item of each path; of directories any item makes it one.
    let mut last: BTreeMap<String, usize> = BTreeMap::new();
    for at in (0..items.len()).filter(|at| node(*at).is_some()) {
        last.insert(path(&items[at]), at);
    }
    let mut made_up: Vec<String> = Vec::new();
    for item in items {
        let mut above = path(item);
        while let Some((directory, _)) = above.clone().rsplit_once('/') {
            let is_listed = |item: &Item| kind_of(item) == 'd' && path(item) == directory;
            if !items.iter().any(is_listed) && !made_up.iter().any(|known| known == directory) {
                made_up.push(directory.to_owned());
            }
            above = directory.to_owned();
        }
    }
    let mut shown = BTreeMap::new();
    let mut entries: BTreeMap<String, (char, usize)> = BTreeMap::new();
    for (path, at) in &last {
        let number = match kind_of(&items[*at]) {
            'd' => {
                items.iter().rposition(|item| kind_of(item) == 'd' && item.path.to_string() == *path).unwrap()
            }
            _ => node(*at).unwrap(),
        };
        entries.insert(path.clone(), (kind_of(&items[number]), number));
    }
    for (n, path) in made_up.iter().enumerate() {
        entries.insert(path.clone(), ('d', items.len() + n));
    }
    for (path, (kind, number)) in &entries {
        let is_below = |directory: &str| path.starts_with(&format!("{directory}/"));
        if entries.iter().any(|(other, (kind, _))| *kind != 'd' && is_below(other)) {
            continue;
        }
        let is_child = |other: &String| other.rsplit_once('/').is_some_and(|(above, _)| above == path);
        let nlink = match kind {
            'd' => 2 + entries.iter().filter(|(other, (kind, _))| *kind == 'd' && is_child(other)).count(),
            _ => entries.values().filter(|(_, other)| other == number).count(),
        };
        let size = if *kind == 'f' { items[*number].size } else { 0 };
        let node = if *number < items.len() { *number as u32 + 1 } else { 0 };
        shown.insert(path.clone(), (*kind, node, nlink as u32, size));
    }
    shown
}

/// What a tree shows.
fn shown(tree: &Tree) -> BTreeMap<String, Shown> {
    let mut shown = BTreeMap::new();
    let mut open = vec![(Tree::ROOT, String::new())];
    while let Some((directory, path)) = open.pop() {
        let mut names = HashSet::new();
        for child in tree.children(directory).unwrap() {
            let child = child.unwrap();
            assert!(names.insert(child.name.clone()), "a name comes twice in {path}");
            let name = String::from_utf8(child.name.to_vec()).unwrap();
            let path = if path.is_empty() { name } else { format!("{path}/{name}") };
            assert_eq!(find(tree, &path), Some(child.node), "{path}");
            let node = tree.node(child.node).unwrap().unwrap();
            let (kind, size) = match node.body {
                Body::Directory => {
                    open.push((child.node, path.clone()));
                    assert_eq!(tree.parent(child.node).unwrap(), Some(directory));
                    ('d', 0)
                }
                Body::File(id) => ('f', tree.content(id).unwrap().unwrap().size),
                Body::Symlink(_) => ('l', 0),
                Body::Special => ('s', 0),
            };
            let number = if node.meta.made_up { 0 } else { child.node };
            shown.insert(path, (kind, number, node.nlink, size));
        }
    }
    shown
}

fn hasher() -> PathHasher {
    PathHasher::new(&[3; 16])
}

/// An archive of `leaves`, which uses those of `earlier`.
fn assembled(leaves: &[Vec<Item>], earlier: &[Arc<Assembly>], pages: &Arc<Pages>) -> Arc<Assembly> {
    let writer = Box::new(Memory::default());
    let mut assembler = Assembler::new(writer, Arc::clone(pages), hasher(), 3);
    let mut used = HashSet::new();
    for items in leaves {
        let mut hash = DefaultHasher::new();
        format!("{items:?}").hash(&mut hash);
        let mut key = LeafKey::default();
        key.id[..8].copy_from_slice(&hash.finish().to_le_bytes());
        let parts = earlier.iter().flat_map(|archive| &archive.parts);
        let is_it = |part: &&Arc<Part>| part.leaves.iter().any(|leaf| leaf.key == key);
        let is_new = used.insert(key);
        match parts.filter(|_| is_new).find(is_it) {
            Some(part) => {
                let leaf = part.leaves.iter().position(|leaf| leaf.key == key).unwrap();
                assembler.reuse(part, leaf as u32).unwrap();
            }
            None => {
                let mut leaf = LeafBuilder::default();
                items.iter().for_each(|item| leaf.add(item));
                let key = if is_new { key } else { LeafKey::default() };
                assembler.add(leaf.finish(&[], &hasher()), key, [0; 16]).unwrap();
            }
        }
    }
    Arc::new(assembler.finish(earlier, NAMELESS).unwrap().0)
}

fn tree_of(archive: &Arc<Assembly>) -> Tree {
    Tree::new(Arc::clone(archive), View::default(), None).unwrap()
}

fn a_path() -> impl Strategy<Value = String> {
    proptest::collection::vec("[abc]", 1..4).prop_map(|names| names.join("/"))
}

fn an_item() -> impl Strategy<Value = Item> {
    (a_path(), 0..10u32, a_path(), 0..5u64, any::<bool>()).prop_map(|(path, kind, to, size, odd)| {
        let item = |kind: u32, size| Item { size, ..super::item(&path, kind, size) };
        let item = match kind {
            0..=2 => item(libc::S_IFDIR, 0),
            3 => Item { source: Some(to.into_bytes().into()), ..item(libc::S_IFLNK, 0) },
            4 | 5 => Item { source: Some(to.into_bytes().into()), ..item(libc::S_IFREG, 0) },
            6 => item(libc::S_IFIFO, 0),
            _ => item(libc::S_IFREG, size),
        };
        let raw = (odd && kind == 9).then(|| format!("./{path}").into_bytes().into());
        Item { raw, ..item }
    })
}

/// The items of an archive, in leaves.
fn some_leaves() -> impl Strategy<Value = Vec<Vec<Item>>> {
    proptest::collection::vec(proptest::collection::vec(an_item(), 1..4), 0..8)
}

/// As borg walks through directories: each once, the items of each in any order.
fn walked(leaves: Vec<Vec<Item>>) -> Vec<Vec<Item>> {
    let lengths: Vec<usize> = leaves.iter().map(Vec::len).collect();
    let mut items: Vec<Item> = leaves.into_iter().flatten().collect();
    items.sort_by(|a, b| a.path.cmp(&b.path));
    items.dedup_by(|a, b| a.path == b.path);
    let mut items = items.into_iter();
    lengths.into_iter().map(|length| items.by_ref().take(length).collect()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_tree_shows_what_the_model_shows(leaves in some_leaves(), in_order in any::<bool>()) {
        let leaves = if in_order { walked(leaves) } else { leaves };
        let items: Vec<Item> = leaves.concat();
        let archive = assembled(&leaves, &[], &Arc::new(Pages::new(1 << 20)));
        prop_assert_eq!(shown(&tree_of(&archive)), model(&items));
    }

    #[test]
    fn an_archive_that_uses_leaves_of_others_is_the_same(
        before in some_leaves(), more in some_leaves(), keep in proptest::collection::vec(any::<u8>(), 16),
        in_order in any::<bool>(),
    ) {
        let (before, more) = if in_order { (walked(before), walked(more)) } else { (before, more) };
        // Some leaves stay, some are gone, and new ones come between.
        let mut after = Vec::new();
        for (n, leaf) in before.iter().enumerate() {
            if keep[n] % 4 > 0 {
                after.push(leaf.clone());
            }
            if keep[n] % 3 == 0 {
                after.extend(more.get(n).cloned());
            }
        }
        let pages = Arc::new(Pages::new(1 << 20));
        let first = assembled(&before, &[], &pages);
        let second = assembled(&after, &[first], &pages);
        let anew = assembled(&after, &[], &pages);
        let items: Vec<Item> = after.concat();
        prop_assert_eq!(shown(&tree_of(&second)), model(&items));
        prop_assert_eq!(shown(&tree_of(&anew)), model(&items));
        // In which order they are named depends on how they were found.
        let comparable = |archive: &Assembly| {
            let totals = Totals { repeats: false, misplaced: LeftOut::default(), ..archive.totals.clone() };
            (totals, archive.totals.misplaced.count())
        };
        if !second.totals.repeats || anew.totals.repeats {
            prop_assert_eq!(comparable(&second), comparable(&anew));
        }
    }
}

#[test]
fn a_large_directory_is_found_by_the_hashes_of_its_names() {
    let leaves: Vec<Vec<Item>> = (0..40)
        .map(|n| (0..50).map(|m| file(&format!("big/{:04}", (m * 40 + n * 7) % 2000), 1)).collect())
        .collect();
    let archive = assembled(&leaves, &[], &Arc::new(Pages::new(1 << 20)));
    assert!(!archive.totals.repeats && !archive.parts[0].names.is_empty());
    let tree = tree_of(&archive);
    assert_eq!(names(&tree, "big").len(), 2000);
    for n in 0..2000 {
        assert!(at(&tree, &format!("big/{n:04}")).is_some());
    }
    assert!(at(&tree, "big/2000").is_none());
}
