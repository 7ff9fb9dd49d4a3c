use super::*;
use borg_repository::{Item, ItemPath, Xattr};

mod model;

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
        flags: 0,
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
    items.iter().for_each(|i| builder.add(i));
    builder.finish().unwrap()
}

fn find(tree: &Tree, path: &str) -> Option<NodeId> {
    tree.find(&ItemPath::new(path.as_bytes()).unwrap()).unwrap()
}

fn at(tree: &Tree, path: &str) -> Option<Node> {
    find(tree, path).and_then(|id| tree.node(id).unwrap())
}

fn file_at(tree: &Tree, path: &str) -> ContentId {
    let Body::File(id) = at(tree, path).unwrap().body else { panic!("{path} is no file") };
    id
}

fn size(tree: &Tree, path: &str) -> u64 {
    tree.content(file_at(tree, path)).unwrap().unwrap().size
}

fn place(tree: &Tree, path: &str) -> Place {
    tree.place(file_at(tree, path)).unwrap().unwrap()
}

fn names(tree: &Tree, path: &str) -> Vec<String> {
    let children = tree.children(find(tree, path).unwrap()).unwrap();
    let mut names: Vec<_> =
        children.map(|child| String::from_utf8(child.unwrap().name.into()).unwrap()).collect();
    names.sort();
    names
}

#[test]
fn directories_without_an_item_are_made() {
    let t = tree(View::default(), vec![file("a/b/c", 1), item("a", libc::S_IFDIR, 0)]);
    assert_eq!(at(&t, "a").unwrap().meta.mtime, 7, "the later item gives the directory its attributes");
    assert_eq!(at(&t, "a/b").unwrap().meta.mode, libc::S_IFDIR | 0o755);
    assert_eq!(at(&t, "a/b").unwrap().meta.mtime, 3, "it is as old as the archive");
    assert_eq!(at(&t, "a").unwrap().nlink, 3);
}

#[test]
fn hard_links_are_names_of_one_node_and_counted_as_shown() {
    let items = || vec![file("d/m", 5), link("d/s1", "d/m"), link("e/s2", "d/m")];
    let t = tree(View::default(), items());
    assert_eq!(find(&t, "d/m"), find(&t, "e/s2"));
    assert_eq!(at(&t, "d/m").unwrap().nlink, 3);

    let view = View { paths: vec![ItemPath::new(b"e").unwrap()], strip_components: 0 };
    let t = tree(view, items());
    assert!(at(&t, "d").is_none());
    assert_eq!(at(&t, "e/s2").unwrap().nlink, 1);
    assert_eq!(place(&t, "e/s2").path(), b"d/m", "its bytes are its master's");
}

#[test]
fn stripping_that_makes_names_equal_mixes_no_bytes() {
    let view = View { paths: vec![], strip_components: 1 };
    let t = tree(view, vec![file("a/x", 1), file("b/x", 2), link("c/y", "a/x")]);
    assert_eq!(size(&t, "x"), 2, "the last one is shown");
    assert_eq!(place(&t, "y").path(), b"a/x");
}

#[test]
fn a_path_that_comes_twice_knows_where_its_bytes_stand_in_the_stream() {
    let t = tree(View::default(), vec![file("x", 10), link("y", "x"), file("x", 12)]);
    let (x, y) = (place(&t, "x"), place(&t, "y"));
    assert_eq!((x.before, size(&t, "x"), x.after), (10, 12, 0));
    assert_eq!((y.before, size(&t, "y"), y.after), (0, 10, 12));
}

#[test]
fn a_path_without_end_is_left_out_and_a_long_one_can_be_walked() {
    let deep = |directories| file(&("d/".repeat(directories) + "f"), 1);
    let t = tree(View::default(), vec![deep(100_000), deep(5_000), file("after", 1)]);
    assert_eq!((t.left_out().count(), size(&t, "after")), (1, 1));
    let mut at = Tree::ROOT;
    for _ in 0..5_000 {
        at = t.child(at, b"d").unwrap().unwrap();
    }
    assert!(t.child(at, b"f").unwrap().is_some() && t.child(at, b"d").unwrap().is_none());
}

#[test]
fn what_no_directory_can_show_is_left_out_and_named_and_the_rest_is_there() {
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
    let names: Vec<_> = names(&t, "").iter().map(String::len).collect();
    assert_eq!(names, [6, 255], "and no directory is made for what is left out");
}

