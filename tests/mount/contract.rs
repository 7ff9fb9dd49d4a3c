//! What every source promises, asked of each of them.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, Once};

use borg_offsite_backup::archive::filter::ArchiveFilter;
use borg_offsite_backup::archive::name::Archive;
use borg_offsite_backup::archive::tree::{ContentId, Tree, View};
use borg_offsite_backup::archives::native::NativeCatalog;
use borg_offsite_backup::archives::options::Options;
use borg_offsite_backup::archives::source::{CacheSink, Catalog, ContentSource, FRAME};
use borg_offsite_backup::archives::streams::{BorgCatalog, Limits};
use borg_offsite_backup::config::Config;
use borg_offsite_backup::progress::Silent;
use borg_offsite_backup::tools::borg::Borg;

use crate::common::{Flavour, Machine, Random, Repository};
use crate::memory::{MemoryCatalog, archive, item};

/// Keeps what is put, and holds it against the right bytes.
struct Checked {
    right: HashMap<ContentId, Vec<u8>>,
    puts: Mutex<HashMap<(ContentId, u64), usize>>,
}

impl CacheSink for Checked {
    fn put(&self, content: ContentId, offset: u64, bytes: &[u8]) {
        let right = &self.right[&content];
        let end = offset + bytes.len() as u64;
        assert!(bytes == &right[offset as usize..end as usize], "wrong bytes are put at {offset}");
        // Of frames as the simplest layout has them those that are whole.
        let whole = offset.next_multiple_of(FRAME)..end;
        for at in whole.step_by(FRAME as usize) {
            if at + FRAME <= end || end == right.len() as u64 {
                self.puts.lock().unwrap().insert((content, at), 0);
            }
        }
    }

    fn get(&self, content: ContentId, span: Range<u64>) -> Option<Vec<u8>> {
        let puts = self.puts.lock().unwrap();
        let first = span.start / FRAME * FRAME;
        let all = (first..span.end).step_by(FRAME as usize).all(|at| puts.contains_key(&(content, at)));
        all.then(|| self.right[&content][span.start as usize..span.end as usize].to_vec())
    }

    fn has_all(&self, content: ContentId, size: u64) -> bool {
        self.get(content, 0..size).is_some()
    }

    fn forget(&self, content: ContentId, _size: u64) {
        self.puts.lock().unwrap().retain(|(c, _), _| *c != content);
    }
}

/// Holds `catalog` to the contract. `files` is what the archive `wanted` contains.
fn keeps_the_contract(catalog: &dyn Catalog, wanted: &str, files: &HashMap<Vec<u8>, Vec<u8>>) {
    let archives = catalog.archives().unwrap();
    let wanted: &Archive = archives.iter().find(|a| a.name == wanted).expect("the archive is listed");
    let tree = Arc::new(catalog.tree(wanted, &View::default(), &Silent).unwrap());
    let ids = tree.contents().map(|content| content.unwrap().0);
    let right: HashMap<ContentId, Vec<u8>> =
        ids.map(|id| (id, files[&tree.path(id).unwrap().unwrap()].clone())).collect();
    assert_eq!(right.len(), files.len(), "each file has a content");
    for (id, bytes) in &right {
        assert_eq!(tree.content(*id).unwrap().unwrap().size, bytes.len() as u64);
    }
    let kept = Arc::new(Checked { right: right.clone(), puts: Mutex::default() });
    let source = catalog.contents(wanted, Arc::clone(&tree), kept);

    every_span_is_right(&*source, &right);
    many_at_once_are_right(&*source, &right);
    what_is_not_within_a_file_is_an_error(&*source, &tree);
    catalog.shut_down();
    let (id, bytes) = right.iter().find(|(_, b)| b.len() as u64 > 4 * FRAME).unwrap();
    // After the end a source may still have the bytes at hand, but never wrong ones.
    if let Ok(got) = source.fetch(*id, 0..10) {
        assert_eq!(got, bytes[..10]);
    }
}

fn spans(size: u64, random: &mut Random) -> Vec<Range<u64>> {
    let mut spans = vec![0..size, 0..1, size - 1..size, size / 2..size];
    for _ in 0..6 {
        let (a, b) = (random.below(size), random.below(size));
        spans.push(a.min(b)..a.max(b) + 1);
    }
    spans
}

