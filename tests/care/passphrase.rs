//! Where the passphrase comes from when nobody gave one: root's file for services, the empty one, a person.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::process::Command;

use crate::machine::own_directory;
use crate::terminal::on_terminal;
use crate::world::{Ran, World, today};

const STORED: &str = "/etc/credstore/borg-offsite-backup.passphrase";
const QUESTION: &str = "Passphrase for the key of ";

/// With a repository whose key has the passphrase, an archive in it, and an empty credstore.
fn world(mode: &str, passphrase: &str) -> World {
    let mut world = World::without_repository();
    world.write("data/x", "content");
    world.list(&["data"]);
    world.set("backup_path", world.path("repository").to_str().unwrap());
    for args in [&["init", "-e", mode][..], &["create"]] {
        let ran = Ran::from(world.command(args).env("BORG_PASSPHRASE", passphrase).output().unwrap());
        ran.succeeds();
    }
    own_directory(&world, "/etc");
    fs::create_dir("/etc/credstore").unwrap();
    world
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
        let world = world(mode, "sesame");
        for args in KINDS {
            assert_ne!(world.run(args).code, Some(0), "{args:?}");
        }
        store("sesame");
        for args in KINDS {
            world.run(args).succeeds();
        }
        let said = world.run(&["check-config"]).succeeds().stdout;
        assert!(said.contains(&format!("passphrase  from {STORED}")), "{said}");
        let wrong = Ran::from(world.command(&["list"]).env("BORG_PASSPHRASE", "no").output().unwrap());
        assert_eq!(wrong.code, Some(2), "what the user says goes first");
    });
}

#[test]
fn a_key_with_an_empty_passphrase_works_beside_it() {
    each(&["keyfile-blake2", "repokey", "none"], |mode| {
        let world = world(mode, "");
        store("sesame");
        for args in KINDS {
            world.run(args).succeeds();
        }
    });
}

#[test]
fn only_a_file_of_roots_that_nobody_else_can_read_is_taken() {
    let world = world("keyfile-blake2", "sesame");
    let refused = |why: &str| {
        let ran = world.run(&["create", "--if-exists", "skip"]);
        assert!(ran.code == Some(1) && ran.stderr.contains("none was given"), "{why}: {}", ran.stderr);
        assert!(
            ran.stderr.contains(&format!("{STORED} is not used: ")) && ran.stderr.contains(why),
            "{}",
            ran.stderr
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
    let world = world("keyfile-blake2", "sesame");
    store("sesame");
    let place = world.path("repository");
    let place = place.to_str().unwrap();
    for args in [vec!["list", place], vec!["list", &*format!("{place}::{}", today())]] {
        let ran = world.run(&args);
        assert_eq!(ran.code, Some(2), "{args:?}: {}", ran.stdout);
    }
}

#[test]
fn without_a_passphrase_and_a_terminal_that_is_what_is_said() {
    each(&["keyfile-blake2", "repokey"], |mode| {
        let world = world(mode, "sesame");
        for args in KINDS {
            let ran = world.run(args);
            assert!(ran.code != Some(0) && !ran.stderr.contains("incorrect"), "{args:?}: {}", ran.stderr);
        }
        for args in &KINDS[1..] {
            let said = world.run(args).stderr;
            assert!(said.contains("has a passphrase, and none was given"), "{args:?}: {said}");
        }
    });
}

#[test]
fn a_person_at_a_terminal_is_asked() {
    let world = world("keyfile-blake2", "sesame");
    let ask = |args: &[&str], dialogue: &[(&str, &str)]| {
        let mut command: Command = world.command(args);
        let path = format!("{}:/usr/bin", std::env::var("PATH").unwrap());
        command.env("PATH", path).env("TERM", "dumb");
        let (status, screen) = on_terminal(command, dialogue);
        assert!(!screen.contains("sesame") && !screen.contains("wrong one"), "{screen}");
        (status.code(), screen)
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
    let world = world("repokey", "sesame");
    world.write("data/odd:/x", "content");
    let created = world
        .command(&["create", "--if-exists", "replace"])
        .env("BORG_PASSPHRASE", "sesame")
        .output()
        .unwrap();
    Ran::from(created).succeeds();
    let (path, to) = (world.path("data/odd:/x"), world.path("to"));
    let words = [path.to_str().unwrap().trim_start_matches('/'), "--to", to.to_str().unwrap()];
    let mut command = world.command(&[&["restore", "::latest"], &words[..]].concat());
    command.env("TERM", "dumb");
    let (status, screen) = on_terminal(command, &[(QUESTION, "sesame")]);
    assert!(status.success() && screen.matches(QUESTION).count() == 1, "{screen}");
}

#[test]
fn nobody_is_asked_for_a_passphrase_that_is_not_needed() {
    let world = world("repokey", "");
    for args in KINDS {
        let mut command = world.command(args);
        command.env("TERM", "dumb");
        let (status, screen) = on_terminal(command, &[]);
        assert!(status.success() && !screen.contains("assphrase"), "{args:?}: {screen}");
    }
}
