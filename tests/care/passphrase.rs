//! Where the passphrase comes from when nobody gave one: root's file for services, the empty one, a person.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};

use crate::common::{Machine, today};
use crate::installed::own_directory;

const STORED: &str = "/etc/credstore/borg-offsite-backup.passphrase";
const QUESTION: &str = "Passphrase for the key of ";

/// With a repository whose key has the passphrase, an archive in it, and an empty credstore.
fn machine(mode: &str, passphrase: &str) -> Machine {
    let mut machine = Machine::isolated();
    machine.write("data/x", "content");
    machine.list(&["data"]);
    for args in [&["init", "-e", mode][..], &["create"]] {
        machine.offsite(args).env("BORG_PASSPHRASE", passphrase).ok();
    }
    own_directory(&machine, "/etc");
    fs::create_dir("/etc/credstore").unwrap();
    machine
}

fn store(passphrase: &str) {
    fs::write(STORED, format!("{passphrase}\n")).unwrap();
    fs::set_permissions(STORED, fs::Permissions::from_mode(0o600)).unwrap();
}

/// Each on a thread of its own, and so in a machine of its own.
fn each(modes: &[&'static str], check: fn(&'static str)) {
    for mode in modes.iter().copied() {
        std::thread::spawn(move || check(mode)).join().unwrap();
    }
}

/// One of each kind: borg alone, chunks read by ourselves, borg as a child of ours.
const KINDS: [&[&str]; 4] =
    [&["list"], &["list", "::latest"], &["verify", "::latest"], &["create", "--if-exists", "skip"]];

#[test]
fn what_root_keeps_for_services_opens_the_key() {
    each(&["keyfile-blake2", "repokey"], |mode| {
        let machine = machine(mode, "sesame");
        for args in KINDS {
            assert_ne!(machine.run(args).code(), Some(0), "{args:?}");
        }
        store("sesame");
        for args in KINDS {
            machine.run(args).succeeds();
        }
        let said = machine.run(["check-config"]).succeeds().stdout();
        assert!(said.contains(&format!("passphrase  from {STORED}")), "{said}");
        let wrong = machine.offsite(["list"]).env("BORG_PASSPHRASE", "no").run();
        assert_eq!(wrong.code(), Some(2), "what the user says goes first");
    });
}

#[test]
fn a_key_with_an_empty_passphrase_works_beside_it() {
    each(&["keyfile-blake2", "repokey", "none"], |mode| {
        let machine = machine(mode, "");
        store("sesame");
        for args in KINDS {
            machine.run(args).succeeds();
        }
    });
}

#[test]
fn only_a_file_of_roots_that_nobody_else_can_read_is_taken() {
    let machine = machine("keyfile-blake2", "sesame");
    let refused = |why: &str| {
        let ran = machine.run(["create", "--if-exists", "skip"]);
        assert!(ran.code() == Some(1) && ran.stderr().contains("none was given"), "{why}: {}", ran.stderr());
        assert!(
            ran.stderr().contains(&format!("{STORED} is not used: ")) && ran.stderr().contains(why),
            "{}",
            ran.stderr()
        );
        fs::remove_file(STORED).unwrap();
    };
    store("sesame");
    fs::set_permissions(STORED, fs::Permissions::from_mode(0o640)).unwrap();
    refused("must belong to root, and have mode 0600");
    store("sesame");
    chown(STORED, Some(65534), None).unwrap();
    refused("must belong to root, and have mode 0600");
    store("sesame");
    fs::rename(STORED, "/etc/credstore/other").unwrap();
    symlink("/etc/credstore/other", STORED).unwrap();
    refused("symbolic link");
    nix::unistd::mkfifo(STORED, nix::sys::stat::Mode::S_IRWXU).unwrap();
    refused("no regular file");
}

#[test]
fn another_repository_is_not_handed_it() {
    let machine = machine("keyfile-blake2", "sesame");
    store("sesame");
    let place = machine.repository();
    let place = place.to_str().unwrap();
    for args in [vec!["list", place], vec!["list", &*format!("{place}::{}", today())]] {
        let ran = machine.run(&args);
        assert_eq!(ran.code(), Some(2), "{args:?}: {}", ran.stdout());
    }
}

#[test]
fn without_a_passphrase_and_a_terminal_that_is_what_is_said() {
    each(&["keyfile-blake2", "repokey"], |mode| {
        let machine = machine(mode, "sesame");
        for args in KINDS {
            let ran = machine.run(args);
            assert!(
                ran.code() != Some(0) && !ran.stderr().contains("incorrect"),
                "{args:?}: {}",
                ran.stderr()
            );
        }
        for args in &KINDS[1..] {
            let said = machine.run(*args).stderr();
            assert!(said.contains("has a passphrase, and none was given"), "{args:?}: {said}");
        }
    });
}

#[test]
fn a_person_at_a_terminal_is_asked() {
    let machine = machine("keyfile-blake2", "sesame");
    let ask = |args: &[&str], dialogue: &[(&str, &str)]| {
        let (code, screen) = machine.offsite(args).env("TERM", "dumb").on_terminal().answers(dialogue);
        assert!(!screen.contains("sesame") && !screen.contains("wrong one"), "{screen}");
        (code, screen)
    };
    for args in KINDS {
        let question = if *args == ["list"] { "Enter passphrase for key" } else { QUESTION };
        let (code, screen) = ask(args, &[(question, "wrong one"), (question, "sesame")]);
        assert_eq!(code, Some(0), "{args:?}: {screen}");
    }
    let (code, screen) = ask(&["verify", "::latest"], &[(QUESTION, "wrong one"); 3]);
    assert!(code == Some(1) && screen.contains("the passphrase is wrong for the key in"), "{screen}");
}

#[test]
fn a_person_is_asked_once_also_where_two_processes_open_the_key() {
    let machine = machine("repokey", "sesame");
    machine.write("data/odd:/x", "content");
    machine.offsite(["create", "--if-exists", "replace"]).env("BORG_PASSPHRASE", "sesame").ok();
    let (path, to) = (machine.path("data/odd:/x"), machine.path("to"));
    let words = [path.to_str().unwrap().trim_start_matches('/'), "--to", to.to_str().unwrap()];
    let restore = machine.offsite(["restore", "::latest"]).args(words).env("TERM", "dumb");
    let (code, screen) = restore.on_terminal().answers(&[(QUESTION, "sesame")]);
    assert!(code == Some(0) && screen.matches(QUESTION).count() == 1, "{screen}");
}

#[test]
fn nobody_is_asked_for_a_passphrase_that_is_not_needed() {
    let machine = machine("repokey", "");
    for args in KINDS {
        let (code, screen) = machine.offsite(args).env("TERM", "dumb").on_terminal().ends();
        assert!(code == Some(0) && !screen.contains("assphrase"), "{args:?}: {screen}");
    }
}
