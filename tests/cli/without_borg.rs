//! `list` and `info` on a machine that has no borg, beside borg's own.

use serde_json::Value;

use crate::common::{ARCHIVE, DAY, Flavour, Machine, NastyTree, Program, Repository, Run};

/// Every key that needs neither borg's cache nor the bytes of files.
const EVERY_KEY: &str = "{type}|{mode}|{uid:>6}|{gid:<6}|{user:7}|{group}|{type:.3}|{path}|{source}|{linktarget}\
    |{size:9}|{csize}|{num_chunks}|{mtime}|{ctime:%s}|{atime:%F}|{isomtime}|{isoctime}|{isoatime}\
    |{archiveid}|{archivename:*^20}|{extra}|{health}{TAB}{{}}{NUL}";

/// A repository of `flavour` with an archive of the nasty tree, and one more.
fn archived(flavour: Flavour) -> (Machine, Repository) {
    let machine = Machine::new(flavour);
    NastyTree::make(machine.source().join("tree"));
    let repository = Repository::init(&machine, "repokey-blake2");
    repository.create_with(&machine, DAY, &["--comment", "a 'comment' ü"]);
    std::fs::remove_dir_all(machine.source().join("tree")).unwrap();
    machine.write("source/letter", "dear");
    repository.create(&machine, "2026-03-15");
    (machine, repository)
}

/// Borg 1.4 leaves out what is less than a second of an archive's times.
fn whole_seconds(json: Value) -> Value {
    match json {
        Value::String(text) => match text.rsplit_once('.') {
            Some((time, micros)) if micros.len() == 6 && time.contains('T') => time.into(),
            _ => text.into(),
        },
        Value::Array(list) => list.into_iter().map(whole_seconds).collect(),
        Value::Object(map) => map.into_iter().map(|(name, value)| (name, whole_seconds(value))).collect(),
        other => other,
    }
}

fn both(machine: &Machine, repository: &Repository, words: &[&str]) -> (Run, Run) {
    let zone = |program: Program| program.env("TZ", "Australia/Lord_Howe");
    let borg = zone(repository.borg(machine, words[0])).args(&words[1..]).ok();
    let ours = zone(machine.offsite(words)).env("PATH", "/nowhere").run().exits(0);
    (ours, borg)
}

#[test]
fn what_is_listed_is_what_each_borg_lists() {
    for flavour in [Flavour::V11, Flavour::V12, Flavour::V14] {
        if !flavour.is_installed() {
            continue;
        }
        let (machine, repository) = archived(flavour);
        for words in [
            &["list"][..],
            &["list", "--short"],
            &["list", "--format", "{archive:<20.12}|{time:%F %T}|{id}|{comment}|{hostname}|{username}{NL}"],
            &["list", "--last", "1", "--sort-by", "name", "--short"],
            &["list", "-P", "2026-03-1", "--first", "1", "--short"],
            &["list", "-a", "*-15", "--short"],
            &["list", ARCHIVE],
            &["list", "--short", ARCHIVE],
            &["list", ARCHIVE, "tree/names", "sh:tree/dir*/**"],
            &["list", "--short", "-e", "tree/names", ARCHIVE],
            &["list", "--format", EVERY_KEY, ARCHIVE],
        ] {
            let (ours, borg) = both(&machine, &repository, words);
            let lines = |run: &Run| -> Vec<String> {
                let lines = run.stdout.split(|byte| matches!(byte, b'\n' | 0));
                lines.map(|line| line.escape_ascii().to_string()).collect()
            };
            for (ours, borg) in lines(&ours).iter().zip(lines(&borg)) {
                assert_eq!(*ours, borg, "{flavour:?} {words:?}");
            }
            assert!(ours.stdout.len() == borg.stdout.len(), "{flavour:?} {words:?}");
        }
    }
}

