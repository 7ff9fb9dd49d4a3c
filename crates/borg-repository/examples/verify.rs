//! Reads all content of an archive of a local repository, and names the files that are damaged:
//!
//! `BORG_PASSPHRASE=… cargo run --example verify -- REPOSITORY ARCHIVE`

mod common;

use std::collections::HashMap;
use std::ffi::OsString;
use std::io::Write;
use std::path::Path;

use borg_repository::{Authenticity, Chunk, Id};
use common::Result;

pub fn run(arguments: &[OsString], passphrase: &[u8], out: &mut dyn Write) -> Result {
    let [dir, name] = arguments else { return Err("usage: verify REPOSITORY ARCHIVE".into()) };
    let repository = common::open(Path::new(dir), passphrase)?;
    let archive = common::archive(&repository, name)?;
    if archive.authenticity != Authenticity::Authenticated {
        return Err("nobody with the key vouches for the archive".into());
    }
    let mut files = Vec::new();
    repository.items(&archive, || Ok(()), |item, lists| files.push((item, lists.chunks.clone())))?;
    let all = files.iter().flat_map(|(_, chunks)| chunks);
    let unique: Vec<Chunk> =
        all.map(|chunk| (chunk.id, *chunk)).collect::<HashMap<_, _>>().into_values().collect();

    let mut damage: HashMap<Id, String> = HashMap::new();
    // Several at once are hashed faster than one by one.
    for batch in unique.chunks(8) {
        let requests = batch.iter().map(|chunk| repository.request_chunk(chunk)).collect();
        for (chunk, plain) in batch.iter().zip(repository.receive_all(requests)) {
            match plain {
                Err(error) if error.is_damage() => damage.insert(chunk.id, error.to_string()),
                plain => plain.map(|_| None)?,
            };
        }
    }
    let broken = |chunks: &[Chunk]| chunks.iter().find_map(|chunk| damage.get(&chunk.id));
    for (item, why) in files.iter().filter_map(|(item, chunks)| Some((item, broken(chunks)?))) {
        writeln!(out, "{}: {why}", item.path)?;
    }
    let bytes: u64 = files.iter().map(|(item, _)| item.size).sum();
    writeln!(out, "{} items, {bytes} bytes, {} chunks damaged", files.len(), damage.len())?;
    if damage.is_empty() { Ok(()) } else { Err("the archive is damaged".into()) }
}

#[allow(dead_code)]
fn main() -> Result {
    common::main(run)
}
