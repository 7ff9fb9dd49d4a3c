//! Putting an image back.

use std::os::unix::fs::{MetadataExt, PermissionsExt};

use crate::common::{Flavour, Machine, Need, available, each_borg, each_way};
use crate::device::{MIB, SMALL_CHUNKS, archived, archived_as, image, new_disk, number, restore, told};

#[test]
fn a_device_gets_the_bytes_of_the_volume_and_only_what_differs_is_fetched_and_written() {
    if !available(&[Need::LoopDevices]) {
        return;
    }
    each_borg(|flavour| {
        let bytes = image(24, 512);
        let (machine, _repository) = archived(flavour, &bytes);
        let mut old = bytes.clone();
        // One page in the noise, and some in the zeros, more than are written as other bytes are.
        old[20 * MIB + 5] ^= 1;
        old[7 * MIB..8 * MIB].fill(1);
        let disk = new_disk(&machine, "disk", &old);
        let told = told(&restore(&machine, disk.device(), &[]).ok());
        assert!(disk.bytes() == bytes);
        let of = |name| number(&told["restored"], name);
        assert_eq!((of("size"), of("read")), (bytes.len() as u64, bytes.len() as u64), "{told}");
        assert_eq!(of("fetched_chunks"), 1, "{told}");
        // Of the page as much as its chunk has; where chunks end is another place in each repository.
        let page = of("written") + of("zeroed") - MIB as u64;
        assert!((1..=4096).contains(&page) && of("fetched") <= 513 << 10, "{told}");
        // What a chunk's end cuts off may be too short for a hole.
        assert!(of("zeroed") >= MIB as u64 - 2 * 65536, "{told}");
        assert_eq!(of("right"), of("size") - of("written") - of("zeroed"), "{told}");
        assert!(of("verified") > 0, "{told}");
    });
}

#[test]
fn what_is_right_is_neither_fetched_nor_written_unless_all_is_to_be() {
    let Some(flavour) = Flavour::any() else { return };
    let bytes = image(8, 0);
    let (machine, _repository) = archived(flavour, &bytes);
    let file = machine.path("out/copy");
    std::fs::write(&file, &bytes).unwrap();
    let of = |options: &[&str], name: &str| {
        let told = told(&restore(&machine, &file, options).ok());
        number(&told["restored"], name)
    };
    for name in ["fetched", "fetched_chunks", "written", "zeroed", "verified"] {
        assert_eq!(of(&[], name), 0, "{name}");
    }
    assert_eq!(of(&["--full"], "right"), 0);
    assert_eq!(of(&["--full"], "verified"), 8 << 20);
    assert_eq!(of(&["--full", "--no-verify"], "verified"), 0);
    assert!(std::fs::read(&file).unwrap() == bytes);
}

#[test]
fn streams_write_only_the_blocks_that_differ() {
    if !available(&[Need::LoopDevices]) {
        return;
    }
    let Some(flavour) = Flavour::any() else { return };
    let bytes = image(12, 512);
    let (machine, _repository) = archived(flavour, &bytes);
    let mut old = bytes.clone();
    old[9 * MIB + 4095] ^= 1;
    *old.last_mut().unwrap() ^= 1;
    let disk = new_disk(&machine, "disk", &old);
    let told = told(&restore(&machine, disk.device(), &["--source", "stream"]).ok());
    assert!(disk.bytes() == bytes);
    assert_eq!(number(&told["restored"], "written"), 4096 + 512, "{told}");
}

#[test]
fn a_new_file_is_made_for_its_owner_with_holes_where_the_zeros_are() {
    each_way(|flavour, source| {
        let bytes = image(16, 77);
        let (machine, _repository) = archived(flavour, &bytes);
        let file = machine.path("out/new");
        let told = told(&restore(&machine, &file, &["--source", source]).ok());
        assert!(std::fs::read(&file).unwrap() == bytes);
        let meta = file.metadata().unwrap();
        assert_eq!(meta.permissions().mode() & 0o777, 0o600);
        assert!(meta.blocks() * 512 <= (12 << 20) + 65536, "{} blocks", meta.blocks());
        assert_eq!(number(&told["restored"], "read"), 0);
    });
}

#[test]
fn bytes_on_both_sides_of_a_chunks_end_and_the_last_byte_are_found() {
    let Some(flavour) = Flavour::any() else { return };
    for size in [65_536, 10_007] {
        let bytes = image(2, 777);
        let chunker = format!("--chunker-params=fixed,{size}");
        let (machine, _repository) = archived_as(flavour, "repokey", &bytes, &[&chunker]);
        let mut old = bytes.clone();
        for at in [0, size - 1, size, bytes.len() - 1] {
            old[at] ^= 0x80;
        }
        let file = machine.path("out/old");
        std::fs::write(&file, old).unwrap();
        let told = told(&restore(&machine, &file, &[]).ok());
        assert!(std::fs::read(&file).unwrap() == bytes);
        assert_eq!(number(&told["restored"], "fetched_chunks"), 3, "{told}");
        assert!(number(&told["restored"], "written") <= 4 * 4096, "{told}");
    }
}

