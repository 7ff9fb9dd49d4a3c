//! Lists of files that are kept for the next mount.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use borg_offsite_backup::archive::name::Archive;
use borg_offsite_backup::archive::tree::{Tree, View};
use borg_offsite_backup::archives::cache::{Cache, Limits as CacheLimits};
use borg_offsite_backup::archives::native::NativeCatalog;
use borg_offsite_backup::archives::options::Options;
use borg_offsite_backup::archives::source::Catalog;
use borg_offsite_backup::archives::storage::Remembered;
use borg_offsite_backup::config::Config;
use borg_offsite_backup::mount::fs::{FileSystem, Presentation, ROOT};
use borg_offsite_backup::progress::{Monitor, Progress, Silent};
use borg_offsite_backup::tools::borg::Borg;
use borg_offsite_backup::tools::owners::{Owners, Ownership};
use borg_repository::ItemPath;

use crate::common::{Flavour, Machine};
use crate::contract::{archived, files};

fn catalog(machine: &Machine) -> Arc<NativeCatalog> {
    let borg = Borg::new(&Config::load(&machine.config()).unwrap()).unwrap();
    let remembered = Remembered { catalogs: Some(machine.path("cache")), ..Remembered::default() };
    let options = Options { remembered, ..Options::default() };
    Arc::new(NativeCatalog::open(&borg, &options).ok().unwrap())
}

fn only_archive(catalog: &NativeCatalog) -> Archive {
    catalog.archives().unwrap().remove(0)
}

/// Mounts the archive without a kernel and holds all files to their bytes.
fn mount(catalog: &Arc<NativeCatalog>, view: View, files: &HashMap<Vec<u8>, Vec<u8>>) {
    let limits = CacheLimits { memory: 1 << 20, scratch: 0, dir: PathBuf::new() };
    let presentation = Presentation {
        view,
        owners: Owners::new(Ownership::default()),
        allow_damaged_files: false,
        transform_symlinks: false,
        for_everyone: false,
        tree_memory: 1 << 30,
    };
    let cache = Arc::new(Cache::new(&limits).unwrap());
    let archive = only_archive(catalog);
    let fs = FileSystem::of_archive(Arc::clone(catalog) as _, cache, presentation, archive, &Silent).unwrap();
    for (path, bytes) in files {
        let ino = path.split(|b| *b == b'/').fold(ROOT, |ino, name| fs.lookup(ino, name).unwrap().ino);
        assert!(fs.read(ino, 0, bytes.len() as u32 + 1).unwrap() == *bytes, "{}", path.escape_ascii());
    }
    catalog.shut_down();
}

fn kept(machine: &Machine) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(machine.path("cache")).into_iter().flatten();
    entries.map(|entry| entry.unwrap().path()).collect()
}

/// Notices whether items are read.
#[derive(Default)]
struct Reads(AtomicBool);

