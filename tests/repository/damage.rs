//! What is broken or forged is never taken for right.

use std::collections::HashMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use borg_repository::internals::{self, Change, Index};
use borg_repository::{Authenticity, Chunk, Error, Id, Local, Pending, Store};
use zeroize::Zeroizing;

use crate::common::{Flavour, Machine, Random, Repository, each_borg};
use crate::scene::{archive, assert_right, chunks, items, open, open_store, put};

/// All segments, by their numbers.
fn segments(repository: &Path) -> Vec<PathBuf> {
    let mut segments: Vec<PathBuf> =
        std::fs::read_dir(repository.join("data/0")).unwrap().map(|entry| entry.unwrap().path()).collect();
    segments.sort_by_key(|path| path.file_name().unwrap().to_str().unwrap().parse::<u32>().unwrap());
    segments
}

fn newest(repository: &Path, name: &str) -> PathBuf {
    let numbers = std::fs::read_dir(repository).unwrap().filter_map(|entry| {
        entry.unwrap().file_name().to_str()?.strip_prefix(name)?.strip_prefix('.')?.parse::<u32>().ok()
    });
    repository.join(format!("{name}.{}", numbers.max().unwrap()))
}

pub fn flip(path: &Path, offset: u64, bit: u32) {
    use std::os::unix::fs::FileExt;
    let file = std::fs::File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    byte[0] ^= 1 << bit;
    file.write_all_at(&byte, offset).unwrap();
}

/// The entries of objects in all segments: segment, id, and the bytes of the entry.
pub fn entries(repository: &Path) -> Vec<(PathBuf, Id, Range<u64>)> {
    let mut all = Vec::new();
    for path in segments(repository) {
        let bytes = std::fs::read(&path).unwrap();
        let walk =
            |each: &mut dyn FnMut(Change)| internals::walk(std::io::Cursor::new(&bytes), each).unwrap();
        walk(&mut |change| {
            if let Change::Put { id, offset } = change {
                let size = &bytes[offset as usize + 4..offset as usize + 8];
                let size = u32::from_le_bytes(size.try_into().unwrap());
                let start = u64::from(offset);
                all.push((path.clone(), id, start..start + u64::from(size)));
            }
        });
    }
    all
}

/// A small repository with an archive `a` of several files.
fn small(machine: &Machine, mode: &str) -> Repository {
    for (name, seed) in [("one", 1), ("two", 2), ("three", 3)] {
        put(machine, name, &Random::new(seed).bytes(20_000));
    }
    let borg = Repository::init(machine, mode);
    borg.create(machine, "a");
    borg
}

#[test]
fn a_flipped_bit_fails_the_reads_that_need_it_and_no_others() {
    each_borg(|flavour| {
        for mode in ["repokey-blake2", "repokey", "authenticated", "none"] {
            let machine = Machine::new(flavour);
            let borg = small(&machine, mode);
            let repository = open(&machine, borg.dir()).unwrap();
            let wanted = chunks(&items(&repository, &archive(&repository, "a").unwrap()).unwrap());
            let right: HashMap<Id, Vec<u8>> =
                wanted.iter().map(|chunk| (chunk.id, repository.read_chunk(chunk).unwrap())).collect();
            let entries = entries(borg.dir());
            let hit = wanted[1];
            let (path, _, range) = entries.iter().find(|(_, id, _)| *id == hit.id).unwrap();
            // crc, size, tag, id, type, MAC, nonce, data: the first and the last byte of each.
            let inside = [0, 3, 4, 7, 8, 9, 40, 41, 42, 73, 74, 81, 82, 83, 84, 1000];
            let offsets = inside.map(|at| range.start + at).into_iter().chain([range.end - 1]);
            for offset in offsets {
                let bit = (offset % 8) as u32;
                flip(path, offset, bit);
                for chunk in &wanted {
                    let read = repository.read_chunk(chunk);
                    if chunk.id == hit.id {
                        let at = offset - range.start;
                        assert!(
                            matches!(read, Err(Error::Integrity(_))),
                            "{mode}, byte {at}: {:?}",
                            read.err()
                        );
                    } else {
                        assert!(read.unwrap() == right[&chunk.id]);
                    }
                }
                flip(path, offset, bit);
            }
        }
    });
}

