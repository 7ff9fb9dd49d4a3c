//! Opening repositories, and comparing all that is in an archive with what went into it.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use borg_repository::{
    Archive, Authenticity, Chunk, ChunkLists, Credentials, FileType, Item, Local, Repository, Result,
    SecurityRules, Store,
};
use zeroize::Zeroizing;

use crate::common::{self, Machine};

/// Opens what is in `store`, with the passphrase, key and security database of the machine.
pub fn open_store(machine: &Machine, store: Arc<dyn Store>) -> Result<Repository> {
    open_with(machine, store, &[b""])
}

pub fn open_with(machine: &Machine, store: Arc<dyn Store>, passphrases: &[&[u8]]) -> Result<Repository> {
    let mut passphrases = passphrases.iter().map(|p| Zeroizing::new(p.to_vec()));
    let key_files: [PathBuf; 1] = [machine.path("home/key")];
    Repository::open(
        store,
        Credentials {
            key_files: &key_files,
            passphrases: &mut || passphrases.next().map(Into::into),
            security: Some(SecurityRules {
                database: machine.path("home/.config/borg/security"),
                location: machine.repository().to_str().unwrap().to_owned(),
                may_have_moved: false,
                may_be_unknown: false,
            }),
            may_lack_key: false,
        },
    )
}

pub fn open(machine: &Machine, dir: &Path) -> Result<Repository> {
    open_store(machine, Arc::new(Local::open(dir)?))
}

/// The archive of this name.
pub fn archive(repository: &Repository, name: &str) -> Result<Archive> {
    let manifest = repository.manifest();
    let entry = manifest.archives.iter().find(|entry| entry.name == name.as_bytes());
    repository.archive(&entry.unwrap_or_else(|| panic!("no archive {name}")).id)
}

pub fn items(repository: &Repository, archive: &Archive) -> Result<Vec<(Item, ChunkLists)>> {
    let mut items = Vec::new();
    repository.items(archive, || Ok(()), |item, chunks| items.push((item, chunks.clone())))?;
    Ok(items)
}

/// Every chunk, once.
pub fn chunks(items: &[(Item, ChunkLists)]) -> Vec<Chunk> {
    let mut chunks: Vec<Chunk> = items.iter().flat_map(|(_, lists)| lists.chunks.clone()).collect();
    chunks.sort_by_key(|chunk| chunk.id);
    chunks.dedup_by_key(|chunk| chunk.id);
    chunks
}

/// Asserts that the archive is authentic, its items are those that `borg list` tells, and that
/// each file has the bytes that it has in the machine's source directory.
pub fn assert_right(machine: &Machine, borg: &common::Repository, repository: &Repository, name: &str) {
    let archive = archive(repository, name).unwrap();
    assert_eq!(archive.name, name.as_bytes());
    assert_eq!(archive.authenticity, Authenticity::Authenticated);
    let items = items(repository, &archive).unwrap();
    assert_listed(machine, borg, name, &items);
    let by_path: HashMap<_, _> = items.iter().map(|(item, lists)| (item.path.as_bytes(), lists)).collect();
    let mut files = 0;
    for (item, lists) in &items {
        if FileType::from_mode(item.mode) != Some(FileType::File) {
            continue;
        }
        let lists = item.source.as_deref().map_or(lists, |master| by_path[master]);
        let expected = std::fs::read(machine.source().join(Path::new(item.path.as_os_str()))).unwrap();
        assert!(content(repository, lists).unwrap() == expected, "{}", item.path);
        files += 1;
    }
    assert!(files > 0);
}

pub fn content(repository: &Repository, lists: &ChunkLists) -> Result<Vec<u8>> {
    let mut content = Vec::new();
    for chunk in &lists.chunks {
        content.extend(repository.read_chunk(chunk)?);
    }
    Ok(content)
}

