use super::*;
use crate::archive::tree::{Assembler, LeafBuilder, LeafKey, Tree, View};
use borg_repository::{Chunk, Item, ItemPath, Xattr};
use std::os::unix::fs::PermissionsExt;

fn path(text: &str) -> ItemPath {
    ItemPath::new(text.as_bytes()).unwrap()
}

fn items() -> Vec<Item> {
    let file = |name: &str| Item { size: 9, ..Item::new(path(name), libc::S_IFREG | 0o644) };
    let xattr: Xattr = (b"user.x"[..].into(), b"value"[..].into());
    vec![
        Item { user: Some(b"root"[..].into()), ..Item::new(path("d"), libc::S_IFDIR | 0o700) },
        Item { xattrs: vec![xattr], acl_access: Some(b"acl"[..].into()), ..file("d/one") },
        file("d/\u{e9}"),
        Item { source: Some(b"d/one"[..].into()), size: 0, ..file("link") },
        Item { source: Some(b"to"[..].into()), ..Item::new(path("symlink"), libc::S_IFLNK | 0o777) },
        Item { rdev: 1 << 40 | 5, ..Item::new(path("device"), libc::S_IFCHR) },
        Item { source: Some(b"nowhere"[..].into()), size: 0, ..file("strange") },
        file("made/up/file"),
    ]
}

/// Two items in a leaf.
fn assemble(saved: &Saved, archive: &Id) -> Assembly {
    let (unfinished, writer) = saved.begin(archive).unwrap();
    let mut assembler = Assembler::new(writer, saved.pages(), saved.hasher(), 3);
    for (n, pair) in (0..).zip(items().chunks(2)) {
        let mut leaf = LeafBuilder::default();
        for item in pair {
            if item.size > 0 {
                leaf.chunk(&Chunk { id: Id([n; 32]), size: 4, stored: 3 }, false).unwrap();
                leaf.chunk(&Chunk { id: Id([0; 32]), size: 5, stored: 3 }, true).unwrap();
            }
            leaf.add(item);
        }
        let key = LeafKey { id: [n + 1; 32], before: [0; 16] };
        assembler.add(leaf.finish(b"rest", &saved.hasher()), key, [0; 16]).unwrap();
    }
    let (assembly, writer) = assembler.finish(&[], unfinished.name).unwrap();
    saved.keep(unfinished, writer, &assembly).unwrap();
    assembly
}

/// Everything that is in it.
fn all(assembly: Assembly) -> Vec<String> {
    let left_out = assembly.totals.clone();
    let tree = Tree::new(Arc::new(assembly), View::default(), None).unwrap();
    let mut all = vec![format!("{left_out:?}")];
    let mut open = vec![Tree::ROOT];
    while let Some(node) = open.pop() {
        all.push(format!("{node} {:?} {:?}", tree.node(node).unwrap(), tree.extra(node).unwrap()));
        for child in tree.children(node).unwrap() {
            let child = child.unwrap();
            all.push(format!("{node} {child:?}"));
            open.push(child.node);
        }
    }
    for content in tree.contents() {
        let (id, content) = content.unwrap();
        let chunks = [0, 3, 4, 8, 9].map(|at| tree.chunk(id, at).unwrap());
        all.push(format!("{content:?} {chunks:?} {} {:?}", tree.holes(id).unwrap(), tree.place(id).unwrap()));
    }
    all
}

fn saved_in(dir: &Path, secret: u8, limit: Option<u64>) -> Saved {
    Saved::new(dir.join("catalogs"), Zeroizing::new([secret; 32]), limit, Arc::new(Pages::new(1 << 20)))
}

fn files(saved: &Saved) -> Vec<PathBuf> {
    fs::read_dir(&saved.dir).unwrap().map(|entry| entry.unwrap().path()).collect()
}

fn id(n: u8) -> Id {
    Id([n; 32])
}

#[test]
fn what_was_saved_is_loaded_with_all_that_is_in_it_and_is_private() {
    let dir = tempfile::tempdir().unwrap();
    let saved = saved_in(dir.path(), 7, None);
    assert!(saved.load(&id(1)).is_none());
    let made = all(assemble(&saved, &id(1)));
    assert!(made.len() > 15 && made.iter().any(|line| line.contains("made_up: true")), "{made:#?}");
    assert_eq!(all(saved.load(&id(1)).unwrap()), made);
    let later = saved_in(dir.path(), 7, None);
    assert_eq!(all(later.load(&id(1)).unwrap()), made);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&saved.dir), mode(&files(&saved)[0])), (0o700, 0o600));
    let bytes = fs::read(&files(&saved)[0]).unwrap();
    assert!(!bytes.windows(7).any(|w| w == b"symlink"));
}

