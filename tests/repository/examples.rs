//! The examples of the reader, beside borg.

// Each example has `common` as a module of its own.
#![allow(clippy::duplicate_mod)]

use std::ffi::OsString;
use std::io::Write;

use borg_repository::Id;

use crate::common::{Flavour, Machine, Random, Repository};
use crate::damage::{entries, flip};
use crate::scene::{archive, items, open, put};

#[path = "../../crates/borg-repository/examples/cat.rs"]
mod cat;
#[path = "../../crates/borg-repository/examples/list.rs"]
mod list;
#[path = "../../crates/borg-repository/examples/verify.rs"]
mod verify;

type Example = fn(&[OsString], &[u8], &mut dyn Write) -> Result<(), Box<dyn std::error::Error>>;

/// What an example writes about the repository, and the error that it ends with.
fn output(example: Example, borg: &Repository, arguments: &[&str]) -> (Vec<u8>, Option<String>) {
    let dir = borg.dir().as_os_str().to_owned();
    let arguments: Vec<OsString> = [dir].into_iter().chain(arguments.iter().map(Into::into)).collect();
    let mut out = Vec::new();
    let error = example(&arguments, b"", &mut out).err().map(|e| e.to_string());
    (out, error)
}

/// A repository with the archives `a` and `b`, and the content of their file `dir/noise`.
fn made(flavour: Flavour) -> (Machine, Repository, Vec<u8>) {
    let machine = Machine::new(flavour);
    let noise = Random::new(3).bytes(3 << 20);
    put(&machine, "text", b"words");
    std::fs::create_dir(machine.source().join("dir")).unwrap();
    put(&machine, "dir/noise", &noise);
    std::fs::hard_link(machine.source().join("dir/noise"), machine.source().join("link")).unwrap();
    let borg = Repository::init(&machine, "repokey-blake2");
    borg.create(&machine, "a");
    borg.create(&machine, "b");
    (machine, borg, noise)
}

#[test]
fn list_lists_what_borg_lists() {
    let Some(flavour) = Flavour::any() else { return };
    let (machine, borg, _) = made(flavour);
    let archives = borg.borg(&machine, "list --short").ok();
    assert_eq!(output(list::run, &borg, &[]), (archives.stdout().into(), None));
    let listed = borg.borg(&machine, "list --format").args(["{size} {path}{NL}", "::a"]).ok();
    let (out, error) = output(list::run, &borg, &["a"]);
    assert_eq!((String::from_utf8(out).unwrap(), error), (listed.stdout().to_string(), None));
}

#[test]
fn cat_writes_what_is_in_a_file_also_behind_a_hard_link() {
    let Some(flavour) = Flavour::any() else { return };
    let (_sandbox, borg, noise) = made(flavour);
    for path in ["dir/noise", "link"] {
        assert!(output(cat::run, &borg, &["b", path]) == (noise.clone(), None), "{path}");
    }
    for path in ["dir", "none", "../text"] {
        assert!(output(cat::run, &borg, &["b", path]).1.is_some(), "{path}");
    }
}

#[test]
fn verify_names_the_files_with_a_damaged_chunk() {
    let Some(flavour) = Flavour::any() else { return };
    let (machine, borg, _) = made(flavour);
    let (out, error) = output(verify::run, &borg, &["a"]);
    let out = String::from_utf8(out).unwrap();
    assert!(error.is_none() && out.ends_with(" bytes, 0 chunks damaged\n"), "{out} {error:?}");

    let repository = open(&machine, borg.dir()).unwrap();
    let items = items(&repository, &archive(&repository, "a").unwrap()).unwrap();
    let (_, lists) = items.iter().find(|(item, _)| item.path.as_bytes() == b"text").unwrap();
    let hit: Id = lists.chunks[0].id;
    let (path, _, range) = entries(borg.dir()).into_iter().find(|(_, id, _)| *id == hit).unwrap();
    flip(&path, range.end - 1, 0);
    let (out, error) = output(verify::run, &borg, &["a"]);
    let out = String::from_utf8(out).unwrap();
    assert!(out.starts_with("text: data integrity error: ") && out.lines().count() == 2, "{out}");
    assert_eq!(error.as_deref(), Some("the archive is damaged"));
}
