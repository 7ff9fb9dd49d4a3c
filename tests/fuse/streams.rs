//! How much work reading causes: the calls of borg are counted.

use std::io::Read;

use crate::common::mounted::descendants;
use crate::common::{ARCHIVE, Flavour, Mounted, Need, assert_same_bytes, available, each_borg};
use crate::scene::{archived, archived_behind_fake, read_at, write_random};

#[test]
fn sequential_reading_starts_one_extract_and_a_second_reading_none() {
    if !available(&[Need::Fuse]) {
        return;
    }
    each_borg(|flavour| {
        let (machine, _repository, fake) =
            archived_behind_fake(flavour, |source| write_random(source, "image", 20 << 20));
        let mounted = Mounted::new(&machine, ARCHIVE, &["--source", "stream"]);
        assert_eq!(fake.calls("extract"), 0, "the mount itself needs no content");
        let original = machine.source().join("image");
        assert_same_bytes(&mounted.path("image"), &original);
        assert_eq!(fake.calls("extract"), 1);
        drop_page_cache(&mounted);
        assert_same_bytes(&mounted.path("image"), &original);
        assert_eq!(fake.calls("extract"), 1);
    });
}

#[test]
fn reading_backwards_in_what_was_streamed_starts_no_second_extract() {
    if !available(&[Need::Fuse]) {
        return;
    }
    each_borg(|flavour| {
        let (machine, _repository, fake) =
            archived_behind_fake(flavour, |source| write_random(source, "image", 20 << 20));
        let original = std::fs::read(machine.source().join("image")).unwrap();
        let mounted = Mounted::new(&machine, ARCHIVE, &["--source", "stream"]);
        let file = std::fs::File::open(mounted.path("image")).unwrap();
        for offset in (0..20).rev().map(|n| n << 20) {
            let read = read_at(&file, offset, 10_000).unwrap();
            assert!(read == original[offset as usize..][..10_000], "differs at {offset}");
        }
        assert_eq!(fake.calls("extract"), 1);
    });
}

#[test]
fn two_hundred_small_files_of_a_directory_need_at_most_two_extracts() {
    if !available(&[Need::Fuse]) {
        return;
    }
    each_borg(|flavour| {
        let (machine, _repository, fake) = archived_behind_fake(flavour, |source| {
            std::fs::create_dir(source.join("directory")).unwrap();
            for n in 0..200 {
                write_random(&source.join("directory"), &format!("file {n}"), 100 + 37 * n);
            }
        });
        let mounted = Mounted::new(&machine, ARCHIVE, &["--source", "stream"]);
        let mut bytes = Vec::new();
        for n in 0..200 {
            let name = format!("directory/file {n}");
            bytes.clear();
            let mut file = std::fs::File::open(mounted.path(&name)).unwrap();
            file.read_to_end(&mut bytes).unwrap();
            assert!(bytes == std::fs::read(machine.source().join(&name)).unwrap(), "{name} differs");
        }
        assert!(fake.calls("extract") <= 2, "{} extracts", fake.calls("extract"));
    });
}

/// What the kernel keeps of `image` is forgotten, so that the next read comes to the daemon.
fn drop_page_cache(mounted: &Mounted) {
    let file = std::fs::File::open(mounted.path("image")).unwrap();
    nix::fcntl::posix_fadvise(&file, 0, 0, nix::fcntl::PosixFadviseAdvice::POSIX_FADV_DONTNEED).unwrap();
}

#[test]
fn many_readers_that_begin_at_once_share_one_extract() {
    if !available(&[Need::Fuse]) {
        return;
    }
    each_borg(|flavour| {
        const LEN: usize = 48 << 20;
        let (machine, _repository, fake) =
            archived_behind_fake(flavour, |source| write_random(source, "image", LEN));
        let original = std::fs::read(machine.source().join("image")).unwrap();
        let mounted = Mounted::new(&machine, ARCHIVE, &["--source", "stream"]);
        let file = std::fs::File::open(mounted.path("image")).unwrap();
        std::thread::scope(|scope| {
            for n in (0..16).rev() {
                let (file, original) = (&file, &original);
                scope.spawn(move || {
                    let offset = n * (LEN / 16) + 17;
                    let read = read_at(file, offset as u64, 5000).unwrap();
                    assert!(read == original[offset..][..5000], "differs at {offset}");
                });
            }
        });
        assert_eq!(fake.calls("extract"), 1);
    });
}

#[test]
fn many_files_at_once_run_no_more_than_four_borgs_and_leave_no_file_in_the_cache_directory() {
    if !available(&[Need::Fuse]) {
        return;
    }
    let Some(flavour) = Flavour::any() else { return };
    const FILES: usize = 7;
    let (machine, _repository) = archived(flavour, |source| {
        for n in 0..FILES {
            write_random(source, &format!("image-{n}"), (8 << 20) + n);
        }
    });
    let cache = machine.path("cache");
    std::fs::create_dir(&cache).unwrap();
    let options = ["--source", "stream", "--cache-dir", cache.to_str().unwrap()];
    let mounted = Mounted::new(&machine, ARCHIVE, &options);
    let daemon = mounted.daemon();
    let mut most = 0;
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..FILES)
            .map(|n| {
                let name = format!("image-{n}");
                let (path, original) = (mounted.path(&name), machine.source().join(&name));
                scope.spawn(move || assert_same_bytes(&path, &original))
            })
            .collect();
        while !readers.iter().all(|r| r.is_finished()) {
            most = most.max(descendants(daemon, "extract").len());
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    });
    assert!((1..=4).contains(&most), "{most} borgs at once");
    assert_eq!(std::fs::read_dir(&cache).unwrap().count(), 0, "the cache has a name");
}