#[test]
fn a_flipped_bit_in_magic_commit_or_between_does_not_hinder_reads_by_the_index() {
    let Some(flavour) = Flavour::any() else { return };
    let machine = Machine::new(flavour);
    let borg = small(&machine, "repokey");
    for path in segments(borg.dir()) {
        let length = path.metadata().unwrap().len();
        let commit = (length == 17).then_some([8, 12, 16]).into_iter().flatten();
        for offset in [0, 7].into_iter().chain(commit) {
            flip(&path, offset, 3);
            right_without_borg(&machine, &borg, "a");
            flip(&path, offset, 3);
        }
    }
}

#[test]
fn a_flipped_bit_in_manifest_or_metadata_fails_their_readers() {
    let Some(flavour) = Flavour::any() else { return };
    let machine = Machine::new(flavour);
    let borg = small(&machine, "repokey-blake2");
    let repository = open(&machine, borg.dir()).unwrap();
    let data: Vec<Id> = chunks(&items(&repository, &archive(&repository, "a").unwrap()).unwrap())
        .into_iter()
        .map(|chunk| chunk.id)
        .collect();
    let manifest = entries(borg.dir()).into_iter().rfind(|(_, id, _)| *id == Id::MANIFEST).unwrap();
    let metadata =
        entries(borg.dir()).into_iter().filter(|(_, id, _)| *id != Id::MANIFEST && !data.contains(id));
    for (path, _, range) in metadata.chain([manifest]) {
        flip(&path, range.end - 1, 1);
        let read =
            open(&machine, borg.dir()).and_then(|repository| items(&repository, &archive(&repository, "a")?));
        assert!(matches!(read, Err(Error::Integrity(_))), "{:?}", read.err());
        flip(&path, range.end - 1, 1);
    }
}

/// The offsets of the buckets of an index that hold an object.
fn used_buckets(index: &[u8]) -> Vec<u64> {
    let is_used = |bucket: &&[u8]| bucket[32..36] != [0xff; 4] && bucket[32..36] != [0xfe, 0xff, 0xff, 0xff];
    let buckets = (18..).step_by(40).zip(index[18..].chunks(40));
    buckets.filter(|(_, bucket)| is_used(bucket)).map(|(at, _)| at).collect()
}

#[test]
fn an_index_that_is_missing_damaged_or_old_is_made_up_for_by_the_segments() {
    each_borg(|flavour| {
        let machine = Machine::new(flavour);
        let borg = small(&machine, "repokey");
        let old = newest(borg.dir(), "index");
        let old_bytes = std::fs::read(&old).unwrap();
        put(&machine, "four", &Random::new(4).bytes(50_000));
        borg.create(&machine, "b");
        borg.borg(&machine, "delete ::a").ok();
        let index = newest(borg.dir(), "index");
        let number = |path: &Path| path.extension().unwrap().to_str().unwrap().parse::<u32>().unwrap();
        let opened = || Index::open(borg.dir(), number(&index)).unwrap();
        assert!(opened().unwrap().is_whole().unwrap(), "borg's checksums are ours");
        let bytes = std::fs::read(&index).unwrap();
        assert_right(&machine, &borg, &open(&machine, borg.dir()).unwrap(), "b");

        for offset in [3, 8, 12] {
            flip(&index, offset, 0);
            assert!(opened().is_none(), "byte {offset}");
            right_without_borg(&machine, &borg, "b");
            flip(&index, offset, 0);
        }
        for offset in [18 + 5, bytes.len() as u64 - 1] {
            flip(&index, offset, 0);
            assert!(!opened().unwrap().is_whole().unwrap(), "byte {offset}");
            right_without_borg(&machine, &borg, "b");
            flip(&index, offset, 0);
        }
        // Each object's own place: its id, its segment, its offset.
        for bucket in used_buckets(&bytes) {
            for byte in [0, 33, 36] {
                flip(&index, bucket + byte, 1);
                right_without_borg(&machine, &borg, "b");
                flip(&index, bucket + byte, 1);
            }
        }
        std::fs::remove_file(&index).unwrap();
        right_without_borg(&machine, &borg, "b");
        std::fs::write(&old, old_bytes).unwrap();
        right_without_borg(&machine, &borg, "b");
        std::fs::write(&index, b"").unwrap();
        right_without_borg(&machine, &borg, "b");
    });
}