/// The fields that `borg list --json-lines` tells, in microseconds where they are times.
fn assert_listed(machine: &Machine, borg: &common::Repository, name: &str, items: &[(Item, ChunkLists)]) {
    let format = "{path}{mode}{uid}{gid}{user}{group}{size}{num_chunks}{mtime}{source}{type}{health}";
    let list = borg
        .borg(machine, "list --json-lines")
        .args(["--format", format, &format!("::{name}")])
        .env("TZ", "UTC")
        .ok();
    let lines: Vec<serde_json::Value> =
        list.stdout().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), items.len());
    for (line, (item, lists)) in lines.iter().zip(items) {
        assert_eq!(line["path"], shown(item.path.as_bytes()));
        let (path, number) = (&item.path, |name: &str| line[name].as_i64().unwrap());
        assert_eq!(number("uid"), i64::from(item.uid), "{path}");
        assert_eq!(number("gid"), i64::from(item.gid), "{path}");
        // Borg's times go through a float, so the last digit may be rounded up.
        assert!((0..=1).contains(&(micros(&line["mtime"]) - item.mtime / 1000)), "{path}: {line}");
        assert_eq!(line["healthy"], !item.damaged, "{path}");
        assert_eq!(number("num_chunks"), lists.chunks.len() as i64, "{path}");
        let sum: u64 = lists.chunks.iter().map(|chunk| u64::from(chunk.size)).sum();
        assert_eq!(item.size, sum, "{path}");
        let source = item.source.as_deref().unwrap_or_default();
        assert_eq!(line["source"], shown(source), "{path}");
        let kind = FileType::from_mode(item.mode).unwrap();
        let size = if kind == FileType::Symlink { source.len() as u64 } else { item.size };
        assert_eq!(number("size"), size as i64, "{path}");
        if let Some(user) = &item.user {
            assert_eq!(line["user"], shown(user), "{path}");
        }
        if let Some(group) = &item.group {
            assert_eq!(line["group"], shown(group), "{path}");
        }
        let linked = kind != FileType::Symlink && item.source.is_some();
        assert_eq!(line["mode"], mode(item.mode, kind, linked), "{path}");
    }
}

/// As borg shows bytes in JSON: each byte that is no UTF-8 is a question mark.
fn shown(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|_| '?'));
    }
    text
}

fn micros(time: &serde_json::Value) -> i64 {
    let time = chrono::NaiveDateTime::parse_from_str(time.as_str().unwrap(), "%Y-%m-%dT%H:%M:%S%.f").unwrap();
    time.and_utc().timestamp_micros()
}

fn mode(mode: u32, kind: FileType, linked: bool) -> String {
    let kind = match kind {
        _ if linked => 'h',
        FileType::File => '-',
        FileType::Directory => 'd',
        FileType::Symlink => 'l',
        FileType::BlockDevice => 'b',
        FileType::CharDevice => 'c',
        FileType::Fifo => 'p',
        FileType::Socket => 's',
    };
    let bit = |bit: u32, c: char| if mode & bit == 0 { '-' } else { c };
    let special = |x: u32, s: u32, small: char| match (mode & x != 0, mode & s != 0) {
        (true, true) => small,
        (false, true) => small.to_ascii_uppercase(),
        (true, false) => 'x',
        (false, false) => '-',
    };
    let bits = [
        bit(0o400, 'r'),
        bit(0o200, 'w'),
        special(0o100, 0o4000, 's'),
        bit(0o040, 'r'),
        bit(0o020, 'w'),
        special(0o010, 0o2000, 's'),
        bit(0o004, 'r'),
        bit(0o002, 'w'),
        special(0o001, 0o1000, 't'),
    ];
    std::iter::once(kind).chain(bits).collect()
}

/// Writes `bytes` as `name` into the source directory.
pub fn put(machine: &Machine, name: &str, bytes: &[u8]) {
    std::fs::write(machine.source().join(OsStr::from_bytes(name.as_bytes())), bytes).unwrap();
}