impl Monitor for Reads {
    fn progress(&self, _: Progress<'_>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Whether a mount from here on would not have to read the archive's items. If it has to, it keeps them.
fn is_remembered(machine: &Machine, view: &View) -> bool {
    let (catalog, reads) = (catalog(machine), Reads::default());
    catalog.tree(&only_archive(&catalog), view, &reads).unwrap();
    !reads.0.into_inner()
}

#[test]
fn a_second_mount_shows_the_same_without_reading_the_items() {
    let Some(flavour) = Flavour::any() else { return };
    let files = files();
    let (machine, _repository) = archived(flavour, &files);
    let all = View::default();
    mount(&catalog(&machine), all.clone(), &files);
    assert!(is_remembered(&machine, &all));
    mount(&catalog(&machine), all.clone(), &files);
    assert_eq!(kept(&machine).len(), 1);

    let part = View { paths: vec![ItemPath::new(b"a/b").unwrap()], strip_components: 1 };
    assert!(is_remembered(&machine, &part), "a view needs no list of its own");
    let below = |(path, bytes): (&Vec<u8>, &Vec<u8>)| {
        Some((path.strip_prefix(b"a/").filter(|rest| rest.starts_with(b"b/"))?.to_vec(), bytes.clone()))
    };
    let files: HashMap<_, _> = files.iter().filter_map(below).collect();
    assert!(!files.is_empty());
    mount(&catalog(&machine), part, &files);
    assert_eq!(kept(&machine).len(), 1);
}

#[test]
fn a_broken_list_is_read_anew_and_an_archive_that_is_gone_is_not_shown() {
    let Some(flavour) = Flavour::any() else { return };
    let files = files();
    let (machine, repository) = archived(flavour, &files);
    let view = View::default();
    mount(&catalog(&machine), view.clone(), &files);
    let list = kept(&machine).remove(0);
    let whole = std::fs::read(&list).unwrap();
    let flip = |at: usize| {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        bytes
    };
    for broken in [flip(3), flip(whole.len() - 9), whole[..whole.len() - 1].to_vec(), vec![]] {
        std::fs::write(&list, broken).unwrap();
        assert!(!is_remembered(&machine, &view));
        assert!(is_remembered(&machine, &view), "it is kept again");
    }
    // Of what is damaged inside only the first look at it shows it: the mount goes on with a new list.
    for at in (0..whole.len()).step_by(whole.len() / 60) {
        std::fs::write(&list, flip(at)).unwrap();
        mount(&catalog(&machine), view.clone(), &files);
    }
    std::fs::write(&list, &whole).unwrap();
    let opened = catalog(&machine);
    let tree = opened.tree(&only_archive(&opened), &view, &Silent).unwrap();
    std::fs::write(&list, vec![0; whole.len()]).unwrap();
    let node = tree.find(&ItemPath::new(b"a/b/1").unwrap()).unwrap().unwrap();
    assert_eq!(tree.node(node).unwrap().unwrap().nlink, 1, "a list that is damaged while it is in use");
    assert!(is_remembered(&machine, &view));

    repository.borg(&machine, "delete").arg("::x").ok();
    assert!(catalog(&machine).archives().unwrap().is_empty());
    repository.create(&machine, "x");
    assert!(!is_remembered(&machine, &view), "an archive of the same name is another");
}

#[test]
fn the_list_of_the_next_day_takes_what_has_changed() {
    let Some(flavour) = Flavour::any() else { return };
    let mut files: HashMap<Vec<u8>, Vec<u8>> = HashMap::new();
    for n in 0..10_000 {
        let path = format!("directory number {:03}/a file with a long name {n:05}", n / 50);
        files.insert(path.into_bytes(), vec![b'x'; n % 7]);
    }
    let (machine, repository) = archived(flavour, &files);
    mount(&catalog(&machine), View::default(), &files);
    let first = kept(&machine).remove(0);
    let changed = b"directory number 040/a file with a long name 02000".to_vec();
    files.insert(changed.clone(), b"changed".to_vec());
    let new = b"a new directory/file".to_vec();
    files.insert(new, b"new".to_vec());
    for (path, bytes) in files.iter().filter(|(path, _)| path.starts_with(b"a new") || **path == changed) {
        let path = machine.source().join(std::str::from_utf8(path).unwrap());
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
    repository.create(&machine, "y");
    let next = |catalog: &NativeCatalog| {
        catalog.archives().unwrap().into_iter().find(|archive| archive.name == "y").unwrap()
    };
    let opened = catalog(&machine);
    let tree = opened.tree(&next(&opened), &View::default(), &Silent).unwrap();
    let list = kept(&machine).into_iter().find(|path| *path != first).expect("a second list");
    let size = |path: &PathBuf| std::fs::metadata(path).unwrap().len();
    assert!(size(&list) < size(&first) / 2, "{} after {}", size(&list), size(&first));
    let paths = |tree: &Tree| {
        let contents = tree.contents().map(|content| content.unwrap());
        contents
            .map(|(id, content)| (tree.path(id).unwrap().unwrap(), content.size))
            .collect::<HashMap<_, _>>()
    };
    let expected: HashMap<_, _> =
        files.iter().map(|(path, bytes)| (path.clone(), bytes.len() as u64)).collect();
    assert_eq!(paths(&tree), expected);
    // Whoever removes the list of the first day takes away what the second refers to.
    drop((tree, opened));
    std::fs::remove_file(&first).unwrap();
    let opened = catalog(&machine);
    let tree = opened.tree(&next(&opened), &View::default(), &Silent).unwrap();
    assert_eq!(paths(&tree), expected);
}

#[test]
fn what_cannot_be_kept_does_no_harm() {
    let Some(flavour) = Flavour::any() else { return };
    let files = files();
    let (machine, _repository) = archived(flavour, &files);
    std::fs::write(machine.path("cache"), "in the way").unwrap();
    for _ in 0..2 {
        mount(&catalog(&machine), View::default(), &files);
    }
    assert_eq!(std::fs::read(machine.path("cache")).unwrap(), b"in the way");
}