/// As `assert_right`, but borg is not asked: it would repair the index.
fn right_without_borg(machine: &Machine, borg: &Repository, name: &str) {
    let repository = open(machine, borg.dir()).unwrap();
    let manifest = repository.manifest();
    let names: Vec<_> = manifest.archives.iter().map(|a| String::from_utf8_lossy(&a.name)).collect();
    assert_eq!(names, [name], "a deleted archive is not there");
    for (item, lists) in items(&repository, &archive(&repository, name).unwrap()).unwrap() {
        let expected = std::fs::read(machine.source().join(item.path.as_os_str())).unwrap();
        assert!(crate::scene::content(&repository, &lists).unwrap() == expected);
    }
}

#[test]
fn a_transaction_without_a_commit_is_not_there() {
    let Some(flavour) = Flavour::any() else { return };
    let machine = Machine::new(flavour);
    let borg = small(&machine, "repokey");
    let last = segments(borg.dir()).pop().unwrap();
    let number: u32 = last.file_name().unwrap().to_str().unwrap().parse().unwrap();
    // A manifest of garbage, as of a writer that is at work or died.
    let mut garbage = internals::MAGIC.to_vec();
    garbage.extend([0; 4]);
    garbage.extend(44u32.to_le_bytes());
    garbage.extend([0; 36]);
    std::fs::write(borg.dir().join(format!("data/0/{}", number + 1)), garbage).unwrap();
    right_without_borg(&machine, &borg, "a");
    std::fs::remove_file(newest(borg.dir(), "index")).unwrap();
    right_without_borg(&machine, &borg, "a");
}

/// Gives other objects in the place of some.
struct Swapped {
    inner: Arc<Local>,
    instead: HashMap<Id, Id>,
}

impl Store for Swapped {
    fn id(&self) -> Id {
        self.inner.id()
    }

    fn key(&self) -> borg_repository::Result<Zeroizing<String>> {
        self.inner.key()
    }

    fn request(self: Arc<Self>, id: Id, length: Option<u32>) -> Box<dyn Pending> {
        let id = self.instead.get(&id).copied().unwrap_or(id);
        Arc::clone(&self.inner).request(id, length)
    }

    fn refresh(&self) -> borg_repository::Result<()> {
        self.inner.refresh()
    }
}

#[test]
fn an_authentic_object_in_the_place_of_another_is_found_out() {
    let Some(flavour) = Flavour::any() else { return };
    for mode in ["repokey", "repokey-blake2", "authenticated", "none"] {
        let machine = Machine::new(flavour);
        let borg = small(&machine, mode);
        let honest = open(&machine, borg.dir()).unwrap();
        let of_a = archive(&honest, "a").unwrap();
        let wanted = chunks(&items(&honest, &of_a).unwrap());
        let swapped = |instead: &[(Id, Id)]| {
            let inner = Arc::new(Local::open(borg.dir()).unwrap());
            open_store(&machine, Arc::new(Swapped { inner, instead: instead.iter().copied().collect() }))
        };
        let repository = swapped(&[(wanted[0].id, wanted[1].id)]).unwrap();
        assert!(matches!(repository.read_chunk(&wanted[0]), Err(Error::Integrity(_))), "{mode}");
        assert!(repository.read_chunk(&wanted[1]).is_ok());
        let other_size = Chunk { size: wanted[1].size + 1, ..wanted[1] };
        assert!(matches!(repository.read_chunk(&other_size), Err(Error::Integrity(_))), "{mode}");
        // An object that someone with the key wrote, but that is no manifest.
        let forged = swapped(&[(Id::MANIFEST, of_a.id)]);
        assert!(matches!(forged, Err(Error::Integrity(_) | Error::Unsupported(_))), "{mode}");
    }
}

