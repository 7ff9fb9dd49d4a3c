//! The start of nearly every test: a machine whose repository holds one archive of a few files.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::common::{DAY, FakeBorg, Flavour, Machine, Random, Repository};

/// What `fill` writes into the source directory, archived as [`DAY`].
pub fn archived(flavour: Flavour, fill: impl FnOnce(&Path)) -> (Machine, Repository) {
    let machine = Machine::new(flavour);
    fill(&machine.source());
    let repository = Repository::init(&machine, "repokey-blake2");
    repository.create(&machine, DAY);
    (machine, repository)
}

/// The same, with the fake borg between the program and the real one.
pub fn archived_behind_fake(flavour: Flavour, fill: impl FnOnce(&Path)) -> (Machine, Repository, FakeBorg) {
    let (mut machine, repository) = archived(flavour, fill);
    let fake = FakeBorg::install(&mut machine);
    (machine, repository, fake)
}

/// A file `name` of `len` bytes that no compression shortens.
pub fn write_random(dir: &Path, name: &str, len: usize) {
    std::fs::write(dir.join(name), Random::new(len as u64).bytes(len)).unwrap();
}

/// Whether reading failed with EIO, as a read that cannot be answered must.
#[track_caller]
pub fn assert_eio<T>(result: io::Result<T>) {
    match result {
        Ok(_) => panic!("the read succeeded"),
        Err(e) => assert_eq!(e.raw_os_error(), Some(libc::EIO), "{e}"),
    }
}

/// `len` bytes at `offset`, or what there is of them.
pub fn read_at(file: &File, offset: u64, len: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; len];
    let mut done = 0;
    while done < len {
        match file.read_at(&mut bytes[done..], offset + done as u64)? {
            0 => break,
            n => done += n,
        }
    }
    bytes.truncate(done);
    Ok(bytes)
}

/// What is in a directory, sorted.
pub fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).unwrap();
    let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}
