//! Every kind of key, chunker and compression: the same files come out that went in.

use crate::common::{Flavour, Machine, NastyTree, Random, Repository, each_borg};
use crate::scene::{archive, assert_right, items, open, open_with, put};
use borg_repository::{Error, Local};
use std::sync::Arc;

const MODES: [&str; 7] = [
    "none",
    "authenticated",
    "authenticated-blake2",
    "repokey",
    "repokey-blake2",
    "keyfile",
    "keyfile-blake2",
];

#[test]
fn every_item_and_byte_of_a_nasty_tree_is_right_with_every_key() {
    each_borg(|flavour| {
        for mode in MODES {
            eprintln!("{mode}");
            let machine = Machine::new(flavour);
            NastyTree::make(machine.source().join("tree"));
            let borg = Repository::init(&machine, mode);
            borg.create(&machine, "a");
            let repository = open(&machine, borg.dir()).unwrap();
            assert_right(&machine, &borg, &repository, "a");
        }
    });
}

#[test]
fn every_chunker_gives_the_same_bytes() {
    let chunkers: [(&str, &[&str]); 5] = [
        ("default", &[]),
        ("buzhash,10,14,12,4095", &["--chunker-params", "buzhash,10,14,12,4095"]),
        ("fixed,4096", &["--chunker-params", "fixed,4096"]),
        ("fixed,65536,512", &["--chunker-params", "fixed,65536,512", "--sparse"]),
        ("fixed,4194304", &["--chunker-params", "fixed,4194304", "--sparse"]),
    ];
    each_borg(|flavour| {
        let machine = Machine::new(flavour);
        let mut random = Random::new(7);
        let mut image = random.bytes(9_000_000);
        image[1_000_000..6_000_000].fill(0);
        put(&machine, "image", &image);
        put(&machine, "zeros", &vec![0; 20 << 20]);
        let borg = Repository::init(&machine, "repokey-blake2");
        for (at, (name, options)) in chunkers.iter().enumerate() {
            eprintln!("{name}");
            borg.create_with(&machine, &at.to_string(), options);
            let repository = open(&machine, borg.dir()).unwrap();
            assert_right(&machine, &borg, &repository, &at.to_string());
            let items = items(&repository, &archive(&repository, &at.to_string()).unwrap()).unwrap();
            for (item, lists) in &items {
                let zeros = lists.chunks.iter().filter(|chunk| repository.is_zero(chunk)).count();
                match item.path.as_bytes() {
                    b"zeros" => assert_eq!(zeros, lists.chunks.len(), "{name}"),
                    _ => assert!(zeros < lists.chunks.len(), "{name}"),
                }
            }
        }
    });
}

#[test]
fn a_wrong_passphrase_and_a_missing_key_file_have_errors_of_their_own() {
    let Some(flavour) = Flavour::any() else { return };
    for mode in ["repokey", "keyfile", "authenticated-blake2"] {
        let mut machine = Machine::new(flavour);
        machine.set_variable("BORG_PASSPHRASE", "ünïcode pass");
        let borg = Repository::init(&machine, mode);
        let open = |passphrases: &[&[u8]]| {
            open_with(&machine, Arc::new(Local::open(borg.dir()).unwrap()), passphrases)
        };
        assert!(open(&[b"wrong", "ünïcode pass".as_bytes()]).is_ok());
        assert!(matches!(open(&[b"", b"other"]), Err(Error::Passphrase(_))));
        assert!(matches!(open(&[]), Err(Error::Passphrase(_))));
        if mode == "keyfile" {
            std::fs::remove_file(machine.path("home/key")).unwrap();
            assert!(matches!(open(&["ünïcode pass".as_bytes()]), Err(Error::NoKey(_))));
        }
    }
}