#[test]
fn a_repository_that_was_swapped_or_turned_back_is_refused() {
    let Some(flavour) = Flavour::any() else { return };
    let machine = Machine::new(flavour);
    let borg = small(&machine, "repokey");
    let before = machine.path("before");
    machine.program("cp").arg("-a").arg(borg.dir()).arg(&before).ok();
    put(&machine, "four", b"4");
    borg.create(&machine, "b");
    assert!(matches!(open(&machine, &before), Err(Error::Replayed { .. })));
    assert!(open(&machine, borg.dir()).is_ok());

    let config = std::fs::read_to_string(borg.dir().join("config")).unwrap();
    let id = config.lines().find_map(|line| line.strip_prefix("id = ")).unwrap();
    let plain = Machine::new(flavour);
    let other = small(&plain, "none");
    let text = std::fs::read_to_string(other.dir().join("config")).unwrap();
    let own = text.lines().find_map(|line| line.strip_prefix("id = ")).unwrap().to_owned();
    std::fs::write(other.dir().join("config"), text.replace(&own, id)).unwrap();
    let swapped = open(&machine, other.dir());
    assert!(matches!(swapped, Err(Error::KeyChanged { known: 3, found: 2 })), "{:?}", swapped.err());
}

#[test]
fn an_archive_that_was_renamed_says_whether_it_is_authentic() {
    each_borg(|flavour| {
        let machine = Machine::new(flavour);
        let borg = small(&machine, "repokey");
        borg.borg(&machine, "rename ::a b").ok();
        let repository = open(&machine, borg.dir()).unwrap();
        // borg 1.2.4 keeps the TAM of the old name.
        let expected = match flavour {
            Flavour::V11 | Flavour::V12 => Authenticity::Wrong,
            Flavour::V14 => Authenticity::Authenticated,
        };
        assert_eq!(archive(&repository, "b").unwrap().authenticity, expected);
    });
}

#[test]
fn a_manifest_that_was_changed_by_someone_without_the_key_is_refused() {
    let Some(flavour) = Flavour::any() else { return };
    // Neither is encrypted, so that only the manifest's own authentication can tell.
    for mode in ["authenticated", "authenticated-blake2", "none"] {
        let machine = Machine::new(flavour);
        let borg = small(&machine, mode);
        borg.borg(&machine, "rename ::a original-name").ok();
        let (path, _, range) =
            entries(borg.dir()).into_iter().rfind(|(_, id, _)| *id == Id::MANIFEST).unwrap();
        let mut bytes = std::fs::read(&path).unwrap();
        let entry = &mut bytes[range.start as usize..range.end as usize];
        let at = entry.windows(13).position(|w| w == b"original-name").expect("the name is not compressed");
        entry[at..at + 13].copy_from_slice(b"another-name!");
        let crc = crc32fast::hash(&entry[4..]).to_le_bytes();
        entry[..4].copy_from_slice(&crc);
        std::fs::write(&path, bytes).unwrap();
        let forged = open(&machine, borg.dir()).err().map(|e| e.to_string());
        assert_eq!(forged.as_deref(), Some("data integrity error: the manifest is not authentic"), "{mode}");
    }
}

#[test]
fn a_file_that_check_repaired_tells_which_chunks_it_had() {
    each_borg(|flavour| {
        let mut machine = Machine::new(flavour);
        machine.set_variable("BORG_CHECK_I_KNOW_WHAT_I_AM_DOING", "YES");
        put(&machine, "file", &Random::new(1).bytes(8192));
        let borg = Repository::init(&machine, "repokey");
        borg.create_with(&machine, "a", &["--chunker-params", "fixed,4096"]);
        let before = open(&machine, borg.dir()).unwrap();
        let (_, before) = items(&before, &archive(&before, "a").unwrap()).unwrap().remove(0);
        borg.borg(&machine, "debug delete-obj").arg(borg.dir()).arg(before.chunks[1].id.to_string()).ok();
        borg.borg(&machine, "check --repair").run();

        let repository = open(&machine, borg.dir()).unwrap();
        let (item, lists) = items(&repository, &archive(&repository, "a").unwrap()).unwrap().remove(0);
        assert!(item.damaged);
        assert_eq!(lists.healthy, before.chunks);
        assert_eq!(lists.chunks[0], before.chunks[0]);
        assert!(repository.is_zero(&lists.chunks[1]));
        assert_eq!(repository.read_chunk(&lists.chunks[1]).unwrap(), [0; 4096]);
        assert!(matches!(repository.read_chunk(&lists.healthy[1]), Err(Error::NotFound(_))));
    });
}
