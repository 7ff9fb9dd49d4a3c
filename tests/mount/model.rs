//! The file system against a plain model: a map from paths to what is there.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use borg_offsite_backup::archive::tree::View;
use borg_offsite_backup::archives::cache::{Cache, Limits};
use borg_offsite_backup::archives::source::{Catalog, FRAME};
use borg_offsite_backup::mount::fs::{FileSystem, Presentation, ROOT};
use borg_offsite_backup::mount::shown::ShownArchives;
use borg_offsite_backup::progress::Silent;
use borg_offsite_backup::tools::owners::{Owners, Ownership};
use borg_repository::Item;
use borg_repository::ItemPath;
use nix::errno::Errno;
use proptest::prelude::*;

use crate::memory::{MemoryCatalog, archive, item};

/// One step of making an archive. Numbers choose among few names, so that paths meet.
#[derive(Debug, Clone)]
enum Step {
    Directory(Vec<u8>),
    File(Vec<u8>, usize),
    Link(Vec<u8>, usize),
    Symlink(Vec<u8>),
}

/// A path of up to three components out of four names.
fn path() -> impl Strategy<Value = Vec<u8>> {
    const NAMES: [&[u8]; 4] = [b"a", b"ab", b"\xff", b"x y\n"];
    proptest::collection::vec(0usize..4, 1..4)
        .prop_map(|parts| parts.into_iter().map(|p| NAMES[p]).collect::<Vec<_>>().join(&b'/'))
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        path().prop_map(Step::Directory),
        (path(), 0usize..200_000).prop_map(|(p, size)| Step::File(p, size)),
        (path(), any::<usize>()).prop_map(|(p, n)| Step::Link(p, n)),
        path().prop_map(Step::Symlink),
    ]
}

/// What the model knows of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Thing {
    Directory,
    /// By the number of the file that was made.
    File(usize),
    Symlink,
}

/// An archive, and what it should look like.
#[derive(Debug, Default)]
struct Model {
    items: Vec<Item>,
    bytes: HashMap<Vec<u8>, Vec<u8>>,
    files: Vec<(Vec<u8>, Vec<u8>)>,
    things: BTreeMap<Vec<u8>, Thing>,
}

impl Model {
    fn of(steps: Vec<Step>) -> Model {
        let mut model = Model::default();
        for step in steps {
            model.take(step);
        }
        model
    }

    /// Takes the step unless the path is taken: paths that come twice have tests of their own.
    fn take(&mut self, step: Step) {
        let (Step::Directory(path) | Step::File(path, _) | Step::Link(path, _) | Step::Symlink(path)) = &step;
        let directory = matches!(step, Step::Directory(_));
        let taken = self.things.get(path).is_some_and(|t| !(directory && *t == Thing::Directory));
        let above: Vec<Vec<u8>> = ancestors(path);
        if taken || above.iter().any(|a| !matches!(self.things.get(a), None | Some(Thing::Directory))) {
            return;
        }
        let (path, thing) = match step {
            Step::Directory(path) => {
                self.items.push(item(&path, libc::S_IFDIR | 0o700));
                (path, Thing::Directory)
            }
            Step::Symlink(path) => {
                let mut link = item(&path, libc::S_IFLNK | 0o777);
                link.source = Some(b"to/somewhere"[..].into());
                self.items.push(link);
                (path, Thing::Symlink)
            }
            Step::File(path, size) => {
                let n = self.files.len();
                let bytes: Vec<u8> = (0..size).map(|i| ((i * (n + 3)) >> 2) as u8).collect();
                let mut file = item(&path, libc::S_IFREG | 0o600);
                file.size = size as u64;
                self.items.push(file);
                self.bytes.insert(path.clone(), bytes.clone());
                self.files.push((path.clone(), bytes));
                (path, Thing::File(n))
            }
            Step::Link(path, n) => {
                if self.files.is_empty() {
                    return;
                }
                let n = n % self.files.len();
                let mut link = item(&path, libc::S_IFREG | 0o600);
                link.source = Some(self.files[n].0.as_slice().into());
                self.items.push(link);
                (path, Thing::File(n))
            }
        };
        for directory in above {
            self.things.insert(directory, Thing::Directory);
        }
        self.things.insert(path, thing);
    }