#[test]
fn json_has_borgs_members() {
    let Some(flavour) = Flavour::any() else { return };
    let (machine, repository) = archived(flavour);
    let (ours, borg) =
        both(&machine, &repository, &["list", "--json", "--format", "{comment}{end}{command_line}"]);
    let of = |run: &Run| whole_seconds(serde_json::from_slice(&run.stdout).unwrap());
    assert_eq!(of(&ours), of(&borg));

    let (ours, borg) = both(&machine, &repository, &["list", "--json-lines", ARCHIVE]);
    let lines = |run: &Run| {
        let text = String::from_utf8(run.stdout.clone()).unwrap();
        text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(lines(&ours), lines(&borg));

    let (ours, borg) = both(&machine, &repository, &["info", "--json", ARCHIVE]);
    let (ours, mut borg) = (of(&ours), of(&borg));
    assert_eq!(ours["repository"], borg["repository"]);
    // Only borg's cache knows these.
    let archive = borg["archives"][0].as_object_mut().unwrap();
    archive.remove("limits");
    let stats = archive["stats"].as_object_mut().unwrap();
    stats.remove("deduplicated_size");
    assert_eq!(ours["archives"][0]["stats"]["original_size"], stats["original_size"]);
    // Borg also counts the archive's metadata.
    assert!(stats["compressed_size"].as_u64() >= ours["archives"][0]["stats"]["compressed_size"].as_u64());
    for (name, value) in borg["archives"][0].as_object().unwrap() {
        if name != "stats" {
            assert_eq!(ours["archives"][0][name], *value, "{name}");
        }
    }
}

#[test]
fn info_says_what_it_lacks() {
    let Some(flavour) = Flavour::any() else { return };
    let (machine, repository) = archived(flavour);
    let (ours, borg) = both(&machine, &repository, &["info", ARCHIVE]);
    for line in ours.stdout().lines().filter(|line| !line.contains(" size: ")) {
        assert!(borg.stdout().contains(line), "{line}\n{borg}");
    }
    assert!(ours.stderr().contains("deduplicated sizes are left out"), "{ours}");
    let (ours, borg) = both(&machine, &repository, &["info"]);
    for line in ours.stdout().lines().take(2) {
        assert!(borg.stdout().contains(line), "{line}\n{borg}");
    }
}

#[test]
fn what_needs_borg_is_refused_by_name() {
    let Some(flavour) = Flavour::any() else { return };
    let (machine, _) = archived(flavour);
    for (words, expected) in [
        (&["list", "--format", "{sha256}", ARCHIVE][..], "no `sha256`"),
        (&["list", "--pattern", "+ x", ARCHIVE], "--pattern"),
        (&["list", "--json", ARCHIVE], "--json-lines"),
        (&["list", "--json-lines"], "not archives"),
        (&["list", "re:(?=x)", ARCHIVE], "`list` without borg"),
        (&["list", ARCHIVE, "re:(?=x)"], "re:(?=x)"),
    ] {
        let run = machine.offsite(words).env("PATH", "/nowhere").run().exits(2);
        assert!(run.stderr().contains(expected), "{words:?}: {run}");
    }
    let run = machine.offsite(["check"]).env("PATH", "/nowhere").run().exits(1);
    assert!(run.stderr().contains("cannot start borg"), "{run}");
    let help = machine.offsite(["list", "--help"]).env("PATH", "/nowhere").run().exits(0);
    assert!(help.stdout().contains("without borg"), "{help}");
}

#[test]
fn an_archive_is_named_by_its_day_and_paths_are_printed_byte_by_byte() {
    let Some(flavour) = Flavour::any() else { return };
    let (machine, _) = archived(flavour);
    let run = machine.offsite(["list", "--short", "::latest"]).env("PATH", "/nowhere").run().exits(0);
    assert_eq!(run.stdout(), "letter\n");
    // Borg prints `?` for bytes that are not UTF-8, unless the locale is C.
    let listed = machine.offsite(["list", "--format", "{bpath}{NUL}", ARCHIVE, "tree/names"]);
    let listed = listed.env("PATH", "/nowhere").run().exits(0).stdout;
    assert!(listed.split(|b| *b == 0).any(|path| path == b"tree/names/raw\xff\xfebytes"));
    let first_line = ["sh", "-c", "PATH=/nowhere \"$@\" | /usr/bin/head -n 1", "sh"];
    let run = machine.offsite(["list", "--short", ARCHIVE]).under(first_line).run().exits(0);
    assert_eq!(run.stdout(), "tree\n", "{run}");
}
