//! Disk images: attached, copied, read at random, huge and sparse.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use crate::common::{
    ARCHIVE, DAY, Flavour, Loop, Machine, Mounted, Need, Program, Random, Repository, SOURCES,
    assert_same_bytes, available, each_borg, with_own_mounts,
};
use crate::scene::{archived, read_at, write_random};

/// An ext4 image of 24 MiB at `image` that holds `inner`, 5 MiB.
fn write_ext4(dir: &Path) {
    let content = dir.parent().unwrap().join("content");
    std::fs::create_dir(&content).unwrap();
    write_random(&content, "inner", 5 << 20);
    Program::new("/sbin/mke2fs")
        .args(["-q", "-t", "ext4", "-d"])
        .arg(&content)
        .arg(dir.join("image"))
        .arg("24M")
        .ok();
}

#[test]
fn an_image_is_attached_mounted_and_copied() {
    if !available(&[Need::Fuse, Need::LoopDevices]) {
        return;
    }
    each_borg(|flavour| {
        let (machine, _repository) = archived(flavour, write_ext4);
        let inside = machine.path("inside");
        std::fs::create_dir(&inside).unwrap();
        for source in SOURCES {
            let mounted = Mounted::by(source, &machine, ARCHIVE, &[]);
            let device = Loop::attach(&mounted.path("image"));
            with_own_mounts(|| {
                // Without replaying its journal.
                let ext4 = ["-t", "ext4", "-o", "ro,noload"];
                Program::new("mount").args(ext4).arg(device.device()).arg(&inside).ok();
                assert_same_bytes(&inside.join("inner"), &machine.path("content/inner"));
                Program::new("umount").arg(&inside).ok();
            });
            assert_same_bytes(device.device(), &machine.source().join("image"));
            drop(device);
            let copy = machine.path("copy");
            let operands = [
                ["if=", mounted.path("image").to_str().unwrap()].concat(),
                ["of=", copy.to_str().unwrap()].concat(),
            ];
            Program::new("dd").args(operands).args(["bs=1M", "status=none"]).ok();
            assert_same_bytes(&copy, &machine.source().join("image"));
        }
    });
}

#[test]
fn eight_threads_at_odd_offsets_read_what_was_backed_up() {
    if !available(&[Need::Fuse]) {
        return;
    }
    each_borg(|flavour| {
        const SIZE: u64 = (24 << 20) + 12_345;
        let (machine, _repository) = archived(flavour, |source| write_random(source, "image", SIZE as usize));
        let original = std::fs::read(machine.source().join("image")).unwrap();
        for source in SOURCES {
            let mounted = Mounted::by(source, &machine, ARCHIVE, &[]);
            let file = File::open(mounted.path("image")).unwrap();
            std::thread::scope(|scope| {
                for seed in 0..8 {
                    let (file, original) = (&file, &original);
                    scope.spawn(move || {
                        let mut random = Random::new(seed);
                        for _ in 0..200 {
                            let offset = random.below(SIZE + 10_000);
                            let len = 1 + random.below(200_000);
                            let end = (offset + len).min(SIZE);
                            let expected = &original[offset.min(SIZE) as usize..end as usize];
                            let read = read_at(file, offset, len as usize).unwrap();
                            assert!(read == expected, "{len} bytes at {offset} differ");
                        }
                    });
                }
            });
            assert_eq!(file.read_at(&mut [0; 10], SIZE).unwrap(), 0);
            assert_eq!(file.read_at(&mut [0; 10], SIZE - 3).unwrap(), 3);
            drop(file);
            mounted.umount(&machine);
        }
    });
}

/// A repository whose archive holds `image`, sparse, with a little data at each of `places`.
fn sparse(flavour: Flavour, size: u64, places: &[u64]) -> (Machine, Repository) {
    let machine = Machine::new(flavour);
    let file = File::create(machine.source().join("image")).unwrap();
    file.set_len(size).unwrap();
    for (seed, place) in places.iter().enumerate() {
        file.write_all_at(&Random::new(seed as u64).bytes(100_000), *place).unwrap();
    }
    let repository = Repository::init(&machine, "repokey-blake2");
    let options = ["--sparse", "--chunker-params", "fixed,4194304"];
    repository.create_with(&machine, DAY, &options);
    (machine, repository)
}

#[test]
fn an_image_past_four_gigabytes_is_right_on_both_sides_of_the_border() {
    if !available(&[Need::Fuse]) {
        return;
    }
    let Some(flavour) = Flavour::any() else { return };
    const SIZE: u64 = (4 << 30) + (300 << 20) + 77;
    let border = 4 << 30;
    let places = [1 << 20, border - 50_000, SIZE - 100_000];
    let (machine, _repository) = sparse(flavour, SIZE, &places);
    let original = File::open(machine.source().join("image")).unwrap();
    for source in SOURCES {
        let mounted = Mounted::by(source, &machine, ARCHIVE, &[]);
        let file = File::open(mounted.path("image")).unwrap();
        assert_eq!(file.metadata().unwrap().len(), SIZE);
        for place in places.into_iter().chain([0, border, SIZE - 1]) {
            let offset = place.saturating_sub(5_000);
            let expected = read_at(&original, offset, 120_000).unwrap();
            assert!(read_at(&file, offset, 120_000).unwrap() == expected, "differs at {offset}");
        }
        drop(file);
        mounted.umount(&machine);
    }
}

#[test]
fn holes_and_data_are_told_and_no_data_is_called_a_hole() {
    if !available(&[Need::Fuse]) {
        return;
    }
    let Some(flavour) = Flavour::any() else { return };
    const SIZE: u64 = 40 << 20;
    let (machine, _repository) = sparse(flavour, SIZE, &[9 << 20, 30 << 20]);
    let original = std::fs::read(machine.source().join("image")).unwrap();
    for source in SOURCES {
        let mounted = Mounted::by(source, &machine, ARCHIVE, &[]);
        let file = File::open(mounted.path("image")).unwrap();
        let mut at = 0;
        while at < SIZE {
            let data = seek(&file, at, libc::SEEK_DATA).unwrap_or(SIZE);
            assert!(data >= at && data <= SIZE);
            let hole = &original[at as usize..data as usize];
            assert!(hole.iter().all(|b| *b == 0), "data in the hole at {at}");
            if data == SIZE {
                break;
            }
            at = seek(&file, data, libc::SEEK_HOLE).unwrap();
            assert!(at > data && at <= SIZE);
        }
        assert_eq!(seek(&file, SIZE, libc::SEEK_DATA), Err(libc::ENXIO));
        assert_eq!(seek(&file, SIZE + 1, libc::SEEK_HOLE), Err(libc::ENXIO));
        let copy = machine.path("copy");
        Program::new("cp").arg(mounted.path("image")).arg(&copy).ok();
        assert_same_bytes(&copy, &machine.source().join("image"));
        if source == "native" {
            assert_eq!(seek(&file, 0, libc::SEEK_DATA), Ok(9 << 20), "chunks of zeros are holes");
            assert!(file.metadata().unwrap().blocks() * 512 < SIZE / 2, "holes take no space");
        }
        drop(file);
        mounted.umount(&machine);
    }
}

fn seek(file: &File, offset: u64, whence: i32) -> Result<u64, i32> {
    // SAFETY: lseek on a descriptor that is open.
    let at = unsafe { libc::lseek(file.as_raw_fd(), offset as i64, whence) };
    u64::try_from(at).map_err(|_| std::io::Error::last_os_error().raw_os_error().unwrap())
}