#[test]
fn another_archive_or_key_is_not_mistaken_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let saved = saved_in(dir.path(), 7, None);
    assemble(&saved, &id(1));
    let right = files(&saved).remove(0);
    assert!(saved.load(&id(2)).is_none());
    // Also if somebody renames one to the other.
    fs::copy(&right, saved.path(&saved.dir, &about(&id(2)))).unwrap();
    assert!(saved.load(&id(2)).is_none());
    let other = saved_in(dir.path(), 8, None);
    fs::copy(&right, other.path(&other.dir, &about(&id(1)))).unwrap();
    assert!(other.load(&id(1)).is_none());
}

#[test]
fn any_damage_is_a_miss_or_an_error_and_never_another_list() {
    let dir = tempfile::tempdir().unwrap();
    let saved = saved_in(dir.path(), 7, None);
    let made = all(assemble(&saved, &id(1)));
    let file = files(&saved).remove(0);
    let bytes = fs::read(&file).unwrap();
    let read = || {
        // What is open is not read again.
        let saved = saved_in(dir.path(), 7, None);
        let loaded = saved.load(&id(1))?;
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| all(loaded))).ok()
    };
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| ()));
    let (mut misses, mut errors) = (0, 0);
    for at in 0..bytes.len() {
        let mut wrong = bytes.clone();
        wrong[at] ^= 1 << (at % 8);
        fs::write(&file, wrong).unwrap();
        match saved_in(dir.path(), 7, None).load(&id(1)) {
            None => misses += 1,
            Some(_) => {
                errors += 1;
                assert_eq!(read(), None, "byte {at}");
            }
        }
        fs::write(&file, &bytes[..at]).unwrap();
        assert!(saved_in(dir.path(), 7, None).load(&id(1)).is_none(), "cut off at {at}");
    }
    std::panic::set_hook(hook);
    assert!(misses > 100 && errors > 100, "{misses} {errors}");
    assemble(&saved, &id(1));
    assert_eq!(read(), Some(made), "a good one takes its place");
}

#[test]
fn those_that_were_not_used_for_longest_make_room() {
    let dir = tempfile::tempdir().unwrap();
    let first = saved_in(dir.path(), 7, None);
    let age = |saved: &Saved, n: u8, age: u64| {
        let file = File::open(saved.path(&saved.dir, &about(&id(n)))).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(age)).unwrap();
        file.metadata().unwrap().len()
    };
    assemble(&first, &id(1));
    assemble(&first, &id(2));
    let length = age(&first, 1, 300);
    age(&first, 2, 200);
    first.load(&id(1)).unwrap();
    let (abandoned, held) = (first.dir.join(".tmpX"), first.dir.join(".tmpY"));
    let holder = File::create(&held).unwrap();
    holder.lock().unwrap();
    for file in [&File::create(&abandoned).unwrap(), &holder] {
        file.set_modified(SystemTime::now() - 2 * STALE).unwrap();
    }
    let next = saved_in(dir.path(), 7, Some(2 * length));
    assemble(&next, &id(3));
    let there = |n| next.load(&id(n)).is_some();
    assert_eq!([there(1), there(2), there(3)], [true, false, true]);
    assert!(!abandoned.exists() && held.exists());
    fs::remove_file(held).unwrap();
    let last = saved_in(dir.path(), 7, Some(length));
    assemble(&last, &id(4));
    assert_eq!(files(&last).len(), 1, "the newest stays");
}

#[test]
fn an_archive_refers_to_the_file_of_an_earlier_one_and_is_a_miss_without_it() {
    let dir = tempfile::tempdir().unwrap();
    let saved = saved_in(dir.path(), 7, None);
    let first = Arc::new(assemble(&saved, &id(1)));
    let made = all(saved.load(&id(1)).unwrap());
    let (unfinished, writer) = saved.begin(&id(2)).unwrap();
    let mut assembler = Assembler::new(writer, saved.pages(), saved.hasher(), 3);
    (0..4).for_each(|leaf| assembler.reuse(&first.parts[0], leaf).unwrap());
    let (second, writer) = assembler.finish(&[Arc::clone(&first)], unfinished.name).unwrap();
    saved.keep(unfinished, writer, &second).unwrap();
    drop((first, second));
    let again = saved_in(dir.path(), 7, None);
    assert_eq!(all(again.load(&id(2)).unwrap()), made);
    let of_first = saved.path(&saved.dir, &about(&id(1)));
    let kept = fs::read(&of_first).unwrap();
    fs::remove_file(&of_first).unwrap();
    assert!(saved_in(dir.path(), 7, None).load(&id(2)).is_none());
    // Another list of the same archive has other leaves.
    assemble(&saved, &id(1));
    assert!(saved_in(dir.path(), 7, None).load(&id(2)).is_none());
    fs::write(&of_first, kept).unwrap();
    assert!(saved_in(dir.path(), 7, None).load(&id(2)).is_some());
}
