//! Which source is taken, when it is left to us, and how both ask for keys and permission.

use std::path::PathBuf;

use crate::common::{
    ARCHIVE, DAY, Flavour, Machine, Mounted, Need, Repository, Run, SOURCES, available, each_borg,
};
use crate::scene::archived;

const FALLBACK: &str = "streams of borg are used";

fn letter(source: &std::path::Path) {
    std::fs::write(source.join("letter"), b"dear reader").unwrap();
}

/// A repository of the mode `encryption` that has a letter.
fn scene(flavour: Flavour, encryption: &str, passphrase: &str) -> (Machine, Repository) {
    let mut machine = Machine::new(flavour);
    letter(&machine.source());
    machine.set_variable("BORG_PASSPHRASE", passphrase);
    let repository = Repository::init(&machine, encryption);
    repository.create(&machine, DAY);
    (machine, repository)
}

/// Mounts with `source`; if that works, the letter is read and the mount ended.
fn mount(machine: &Machine, source: &str) -> Run {
    let run = Mounted::command(machine, ARCHIVE, &machine.mount_point(), &["--source", source]).run();
    if run.code() == Some(0) {
        let mounted = Mounted::at(machine.mount_point());
        assert_eq!(std::fs::read(mounted.path("letter")).unwrap(), b"dear reader");
        mounted.umount(machine);
    }
    run
}

#[track_caller]
fn assert_refused(run: &Run, why: &str) {
    assert!(run.code() != Some(0) && run.stderr().contains(why), "{run}");
    assert!(!run.stderr().contains(FALLBACK), "{run}");
}

/// The directory of the one repository in borg's security database.
fn security(machine: &Machine) -> PathBuf {
    let database = machine.path("home/.config/borg/security");
    std::fs::read_dir(database).unwrap().next().unwrap().unwrap().path()
}

#[test]
fn left_to_us_chunks_are_read_without_a_word() {
    if !available(&[Need::Fuse]) {
        return;
    }
    each_borg(|flavour| {
        let (machine, _repository) = archived(flavour, letter);
        let run = mount(&machine, "auto");
        assert!(
            run.stdout().contains("(native source,") || run.stderr().contains("(native source,"),
            "{run}"
        );
        assert!(!run.stderr().contains("warning"), "{run}");
    });
}

#[test]
fn what_only_borg_can_read_is_read_through_streams_and_one_line_says_why() {
    if !available(&[Need::Fuse]) || !Flavour::V14.is_installed() {
        return;
    }
    let (mut machine, _repository) = scene(Flavour::V14, "authenticated", "forgotten");
    machine.set_variable("BORG_PASSPHRASE", "guessed");
    assert_refused(&mount(&machine, "auto"), "the passphrase is wrong for the key in");
    machine.set_variable("BORG_WORKAROUNDS", "authenticated_no_key");
    let run = mount(&machine, "auto");
    assert_eq!(run.code(), Some(0), "{run}");
    let warnings: Vec<_> =
        run.stderr().lines().filter(|l| l.contains("warning:")).map(String::from).collect();
    assert_eq!(warnings.len(), 1, "{run}");
    assert!(warnings[0].contains(FALLBACK) && warnings[0].contains("without the key"), "{run}");
    assert_refused(&mount(&machine, "native"), "`--source stream` can");
}

#[test]
fn a_repository_that_is_older_than_borg_saw_it_is_refused_by_both() {
    if !available(&[Need::Fuse]) {
        return;
    }
    let Some(flavour) = Flavour::any() else { return };
    let (machine, _repository) = archived(flavour, letter);
    std::fs::write(security(&machine).join("manifest-timestamp"), "2999-01-01T00:00:00.000000").unwrap();
    assert_refused(&mount(&machine, "auto"), "borg has seen one from 2999-01-01");
    assert_refused(&mount(&machine, "stream"), "");
}

#[test]
fn a_manifest_with_a_flipped_bit_is_refused_and_streams_are_not_even_tried() {
    if !available(&[Need::Fuse]) {
        return;
    }
    let Some(flavour) = Flavour::any() else { return };
    let (machine, repository) = archived(flavour, letter);
    // The manifest is the last object, before the segment that holds nothing but a commit.
    let mut segments: Vec<_> =
        std::fs::read_dir(repository.dir().join("data/0")).unwrap().map(|e| e.unwrap().path()).collect();
    segments.sort_by_key(|path| path.file_name().unwrap().to_str().unwrap().parse::<u32>().unwrap());
    let manifest = &segments[segments.len() - 2];
    let mut bytes = std::fs::read(manifest).unwrap();
    let end = bytes.len();
    bytes[end - 20] ^= 1;
    std::fs::write(manifest, bytes).unwrap();
    assert_refused(&mount(&machine, "auto"), "data integrity error");
}

#[test]
fn a_repository_that_anybody_could_have_made_is_refused_when_borg_never_used_it() {
    if !available(&[Need::Fuse]) {
        return;
    }
    let Some(flavour) = Flavour::any() else { return };
    for encryption in ["none", "authenticated", "repokey"] {
        let (mut machine, _repository) = scene(flavour, encryption, "");
        std::fs::remove_dir_all(security(&machine)).unwrap();
        std::fs::remove_dir_all(machine.path("home/.cache/borg")).unwrap();
        machine.set_variable("BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK", "no");
        assert_refused(&mount(&machine, "auto"), "is not encrypted, and this account never used it before");
        // Also with borg, which asks; here nobody answers.
        assert_refused(&mount(&machine, "stream"), "");
        machine.set_variable("BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK", "yes");
        for source in SOURCES {
            let run = mount(&machine, source);
            assert_eq!(run.code(), Some(0), "{run}");
        }
    }
}

#[test]
fn a_key_in_borgs_own_directory_is_found_and_named() {
    if !available(&[Need::Fuse]) {
        return;
    }
    let Some(flavour) = Flavour::any() else { return };
    let (mut machine, _repository) = scene(flavour, "keyfile", "right");
    let directory = machine.path("home/.config/borg/keys");
    std::fs::create_dir_all(&directory).unwrap();
    std::fs::rename(machine.path("home/key"), directory.join("moved here")).unwrap();
    assert_eq!(mount(&machine, "auto").code(), Some(0));
    machine.set_variable("BORG_PASSPHRASE", "wrong");
    let named = format!("the passphrase is wrong for the key in {}", directory.join("moved here").display());
    assert_refused(&mount(&machine, "auto"), &named);
    machine.set_variable("BORG_KEYS_DIR", machine.path("out"));
    assert_refused(&mount(&machine, "auto"), "there is no key for");
}