#[test]
fn every_kind_of_key_tells_what_is_right() {
    let Some(flavour) = Flavour::any() else { return };
    for encryption in ["none", "authenticated", "authenticated-blake2", "repokey", "keyfile-blake2"] {
        let bytes = image(4, 0);
        let (machine, _repository) = archived_as(flavour, encryption, &bytes, &SMALL_CHUNKS);
        let file = machine.path("out/old");
        let mut old = bytes.clone();
        old[3 * MIB] ^= 1;
        std::fs::write(&file, old).unwrap();
        let told = told(&restore(&machine, &file, &[]).ok());
        assert!(std::fs::read(&file).unwrap() == bytes, "{encryption}");
        assert_eq!(number(&told["restored"], "fetched_chunks"), 1, "{encryption}: {told}");
    }
}

#[test]
fn a_file_of_another_size_is_replaced_only_when_it_may_be() {
    let Some(flavour) = Flavour::any() else { return };
    let bytes = image(2, 5);
    let (machine, _repository) = archived(flavour, &bytes);
    let file = machine.path("out/other");
    for old in [vec![1; 10], vec![1; 5 * MIB]] {
        std::fs::write(&file, &old).unwrap();
        let refused = restore(&machine, &file, &[]).run();
        assert_eq!(refused.code(), Some(2), "{refused}");
        assert!(std::fs::read(&file).unwrap() == old);
        restore(&machine, &file, &["--overwrite"]).ok();
        assert!(std::fs::read(&file).unwrap() == bytes);
    }
}

#[test]
fn the_bill_tells_what_would_be_done_and_nothing_is() {
    if !available(&[Need::LoopDevices]) {
        return;
    }
    let Some(flavour) = Flavour::any() else { return };
    let bytes = image(16, 0);
    let (machine, _repository) = archived(flavour, &bytes);
    let mut old = bytes.clone();
    old[10 * MIB] ^= 1;
    old[5 * MIB] = 9;
    let disk = new_disk(&machine, "disk", &old);
    let bill = |machine: &Machine, target: &std::path::Path, options: &[&str]| {
        let told = told(&restore(machine, target, &[&["--dry-run"], options].concat()).ok());
        told["estimate"].clone()
    };
    let before = bill(&machine, disk.device(), &[]);
    assert!(disk.bytes() == old, "nothing is written");
    assert_eq!((number(&before, "chunks_to_fetch"), number(&before, "to_zero")), (1, 512 << 10), "{before}");
    assert!(number(&before, "rate") > 0, "{before}");
    let done = told(&restore(&machine, disk.device(), &[]).ok());
    assert_eq!(number(&done["restored"], "fetched"), number(&before, "to_fetch"));
    assert!(number(&done["restored"], "written") <= number(&before, "to_write"));
    let after = bill(&machine, disk.device(), &[]);
    assert_eq!((number(&after, "to_fetch"), number(&after, "right")), (0, bytes.len() as u64));

    let new = machine.path("out/new");
    let blank = bill(&machine, &new, &[]);
    assert!(!new.exists());
    assert_eq!(number(&blank, "to_write") + number(&blank, "right"), bytes.len() as u64);
    let text = restore(&machine, &new, &["--dry-run"]).args(["--source", "stream"]).ok();
    assert!(told(&text)["estimate"]["right"].is_null());
}

#[test]
fn what_a_seed_has_is_not_fetched() {
    let Some(flavour) = Flavour::any() else { return };
    let bytes = image(8, 0);
    let (machine, _repository) = archived(flavour, &bytes);
    let seed = machine.path("out/seed");
    let mut changed = bytes.clone();
    changed[5 * MIB] ^= 1;
    std::fs::create_dir_all(seed.join("dev/zvol/tank")).unwrap();
    std::fs::write(seed.join("dev/zvol/tank/work"), &changed).unwrap();
    std::fs::write(machine.path("out/copy"), &bytes).unwrap();
    for (place, chunks) in [("out/copy", 0), ("out/seed", 1)] {
        let file = machine.path("out/new");
        let options = ["--seed", machine.path(place).to_str().unwrap()].map(str::to_owned);
        let run = restore(&machine, &file, &[&options[0], &options[1]]).ok();
        let restored = told(&run)["restored"].clone();
        assert_eq!(number(&restored, "fetched_chunks"), chunks, "{run}");
        assert!(
            number(&restored, "local") >= 5 * MIB as u64 && std::fs::read(&file).unwrap() == bytes,
            "{run}"
        );
        std::fs::remove_file(&file).unwrap();
    }
    let seed = machine.path("out/copy");
    let estimated =
        restore(&machine, &machine.path("out/new"), &["--dry-run", "--seed", seed.to_str().unwrap()]);
    let estimate = told(&estimated.ok())["estimate"].clone();
    assert_eq!(
        (number(&estimate, "to_fetch"), number(&estimate, "local")),
        (0, number(&estimate, "to_write"))
    );
    let said = restore(&machine, &machine.path("out/new"), &["--seed", "/no/such"]).fails();
    assert!(said.contains("/no/such") && !machine.path("out/new").exists(), "{said}");
}
