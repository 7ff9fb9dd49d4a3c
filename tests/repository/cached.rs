//! Objects of a server, kept in a directory for the next time.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use borg_repository::{Id, Pending, Result, Store};
use zeroize::Zeroizing;

use crate::common::{Flavour, Machine, NastyTree, Random, Repository};
use crate::scene::{assert_right, open_store, put};
use crate::serve::remote;

/// Notes what is asked of a store.
struct Noted {
    inner: Arc<dyn Store>,
    asked: Mutex<Vec<Id>>,
}

impl Store for Noted {
    fn id(&self) -> Id {
        self.inner.id()
    }

    fn key(&self) -> Result<Zeroizing<String>> {
        self.inner.key()
    }

    fn request(self: Arc<Self>, id: Id, length: Option<u32>) -> Box<dyn Pending> {
        self.asked.lock().unwrap().push(id);
        Arc::clone(&self.inner).request(id, length)
    }

    fn refresh(&self) -> Result<()> {
        self.inner.refresh()
    }
}

/// Reads the whole archive `a` over a new server, with objects kept in `cache`; returns how many
/// objects the server was asked for, besides the manifest.
fn read(machine: &Arc<Machine>, borg: &Repository, limit: u64) -> usize {
    let (store, _) = remote(machine, borg.dir());
    let noted = Arc::new(Noted { inner: Arc::new(store.unwrap()), asked: Mutex::default() });
    let mut repository = open_store(machine, Arc::clone(&noted) as _).unwrap();
    repository.keep_objects_in(machine.path("cache"), limit);
    assert_right(machine, borg, &repository, "a");
    let asked = noted.asked.lock().unwrap();
    asked.iter().filter(|id| **id != Id::MANIFEST).count()
}

fn kept(machine: &Machine) -> Vec<PathBuf> {
    let list = |dir: &Path| -> Vec<PathBuf> {
        std::fs::read_dir(dir).into_iter().flatten().map(|entry| entry.unwrap().path()).collect()
    };
    list(&machine.path("cache")).iter().flat_map(|directory| list(directory)).collect()
}

fn made(flavour: Flavour, mode: &str) -> (Arc<Machine>, Repository) {
    let machine = Arc::new(Machine::new(flavour));
    NastyTree::make(machine.source().join("tree"));
    put(&machine, "text", &b"words that nobody may read ".repeat(50_000));
    put(&machine, "noise", &Random::new(3).bytes(3 << 20));
    let borg = Repository::init(&machine, mode);
    borg.create_with(&machine, "a", &["--compression", "none"]);
    (machine, borg)
}

#[test]
fn what_was_fetched_once_is_not_fetched_again_and_is_on_disk_as_it_is_in_the_repository() {
    let Some(flavour) = Flavour::any() else { return };
    for mode in ["repokey-blake2", "keyfile"] {
        let (machine, borg) = made(flavour, mode);
        let first = read(&machine, &borg, u64::MAX);
        assert!(first > 5);
        assert_eq!(read(&machine, &borg, u64::MAX), 0);
        assert!(!kept(&machine).is_empty());
        for file in kept(&machine) {
            let bytes = std::fs::read(file).unwrap();
            assert!(!bytes.windows(12).any(|w| w == b"nobody may r"));
        }
    }
}

#[test]
fn a_broken_entry_is_fetched_again_and_is_right_from_then_on() {
    let Some(flavour) = Flavour::any() else { return };
    let (machine, borg) = made(flavour, "repokey-blake2");
    read(&machine, &borg, u64::MAX);
    let all = kept(&machine);
    for (n, file) in all.iter().enumerate() {
        let mut bytes = std::fs::read(file).unwrap();
        match n % 4 {
            0 => bytes.clear(),
            1 => bytes.truncate(bytes.len() - 1),
            2 => *bytes.last_mut().unwrap() ^= 1,
            // One that is authentic, but another.
            _ => bytes = std::fs::read(&all[n - 1]).unwrap(),
        }
        std::fs::write(file, bytes).unwrap();
    }
    assert!(read(&machine, &borg, u64::MAX) >= all.len());
    assert_eq!(read(&machine, &borg, u64::MAX), 0);
}

#[test]
fn nothing_is_kept_that_is_not_encrypted() {
    let Some(flavour) = Flavour::any() else { return };
    for mode in ["none", "authenticated-blake2"] {
        let (machine, borg) = made(flavour, mode);
        assert_eq!(read(&machine, &borg, u64::MAX), read(&machine, &borg, u64::MAX));
        assert!(kept(&machine).is_empty(), "{mode}");
    }
}

#[test]
fn those_that_were_not_used_for_longest_make_room() {
    let Some(flavour) = Flavour::any() else { return };
    let (machine, borg) = made(flavour, "repokey-blake2");
    let length = |files: &[PathBuf]| files.iter().map(|f| std::fs::metadata(f).unwrap().len()).sum::<u64>();
    read(&machine, &borg, u64::MAX);
    let all = length(&kept(&machine));
    std::fs::remove_dir_all(machine.path("cache")).unwrap();
    let limit = all / 2;
    assert!(read(&machine, &borg, limit) > 5);
    let bytes = length(&kept(&machine));
    assert!(0 < bytes && bytes <= limit, "{bytes} of {limit} bytes");
    // What is there from before is counted, too.
    read(&machine, &borg, limit / 2);
    let bytes = length(&kept(&machine));
    assert!(bytes <= limit / 2, "{bytes} of {} bytes", limit / 2);
}

#[test]
fn a_directory_that_cannot_be_written_does_no_harm() {
    let Some(flavour) = Flavour::any() else { return };
    let (machine, borg) = made(flavour, "repokey-blake2");
    std::fs::write(machine.path("cache"), "in the way").unwrap();
    assert_eq!(read(&machine, &borg, u64::MAX), read(&machine, &borg, u64::MAX));
}

#[test]
fn nothing_is_removed_that_is_no_object_and_nothing_behind_a_link() {
    let Some(flavour) = Flavour::any() else { return };
    let (machine, borg) = made(flavour, "repokey-blake2");
    let (cache, other) = (machine.path("cache"), machine.path("other"));
    for dir in [&cache.join("mine"), &cache.join("00"), &other] {
        std::fs::create_dir_all(dir).unwrap();
    }
    let named = "0".repeat(64);
    let kept = [cache.join("mine/letter"), cache.join("00/letter"), other.join(&named)];
    kept.iter().for_each(|file| std::fs::write(file, [b'x'; 100]).unwrap());
    std::os::unix::fs::symlink(&other, cache.join("zz")).unwrap();
    std::os::unix::fs::symlink(&other, cache.join("0f")).unwrap();
    assert!(read(&machine, &borg, 1) > 5);
    for file in kept {
        assert!(file.exists(), "{}", file.display());
    }
    // And what belongs there is not written behind it either.
    assert_eq!(std::fs::read_dir(&other).unwrap().count(), 1);
}
