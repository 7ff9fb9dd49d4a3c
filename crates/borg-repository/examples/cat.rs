//! Writes the content of a file in an archive of a local repository:
//!
//! `BORG_PASSPHRASE=… cargo run --example cat -- REPOSITORY ARCHIVE PATH`

mod common;

use std::ffi::OsString;
use std::io::Write;
use std::path::Path;

use borg_repository::{Archive, ChunkLists, FileType, ItemPath, Repository};
use common::Result;

pub fn run(arguments: &[OsString], passphrase: &[u8], out: &mut dyn Write) -> Result {
    let [dir, name, path] = arguments else { return Err("usage: cat REPOSITORY ARCHIVE PATH".into()) };
    let repository = common::open(Path::new(dir), passphrase)?;
    let archive = common::archive(&repository, name)?;
    let path = ItemPath::new(path.as_encoded_bytes()).ok_or("no file can have this path")?;
    for chunk in &content(&repository, &archive, &path)?.chunks {
        // Authenticated, decrypted, decompressed, and compared with its id.
        out.write_all(&repository.read_chunk(chunk)?)?;
    }
    Ok(())
}

/// The chunks of the file at `path`.
fn content(repository: &Repository, archive: &Archive, path: &ItemPath) -> Result<ChunkLists> {
    let mut found = None;
    repository.items(
        archive,
        || Ok(()),
        |item, chunks| {
            if item.path == *path {
                found = Some((item, chunks.clone()));
            }
        },
    )?;
    let (item, chunks) = found.ok_or_else(|| format!("there is no {path} in the archive"))?;
    match (FileType::from_mode(item.mode), item.source.as_deref().and_then(ItemPath::new)) {
        (Some(FileType::File), None) => Ok(chunks),
        // A hard link names the item that has the content.
        (Some(FileType::File), Some(master)) if master != *path => content(repository, archive, &master),
        _ => Err(format!("{path} is no file").into()),
    }
}

#[allow(dead_code)]
fn main() -> Result {
    common::main(run)
}