    /// What is shown under a view: of each path its last meaning.
    fn shown(&self, view: &View) -> BTreeMap<Vec<u8>, Thing> {
        let mut shown: BTreeMap<Vec<u8>, Thing> = BTreeMap::new();
        for item in &self.items {
            let path = item.path.as_bytes();
            if !view.paths.is_empty() && !view.paths.iter().any(|p| item.path.is_within(p)) {
                continue;
            }
            let parts: Vec<&[u8]> = item.path.components().skip(view.strip_components).collect();
            if parts.is_empty() {
                continue;
            }
            let path_shown = parts.join(&b'/');
            for directory in ancestors(&path_shown) {
                shown.entry(directory).or_insert(Thing::Directory);
            }
            shown.insert(path_shown, self.things[path].clone());
        }
        shown
    }
}

/// The directories above a path, the topmost first.
fn ancestors(path: &[u8]) -> Vec<Vec<u8>> {
    path.iter().enumerate().filter(|(_, b)| **b == b'/').map(|(at, _)| path[..at].to_vec()).collect()
}

fn file_system(model: &Model, view: View) -> FileSystem {
    let mut catalog = MemoryCatalog::default();
    catalog.archives.push((archive("x", 1), model.items.clone(), model.bytes.clone()));
    let catalog: Arc<dyn Catalog> = Arc::new(catalog);
    let limits = Limits { memory: 3 * FRAME, scratch: 8 << 20, dir: std::env::temp_dir() };
    let cache = Arc::new(Cache::new(&limits).unwrap());
    let presentation = Presentation {
        view,
        owners: Owners::new(Ownership::default()),
        allow_damaged_files: false,
        transform_symlinks: false,
        for_everyone: false,
        tree_memory: 1 << 30,
    };
    FileSystem::of_archive(catalog, cache, presentation, archive("x", 1), &Silent).unwrap()
}

fn find(fs: &FileSystem, path: &[u8]) -> Result<u64, Errno> {
    path.split(|b| *b == b'/').try_fold(ROOT, |ino, name| Ok(fs.lookup(ino, name)?.ino))
}

/// All names of a directory, read `step` at a time as the kernel does.
fn names(fs: &FileSystem, ino: u64, step: usize) -> Vec<Vec<u8>> {
    let (mut all, mut at) = (Vec::new(), 0);
    loop {
        let mut got = Vec::new();
        fs.entries(ino, at, &mut |entry, next| {
            if got.len() == step {
                return false;
            }
            got.push(entry.name.to_vec());
            at = next;
            true
        })
        .unwrap();
        if got.is_empty() {
            return all;
        }
        all.extend(got);
    }
}

