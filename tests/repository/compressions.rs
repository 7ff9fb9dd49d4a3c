//! Every compression that borg writes, mixed in one archive.

use crate::common::{Flavour, Machine, Random, Repository, each_borg};
use crate::scene::{assert_right, open, put};

const COMPRESSIONS: [&str; 10] = [
    "none",
    "lz4",
    "zstd,1",
    "zstd,19",
    "zlib,1",
    "zlib,9",
    "lzma,6",
    "auto,lzma,0",
    "obfuscate,1,zstd,3",
    "obfuscate,110,none",
];

#[test]
fn every_compression_gives_the_same_bytes() {
    each_borg(|flavour| {
        for mode in ["repokey", "none"] {
            let machine = Machine::new(flavour);
            let borg = Repository::init(&machine, mode);
            let mut random = Random::new(3);
            for (at, compression) in COMPRESSIONS.iter().enumerate() {
                // New files with each, as chunks that are already there keep their compression.
                let text = format!("{compression} {}\n", random.next()).repeat(60_000);
                put(&machine, &format!("text {at}"), text.as_bytes());
                put(&machine, &format!("noise {at}"), &random.bytes(600_000));
                put(&machine, &format!("byte {at}"), &[at as u8]);
                borg.create_with(&machine, &at.to_string(), &["--compression", compression]);
            }
            let repository = open(&machine, borg.dir()).unwrap();
            let last = (COMPRESSIONS.len() - 1).to_string();
            assert_right(&machine, &borg, &repository, &last);
        }
    });
}

#[test]
fn an_archive_that_was_recompressed_gives_the_same_bytes() {
    let Some(flavour) = Flavour::any() else { return };
    let machine = Machine::new(flavour);
    let borg = Repository::init(&machine, "repokey-blake2");
    put(&machine, "text", "again and again\n".repeat(200_000).as_bytes());
    borg.create_with(&machine, "a", &["--compression", "none"]);
    borg.borg(&machine, "recreate --compression zlib,6 --recompress always").ok();
    // The lengths that the archive lists are no longer those of the objects.
    let repository = open(&machine, borg.dir()).unwrap();
    assert_right(&machine, &borg, &repository, "a");
}
