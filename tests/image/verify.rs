//! Holding a target against an archive, and reading an archive's data.

use std::path::Path;

use crate::common::{ARCHIVE, Flavour, Machine, Need, Program, Run, available, binary, each_way};
use crate::device::{
    MIB, SMALL_CHUNKS, VOLUME, archived, damage, flip, image, largest_segment, new_disk, number, restore,
    told,
};

fn against(machine: &Machine, target: &Path, options: &[&str]) -> Run {
    let program = machine.offsite(["verify"]).args([ARCHIVE, "tank/work", "--json", "--against"]);
    program.arg(target).args(options).run()
}

fn verify(machine: &Machine, options: &[&str]) -> Run {
    machine.offsite(["verify"]).args([ARCHIVE, "--json"]).args(options).run()
}

#[test]
fn a_single_flipped_bit_is_found_and_its_place_is_named() {
    if !available(&[Need::LoopDevices]) {
        return;
    }
    each_way(|flavour, source| {
        let bytes = image(16, 512);
        let (machine, _repository) = archived(flavour, &bytes);
        let disk = new_disk(&machine, "disk", &bytes);
        let run = against(&machine, disk.device(), &["--source", source]);
        assert_eq!((run.code(), &told(&run)["equal"]), (Some(0), &true.into()), "{run}");
        for at in [0, 5 * MIB + 77, 10 * MIB, bytes.len() - 1] {
            flip(disk.device(), at as u64);
            let run = against(&machine, disk.device(), &["--source", source]);
            assert_eq!(run.code(), Some(4), "{run}");
            let told = told(&run);
            assert_eq!(told["ranges"].as_array().unwrap().len(), 1, "{told}");
            let (start, end) =
                (told["ranges"][0][0].as_u64().unwrap(), told["ranges"][0][1].as_u64().unwrap());
            assert!((start..end).contains(&(at as u64)), "{at}: {told}");
            let longest = if source == "native" { 512 << 10 } else { 4096 };
            assert!(end - start <= longest && end - start == number(&told, "differing_bytes"), "{told}");
            flip(disk.device(), at as u64);
        }
    });
}

#[test]
fn ranges_that_touch_are_one_and_people_are_told_in_words() {
    let Some(flavour) = Flavour::any() else { return };
    let bytes = image(8, 0);
    let (machine, _repository) = archived(flavour, &bytes);
    let file = machine.path("out/old");
    let mut old = bytes.clone();
    // All chunks of the zeros, and one far behind them.
    old[2 * MIB..4 * MIB].fill(1);
    old[7 * MIB] ^= 1;
    std::fs::write(&file, old).unwrap();
    let run = machine.offsite(["verify"]).args([ARCHIVE, "tank/work", "--against"]).arg(&file).run();
    assert_eq!(run.code(), Some(4), "{run}");
    assert_eq!(run.stdout().lines().count(), 2, "{run}");
    assert!(run.stderr().contains("differs from ::2026-03-14 dev/zvol/tank/work"), "{run}");
    assert!(run.stderr().contains("in 2 ranges"), "{run}");
}

#[test]
fn a_target_of_another_size_differs_in_what_only_one_of_them_has() {
    each_way(|flavour, source| {
        let bytes = image(2, 0);
        let (machine, _repository) = archived(flavour, &bytes);
        let file = machine.path("out/file");
        let size = bytes.len() as u64;
        std::fs::write(&file, [&bytes[..], &[0; 99]].concat()).unwrap();
        let told_of = |run: Run| {
            assert_eq!(run.code(), Some(4), "{run}");
            told(&run)["ranges"].clone()
        };
        let ranges = told_of(against(&machine, &file, &["--source", source]));
        assert_eq!(ranges, serde_json::json!([[size, size + 99]]));
        std::fs::write(&file, &bytes[..bytes.len() - 10]).unwrap();
        let ranges = told_of(against(&machine, &file, &["--source", source]));
        assert_eq!((ranges.as_array().unwrap().len(), &ranges[0][1]), (1, &size.into()), "{ranges}");
    });
}

#[test]
fn a_target_is_held_against_the_archive_without_any_of_its_data() {
    let Some(flavour) = Flavour::any() else { return };
    let bytes = image(8, 0);
    let (machine, repository) = archived(flavour, &bytes);
    // A second archive has metadata of its own, and the data of the first.
    let largest = largest_segment(&repository);
    let volume = std::fs::File::options().write(true).open(machine.source().join(VOLUME)).unwrap();
    volume.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    repository.create_with(&machine, "second", &SMALL_CHUNKS);
    std::fs::remove_file(largest).unwrap();

    let file = machine.path("out/file");
    std::fs::write(&file, &bytes).unwrap();
    let equal = machine.offsite(["verify"]).args(["::second", "tank/work", "--against"]).arg(&file).run();
    assert_eq!(equal.code(), Some(0), "{equal}");
    let lost = machine.offsite(["verify"]).args(["::second", "--json"]).run();
    assert_eq!(lost.code(), Some(4), "{lost}");
    assert_eq!(told(&lost)["damaged"][0]["path"], VOLUME);
}