/// Everything that the model shows is there, and nothing else.
fn same(
    fs: &FileSystem,
    model: &Model,
    shown: &BTreeMap<Vec<u8>, Thing>,
    step: usize,
) -> Result<(), TestCaseError> {
    let mut inodes: HashMap<usize, BTreeSet<u64>> = HashMap::new();
    for (path, thing) in shown {
        let ino = find(fs, path).map_err(|e| TestCaseError::fail(format!("{}: {e}", path.escape_ascii())))?;
        let attr = fs.attr(ino).unwrap();
        match thing {
            Thing::Directory => prop_assert_eq!(attr.mode & libc::S_IFMT, libc::S_IFDIR),
            Thing::Symlink => prop_assert_eq!(fs.readlink(ino).unwrap(), b"to/somewhere"),
            Thing::File(n) => {
                inodes.entry(*n).or_default().insert(ino);
                let links = shown.values().filter(|t| *t == thing).count();
                prop_assert_eq!(attr.nlink as usize, links, "links of {}", path.escape_ascii());
                prop_assert_eq!(attr.size as usize, model.files[*n].1.len());
            }
        }
    }
    prop_assert!(inodes.values().all(|i| i.len() == 1), "hard links share an inode");
    for directory in std::iter::once(Vec::new())
        .chain(shown.iter().filter(|(_, t)| **t == Thing::Directory).map(|(p, _)| p.clone()))
    {
        let ino = if directory.is_empty() { ROOT } else { find(fs, &directory).unwrap() };
        let inside = |p: &&Vec<u8>| ancestors(p).last().map_or(&[][..], |a| a) == directory;
        let last = |p: &Vec<u8>| p.rsplit(|b| *b == b'/').next().unwrap_or_default().to_vec();
        let mut expected: Vec<Vec<u8>> = vec![b".".to_vec(), b"..".to_vec()];
        expected.extend(shown.keys().filter(inside).map(last).collect::<BTreeSet<_>>());
        let mut names = names(fs, ino, step);
        // The dots come first, and the rest in the order of the archive.
        names[2..].sort();
        prop_assert_eq!(names, expected, "in {}", directory.escape_ascii());
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_archive_looks_as_its_items_say(
        steps in proptest::collection::vec(step(), 0..40),
        step in 1usize..5,
        reads in proptest::collection::vec((any::<usize>(), 0u64..210_000, 0u32..140_000), 0..30),
    ) {
        let model = Model::of(steps);
        let fs = file_system(&model, View::default());
        let shown = model.shown(&View::default());
        same(&fs, &model, &shown, step)?;
        prop_assert_eq!(fs.lookup(ROOT, b"nothing of this name").unwrap_err(), Errno::ENOENT);
        for (n, offset, size) in reads {
            if model.files.is_empty() {
                break;
            }
            let (path, bytes) = &model.files[n % model.files.len()];
            let ino = find(&fs, path).unwrap();
            fs.open(ino).unwrap();
            let end = bytes.len().min(offset as usize + size as usize);
            let expected = &bytes[(offset as usize).min(end)..end];
            prop_assert!(fs.read(ino, offset, size).unwrap() == expected, "{size} bytes at {offset}");
            let cached = fs.read_cached(ino, offset, size).expect("what was just read is cached");
            prop_assert!(cached == expected);
        }
    }

    #[test]
    fn a_view_shows_what_it_selects_under_the_stripped_names(
        steps in proptest::collection::vec(step(), 1..30),
        strip in 0usize..3,
        wanted in proptest::collection::vec(path(), 0..3),
    ) {
        let model = Model::of(steps);
        let view = View {
            paths: wanted.iter().map(|p| ItemPath::new(p).unwrap()).collect(),
            strip_components: strip,
        };
        let shown = model.shown(&view);
        // Names that become equal by stripping have a test of their own.
        let mut names: Vec<Vec<u8>> = model
            .items
            .iter()
            .filter(|i| i.mode & libc::S_IFMT != libc::S_IFDIR)
            .map(|i| i.path.components().skip(strip).collect::<Vec<_>>().join(&b'/'))
            .collect();
        names.sort();
        prop_assume!(names.windows(2).all(|w| w[0] != w[1] || w[0].is_empty()));
        let is_file = |p: &Vec<u8>| shown.get(p).is_some_and(|t| *t != Thing::Directory);
        prop_assume!(!shown.keys().any(|p| ancestors(p).iter().any(is_file)));
        prop_assume!(names.iter().all(|n| shown.get(n) != Some(&Thing::Directory)));
        prop_assume!(!shown.is_empty() || view.paths.is_empty());
        let fs = file_system(&model, view);
        same(&fs, &model, &shown, 100)?;
    }
}

#[test]
fn every_archive_is_a_directory_and_each_has_its_own_bytes() {
    let mut catalog = MemoryCatalog::default();
    let names = ["2026-01-01", "2026-01-02", "other"];
    for (n, name) in (0..).zip(names) {
        let mut file = item(b"d/f", libc::S_IFREG | 0o644);
        file.size = 5;
        let bytes = HashMap::from([(b"d/f".to_vec(), format!("no. {n}").into_bytes())]);
        catalog.archives.push((archive(name, n), vec![file], bytes));
    }
    let archives = catalog.archives().unwrap();
    let fetched = Arc::clone(&catalog.fetched);
    let limits = Limits { memory: 1 << 20, scratch: 1 << 20, dir: std::env::temp_dir() };
    let presentation = Presentation {
        view: View::default(),
        owners: Owners::new(Ownership::default()),
        allow_damaged_files: false,
        transform_symlinks: false,
        for_everyone: false,
        tree_memory: 1 << 30,
    };
    let cache = Arc::new(Cache::new(&limits).unwrap());
    let archives = ShownArchives::of(archives, Box::new(|all| Ok(all.last().cloned())));
    let fs = FileSystem::of_archives(Arc::new(catalog), cache, presentation, archives);
    let expected: Vec<&[u8]> = vec![b".", b"..", b"2026-01-01", b"2026-01-02", b"other", b"latest"];
    assert_eq!(names_of(&fs), expected);
    assert!(!fs.is_ready(fs.lookup(ROOT, b"other").unwrap().ino), "listing loads nothing");
    for (n, name) in names.iter().enumerate() {
        let ino = find(&fs, &[name.as_bytes(), b"/d/f"].concat()).unwrap();
        assert_eq!(fs.read(ino, 0, 10).unwrap(), format!("no. {n}").into_bytes());
    }
    let latest = fs.lookup(ROOT, b"latest").unwrap();
    assert_eq!(fs.readlink(latest.ino).unwrap(), b"other");
    assert_eq!(fetched.load(std::sync::atomic::Ordering::Relaxed), 3);
}

fn names_of(fs: &FileSystem) -> Vec<Vec<u8>> {
    names(fs, ROOT, 2)
}

#[test]
fn a_damaged_file_opens_only_when_that_is_allowed() {
    for allowed in [false, true] {
        let mut catalog = MemoryCatalog::default();
        let mut file = item(b"f", libc::S_IFREG | 0o644);
        file.damaged = true;
        catalog.archives.push((archive("x", 1), vec![file], HashMap::new()));
        let limits = Limits { memory: 1 << 20, scratch: 0, dir: std::env::temp_dir() };
        let owners = Owners::new(Ownership::default());
        let presentation = Presentation {
            view: View::default(),
            owners,
            allow_damaged_files: allowed,
            transform_symlinks: false,
            for_everyone: false,
            tree_memory: 1 << 30,
        };
        let cache = Arc::new(Cache::new(&limits).unwrap());
        let fs =
            FileSystem::of_archive(Arc::new(catalog), cache, presentation, archive("x", 1), &Silent).unwrap();
        let ino = find(&fs, b"f").unwrap();
        assert_eq!(fs.open(ino).is_ok(), allowed);
    }
}

#[test]
fn volumes_are_named_also_where_a_view_strips_what_leads_to_them() {
    let steps = vec![Step::File(b"dev/zvol/tank/v".to_vec(), 9), Step::File(b"etc/ab/x/y".to_vec(), 5)];
    let model = Model::of(steps);
    for (strip, paths, expected) in [(0, vec![], 1), (3, vec![], 1), (0, vec!["etc"], 0), (4, vec![], 0)] {
        let paths = paths.into_iter().map(|path: &str| ItemPath::new(path.as_bytes()).unwrap()).collect();
        let fs = file_system(&model, View { paths, strip_components: strip });
        let volumes = fs.summary().unwrap().volumes;
        assert_eq!(volumes, vec![(b"dev/zvol/tank/v".to_vec(), 9); expected], "{strip}");
    }
}