fn every_span_is_right(source: &dyn ContentSource, right: &HashMap<ContentId, Vec<u8>>) {
    let mut random = Random::new(11);
    for (id, bytes) in right.iter().filter(|(_, bytes)| !bytes.is_empty()) {
        for span in spans(bytes.len() as u64, &mut random) {
            let got = source.fetch(*id, span.clone()).unwrap();
            assert!(got == bytes[span.start as usize..span.end as usize], "content {id}, bytes {span:?}");
        }
    }
}

fn many_at_once_are_right(source: &dyn ContentSource, right: &HashMap<ContentId, Vec<u8>>) {
    std::thread::scope(|scope| {
        for n in 0..8 {
            scope.spawn(move || {
                let mut random = Random::new(n);
                for (id, bytes) in right.iter().filter(|(_, bytes)| !bytes.is_empty()) {
                    let span = spans(bytes.len() as u64, &mut random).pop().unwrap();
                    let got = source.fetch(*id, span.clone()).unwrap();
                    assert!(got == bytes[span.start as usize..span.end as usize], "content {id}, {span:?}");
                }
            });
        }
    });
}

fn what_is_not_within_a_file_is_an_error(source: &dyn ContentSource, tree: &Tree) {
    for (id, content) in tree.contents().map(Result::unwrap) {
        assert!(source.fetch(id, 0..content.size + 1).is_err());
        assert!(source.fetch(id, 0..0).is_err());
    }
    assert!(source.fetch(tree.archive().items(), 0..1).is_err());
}

/// Small and large files, with sizes around what matters.
pub fn files() -> HashMap<Vec<u8>, Vec<u8>> {
    let mut random = Random::new(5);
    let frame = FRAME as usize;
    let sizes = [0, 1, 4096, frame - 1, frame, frame + 1, 1 << 20, (1 << 20) + 1, 5 * frame + 123, 3_000_000];
    let mut files = HashMap::new();
    for (n, size) in sizes.into_iter().enumerate() {
        for directory in ["a", "a/b", "c"] {
            files.insert(format!("{directory}/{n}").into_bytes(), random.bytes(size));
        }
    }
    files.insert(b"c/raw \xff\nname".to_vec(), b"raw".to_vec());
    files
}

#[test]
fn a_source_in_memory_keeps_the_contract() {
    let files = files();
    let mut items: Vec<_> = files
        .iter()
        .map(|(path, bytes)| {
            let mut file = item(path, libc::S_IFREG | 0o644);
            file.size = bytes.len() as u64;
            file
        })
        .collect();
    items.sort_by(|a, b| a.path.cmp(&b.path));
    let mut catalog = MemoryCatalog::default();
    catalog.archives.push((archive("x", 1), items, files.clone()));
    keeps_the_contract(&catalog, "x", &files);
}

/// A machine whose repository has `files` as the archive `x`; this process has its environment.
pub fn archived(flavour: Flavour, files: &HashMap<Vec<u8>, Vec<u8>>) -> (Machine, Repository) {
    let machine = Machine::new(flavour);
    let repository = Repository::init(&machine, "repokey-blake2");
    for (path, bytes) in files {
        use std::os::unix::ffi::OsStrExt;
        let path = machine.source().join(std::ffi::OsStr::from_bytes(path));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
    repository.create(&machine, "x");
    static ENVIRONMENT: Once = Once::new();
    // Of whichever machine comes first: the repositories are found by their configurations.
    ENVIRONMENT.call_once(|| {
        let home = tempfile::tempdir().unwrap().keep();
        // SAFETY: no other test of this target reads or sets the environment before this.
        unsafe {
            std::env::set_var("HOME", home);
            std::env::set_var("BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK", "yes");
            std::env::set_var("PATH", format!("{}:/usr/bin:/bin", flavour.dir().display()));
        }
    });
    (machine, repository)
}

#[test]
fn streams_of_borg_keep_the_contract() {
    let Some(flavour) = Flavour::any() else { return };
    let files = files();
    let (machine, _repository) = archived(flavour, &files);
    let config = Config::load(&machine.config()).unwrap();
    let borg = Borg::new(&config).unwrap();
    let catalog = BorgCatalog::new(borg, ArchiveFilter::default(), Limits::default());
    keeps_the_contract(&catalog, "x", &files);
}

#[test]
fn chunks_read_by_ourselves_keep_the_contract() {
    let Some(flavour) = Flavour::any() else { return };
    let files = files();
    let (machine, _repository) = archived(flavour, &files);
    let config = Config::load(&machine.config()).unwrap();
    let borg = Borg::new(&config).unwrap();
    let catalog = NativeCatalog::open(&borg, &Options::default()).ok().unwrap();
    keeps_the_contract(&catalog, "x", &files);
}