#[test]
fn the_data_of_an_archive_is_read_and_what_is_damaged_is_named() {
    each_way(|flavour, source| {
        let bytes = image(8, 0);
        let (machine, repository) = archived(flavour, &bytes);
        std::fs::write(machine.source().join("dev/small"), "small").unwrap();
        repository.create_with(&machine, "two", &SMALL_CHUNKS);
        for path in [&[][..], &["dev"], &["tank/work"], &["dev/small"]] {
            let run = machine.offsite(["verify"]).args(["::two", "--source", source]).args(path).run();
            assert_eq!(run.code(), Some(0), "{run}");
        }
        damage(&repository);
        for path in [&[][..], &["dev"], &["tank/work"]] {
            let run = machine.offsite(["verify"]).args(["::two", "--source", source]).args(path).run();
            assert_eq!(run.code(), Some(4), "{run}");
            if source == "native" {
                assert!(run.stdout().starts_with(&format!("damaged: {VOLUME} bytes ")), "{run}");
                assert_eq!(run.stdout().lines().count(), 1, "{run}");
            }
        }
        let run = machine.offsite(["verify"]).args(["::two", "--source", source, "dev/small"]).run();
        assert_eq!(run.code(), Some(0), "{run}");
    });
}

#[test]
fn samples_are_other_parts_until_all_was_read_and_stay_where_something_is_damaged() {
    let Some(flavour) = Flavour::any() else { return };
    let bytes = image(16, 0);
    let (machine, repository) = archived(flavour, &bytes);
    let whole = told(&verify(&machine, &[]));
    assert_eq!(number(&whole, "read"), number(&whole, "size"));
    let round = || {
        let (mut read, mut looks) = (0, 0);
        loop {
            let run = verify(&machine, &["--sample", "30%"]);
            assert_eq!(run.code(), Some(0), "{run}");
            read += number(&told(&run), "read");
            looks += 1;
            if told(&run)["all_read"] == true {
                return (read, looks);
            }
            assert!(number(&told(&run), "read") < number(&whole, "size") * 2 / 5, "{run}");
        }
    };
    assert_eq!(round(), (number(&whole, "size"), 4));
    assert_eq!(round().0, number(&whole, "size"));

    damage(&repository);
    let codes: Vec<_> = (0..8).map(|_| verify(&machine, &["--sample", "30%"]).code()).collect();
    let first = codes.iter().position(|code| *code == Some(4)).expect("the damage is found in one round");
    assert!(first < 4 && codes[first..].iter().all(|code| *code == Some(4)), "{codes:?}");
}

#[test]
fn what_makes_no_sense_is_refused() {
    let Some(flavour) = Flavour::any() else { return };
    let (machine, _repository) = archived(flavour, &image(2, 0));
    let file = machine.path("out/none");
    let target = file.to_str().unwrap();
    for arguments in [
        &["--sample", "0%"][..],
        &["--sample", "101%"],
        &["--against", target],
        &["tank/work", "--against", target],
        &["dev", "--against", target],
        &["tank/work", "--against", target, "--sample", "5%"],
        &["--sample", "5%", "--source", "stream"],
    ] {
        let run = verify(&machine, arguments);
        assert_eq!(run.code(), Some(2), "{arguments:?}: {run}");
    }
}

#[test]
fn what_borgs_repair_filled_with_zeros_is_named_with_its_ranges() {
    // A borg before 1.2.5 leaves a wrong signature when it repairs.
    let Some(flavour) = Flavour::any() else { return };
    let bytes = image(4, 0);
    let (machine, repository) = archived(flavour, &bytes);
    damage(&repository);
    let before = verify(&machine, &[]);
    assert_eq!(before.code(), Some(4), "{before}");
    repository.borg(&machine, "check --repair").env("BORG_CHECK_I_KNOW_WHAT_I_AM_DOING", "YES").run();
    let run = verify(&machine, &[]);
    assert_eq!(run.code(), Some(4), "{run}");
    let told = told(&run);
    assert_eq!(told["damaged"][0]["path"], VOLUME, "{told}");
    let ranges = told["damaged"][0]["ranges"].as_array().unwrap();
    assert!(!ranges.is_empty() && ranges[0][0].as_u64() < ranges[0][1].as_u64(), "{told}");
    assert!(told["damaged"][0]["why"].as_str().unwrap().contains("check --repair"), "{told}");
    let said = restore(&machine, &machine.path("out/new"), &[]).fails();
    assert!(said.contains("check --repair") && said.contains(&format!("bytes {}", ranges[0][0])), "{said}");
}

#[test]
fn what_fails_on_this_machine_is_no_damage() {
    let Some(flavour) = Flavour::any() else { return };
    let (mut machine, repository) = archived(flavour, &image(4, 0));
    // More segments than the program may have open.
    let few = format!("ulimit -n 20; exec {:?} --config {:?} verify {ARCHIVE}", binary(), machine.config());
    let run = machine.program("sh").args(["-c", &few]).run();
    assert!(matches!(run.code(), Some(0 | 1)), "{run}");
    assert!(!run.stdout().contains("damaged:"), "{run}");
    // A data file that may not be read, by one who is not root.
    if !available(&[Need::Root]) {
        return;
    }
    machine.hand_over();
    let segment = largest_segment(&repository);
    Program::new("chown").arg("0:0").arg(&segment).ok();
    Program::new("chmod").arg("600").arg(&segment).ok();
    let run = machine.run(["verify", ARCHIVE]);
    assert_eq!(run.code(), Some(1), "{run}");
    assert!(!run.stdout().contains("damaged:") && run.stderr().contains("Permission denied"), "{run}");
}

#[test]
fn a_name_with_a_slash_behind_it_or_a_colon_in_it_is_asked_of_the_archive() {
    let Some(flavour) = Flavour::any() else { return };
    let (machine, repository) = archived(flavour, &image(2, 0));
    std::fs::create_dir(machine.source().join("odd:")).unwrap();
    std::fs::write(machine.source().join("odd:/x"), "odd").unwrap();
    repository.create_with(&machine, "two", &SMALL_CHUNKS);
    for path in ["tank/work/", "odd:/x", "odd:/"] {
        let run = machine.offsite(["verify"]).args(["::two", path]).run();
        assert_eq!(run.code(), Some(0), "{run}");
    }
}