#[test]
fn xattrs_that_linux_cannot_hold_are_left_out_and_their_files_named() {
    let xattr = |name: &str, value: usize| -> Xattr { (name.as_bytes().into(), vec![b'x'; value].into()) };
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
    let extra = |path: &str| t.extra(find(&t, path).unwrap()).unwrap();
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
    let x = place(&t, "x");
    assert_eq!((x.before, size(&t, "x"), x.after), (199_999 * 200_000 / 2, 200_000, 0));
}

#[test]
fn a_file_of_another_kind_between_does_not_hide_that_a_path_comes_twice() {
    let fifo = item("x", libc::S_IFIFO, 0);
    let t = tree(View::default(), vec![file("x", 3), fifo, file("x", 5)]);
    assert_eq!(place(&t, "x").before, 3);
}

#[test]
fn two_ways_to_write_one_path_are_two_items_with_their_own_bytes_and_links() {
    let raw = |path: &str, raw: &str, size| Item { raw: Some(raw.as_bytes().into()), ..file(path, size) };
    let items =
        || vec![file("d/f", 1), raw("d/f", "./d/f", 2), link("plain", "d/f"), link("dotted", "./d/f")];
    let t = tree(View::default(), items());
    let found = place(&t, "d/f");
    assert_eq!((found.path(), &*found.directory, &*found.name), (b"./d/f".to_vec(), &b"./d"[..], &b"f"[..]));
    assert_eq!((size(&t, "d/f"), found.before, found.after), (2, 0, 0));
    assert_eq!((size(&t, "plain"), size(&t, "dotted")), (1, 2));
}

#[test]
fn directories_above_what_is_asked_for_keep_what_the_archive_says_of_them() {
    let closed = || Item { mode: libc::S_IFDIR | 0o700, uid: 5, ..item("prot", libc::S_IFDIR, 0) };
    let view = View { paths: vec![ItemPath::new(b"prot/data").unwrap()], strip_components: 0 };
    let t = tree(view, vec![file("prot/data/f", 1), closed(), item("other", libc::S_IFDIR, 0)]);
    let meta = at(&t, "prot").unwrap().meta;
    assert_eq!((meta.mode & 0o777, meta.uid, meta.made_up), (0o700, 5, false));
    assert!(at(&t, "other").is_none() && at(&t, "prot/data").unwrap().meta.made_up);
    let nothing = View { paths: vec![ItemPath::new(b"prot/none").unwrap()], strip_components: 0 };
    assert!(tree(nothing, vec![closed()]).is_empty().unwrap());
}

#[test]
fn the_root_is_made_up_where_it_stands_for_directories_that_were_not_open() {
    let dir = |path: &str, mode| Item { mode: libc::S_IFDIR | mode, ..item(path, libc::S_IFDIR, 0) };
    let strip = |n| View { paths: vec![], strip_components: n };
    let made_up = |view, items| tree(view, items).node(Tree::ROOT).unwrap().unwrap().meta.made_up;
    assert!(!made_up(strip(0), vec![file("a/b/f", 1)]));
    assert!(made_up(strip(1), vec![file("a/f", 1)]), "nobody knows how `a` was");
    assert!(!made_up(strip(1), vec![dir("a", 0o755), dir("c", 0o700), file("a/f", 1)]));
    assert!(made_up(strip(1), vec![dir("a", 0o750), file("a/f", 1)]));
    assert!(made_up(strip(2), vec![dir("a", 0o700), dir("a/b", 0o755), file("a/b/f", 1)]));
}

#[test]
fn names_are_found_by_their_bytes() {
    let t = tree(View::default(), vec![file("pfx", 1), file("pfx2", 2), file("p", 3)]);
    assert_eq!(size(&t, "pfx"), 1);
    assert!(at(&t, "pf").is_none());
}

#[test]
fn a_link_without_its_master_and_a_part_file_are_not_shown() {
    let part = Item { part: true, ..file("big.borg_part_1", 9) };
    let t = tree(View::default(), vec![link("l", "nowhere"), part]);
    assert!(at(&t, "l").is_none() && at(&t, "big.borg_part_1").is_none());
    assert_eq!(t.left_out().to_string(), "\"l\"");
}
