//! Lists datasets, snapshots and bookmarks, and what our runs made.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use super::command::run;
use crate::error::{Error, Result};
use crate::process::{Command, Ended};

/// The user property on everything that our runs make. Its value is the run's id.
pub const RUN: &str = "org.borg-offsite-backup:run";

/// A file system or a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dataset {
    /// `tank/qubes/work/private`
    pub name: String,
    pub guid: u64,
    /// The transaction group of its creation.
    pub createtxg: u64,
    pub compression: String,
    /// False if it is encrypted and its key is not loaded.
    pub readable: bool,
    pub kind: DatasetKind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DatasetKind {
    Filesystem {
        mountpoint: Mountpoint,
        mounted: bool,
        can_mount: bool,
    },
    /// Sizes are in bytes.
    Volume {
        size: u64,
        block_size: u64,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mountpoint {
    None,
    /// Another place, such as fstab, says where it is mounted.
    Legacy,
    At(PathBuf),
}

impl Dataset {
    pub fn pool(&self) -> &str {
        pool(&self.name)
    }
}

/// The pool of a dataset or snapshot.
pub fn pool(name: &str) -> &str {
    name.split(['/', '@', '#']).next().unwrap_or(name)
}

/// A snapshot or a bookmark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// `tank/home@x` or `tank/home#x`
    pub name: String,
    /// A bookmark has the guid of its snapshot.
    pub guid: u64,
    pub createtxg: u64,
    /// In seconds since 1970.
    pub creation: u64,
    /// The size of a volume's snapshot, in bytes.
    pub volsize: Option<u64>,
}

const DATASETS: [&str; 6] = [
    "list",
    "-Hp",
    "-t",
    "filesystem,volume",
    "-o",
    "name,type,guid,createtxg,compression,keystatus,volsize,volblocksize,canmount,mounted,mountpoint",
];

/// All file systems and volumes, in the order of `zfs list`.
///
/// # Errors
/// When `zfs` is missing or fails.
pub fn datasets() -> Result<Vec<Dataset>> {
    parse_all(&run(&DATASETS, "list the ZFS datasets")?, parse_dataset)
}

/// One file system or volume.
///
/// # Errors
/// When it does not exist, or `zfs` fails.
pub fn dataset(name: &str) -> Result<Dataset> {
    let listed = run(&[&DATASETS[..], &[name]].concat(), &format!("ask ZFS about {name}"))?;
    let found = parse_all(&listed, parse_dataset)?.pop();
    found.ok_or_else(|| Error::failed(format!("ZFS says nothing about {name}")))
}

/// Whether a file system or volume with this name exists.
///
/// # Errors
/// When `zfs` is missing.
pub fn exists(name: &str) -> Result<bool> {
    let output = Command::new("zfs").args(["list", "-H", "-o", "name", name]).output()?;
    Ok(output.ended == Ended::Code(0))
}

/// The snapshots with these names.
///
/// # Errors
/// When one of them does not exist, or `zfs` fails.
pub fn snapshots(names: &[String]) -> Result<Vec<Mark>> {
    let mut args = vec!["list", "-Hp", "-t", "snapshot", "-o", "name,guid,createtxg,creation,volsize"];
    args.extend(names.iter().map(String::as_str));
    parse_all(&run(&args, "list the new snapshots")?, parse_mark)
}

/// The names of all snapshots.
///
/// # Errors
/// When `zfs` fails.
pub fn snapshot_names() -> Result<Vec<String>> {
    let bytes = run(&["list", "-H", "-t", "snapshot", "-o", "name"], "list the ZFS snapshots")?;
    parse_all(&bytes, text)
}

/// All bookmarks.
///
/// # Errors
/// When `zfs` fails.
pub fn bookmarks() -> Result<Vec<Mark>> {
    let args = ["list", "-Hp", "-t", "bookmark", "-o", "name,guid,createtxg,creation"];
    parse_all(&run(&args, "list the ZFS bookmarks")?, parse_mark)
}

/// The snapshots and bookmarks of one dataset.
///
/// # Errors
/// When `zfs` fails.
pub fn marks_of(dataset: &str) -> Result<Vec<Mark>> {
    let args = ["list", "-Hp", "-d", "1", "-t", "snapshot,bookmark"];
    let args = [&args[..], &["-o", "name,guid,createtxg,creation,volsize", dataset]].concat();
    parse_all(&run(&args, &format!("list the snapshots and bookmarks of {dataset}"))?, parse_mark)
}

/// The datasets and snapshots with their own [`RUN`], neither inherited nor received, and its
/// value.
///
/// # Errors
/// When `zfs` fails.
pub fn made_by_runs() -> Result<Vec<(String, String)>> {
    let args = ["get", "-Hp", "-s", "local", "-t", "filesystem,volume,snapshot", "-o", "name,value", RUN];
    parse_all(&run(&args, "list what earlier runs left in ZFS")?, |line| {
        let (name, value) = std::str::from_utf8(line).ok()?.split_once('\t')?;
        Some((name.to_owned(), value.to_owned()))
    })
}

/// The bytes written to a dataset between its bookmark `#mark` and `snapshot`; `None` if ZFS does
/// not know (no such bookmark, an old pool).
pub fn written_since(mark: &str, snapshot: &str) -> Option<u64> {
    let property = format!("written#{mark}");
    let output = run(&["get", "-Hp", "-o", "value", &property, snapshot], "ask what was written").ok()?;
    std::str::from_utf8(output.trim_ascii()).ok()?.parse().ok()
}

fn parse_all<T>(bytes: &[u8], parse: impl Fn(&[u8]) -> Option<T>) -> Result<Vec<T>> {
    let lines = bytes.split(|b| *b == b'\n').filter(|line| !line.is_empty());
    lines
        .map(|line| {
            parse(line).ok_or_else(|| {
                Error::failed("cannot read what `zfs` lists").because(String::from_utf8_lossy(line))
            })
        })
        .collect()
}

fn text(line: &[u8]) -> Option<String> {
    String::from_utf8(line.to_vec()).ok()
}

fn parse_dataset(line: &[u8]) -> Option<Dataset> {
    // The mount point is last, because it may contain any bytes.
    let mut fields = line.splitn(11, |b| *b == b'\t');
    let mut next = || fields.next().and_then(|field| std::str::from_utf8(field).ok());
    let (name, kind) = (next()?.to_owned(), next()?.to_owned());
    let (guid, createtxg) = (next()?.parse().ok()?, next()?.parse().ok()?);
    let (compression, readable) = (next()?.to_owned(), next()? != "unavailable");
    let (size, block_size) = (next()?.to_owned(), next()?.to_owned());
    let (can_mount, mounted) = (next()? != "off", next()? == "yes");
    let kind = match kind.as_str() {
        "volume" => DatasetKind::Volume { size: size.parse().ok()?, block_size: block_size.parse().ok()? },
        "filesystem" => {
            let mountpoint = match fields.next()? {
                b"none" => Mountpoint::None,
                b"legacy" => Mountpoint::Legacy,
                path => Mountpoint::At(PathBuf::from(OsString::from_vec(path.to_vec()))),
            };
            DatasetKind::Filesystem { mountpoint, mounted, can_mount }
        }
        _ => return None,
    };
    Some(Dataset { name, guid, createtxg, compression, readable, kind })
}

fn parse_mark(line: &[u8]) -> Option<Mark> {
    let mut fields = std::str::from_utf8(line).ok()?.split('\t');
    Some(Mark {
        name: fields.next()?.to_owned(),
        guid: fields.next()?.parse().ok()?,
        createtxg: fields.next()?.parse().ok()?,
        creation: fields.next()?.parse().ok()?,
        volsize: fields.next().and_then(|size| size.parse().ok()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_systems_and_volumes_are_read_as_zfs_lists_them() {
        let listing = b"tank\tfilesystem\t11\t1\tlz4\tnone\t-\t-\ton\tyes\t/tank\n\
            tank/a b\tfilesystem\t12\t7\toff\tunavailable\t-\t-\tnoauto\tno\t/srv/a\tb\xff\n\
            tank/l\tfilesystem\t13\t8\ton\tavailable\t-\t-\toff\tno\tlegacy\n\
            tank/v\tvolume\t18446744073709551615\t9\tzstd-3\t-\t1073741824\t16384\t-\t-\t-\n";
        let found = parse_all(listing, parse_dataset).unwrap();
        let file_system = |at: Mountpoint, mounted, can_mount| DatasetKind::Filesystem {
            mountpoint: at,
            mounted,
            can_mount,
        };
        let odd = PathBuf::from(OsString::from_vec(b"/srv/a\tb\xff".to_vec()));
        assert_eq!(found[0].kind, file_system(Mountpoint::At("/tank".into()), true, true));
        assert_eq!(found[1].kind, file_system(Mountpoint::At(odd), false, true));
        assert_eq!(found[2].kind, file_system(Mountpoint::Legacy, false, false));
        assert_eq!((found[1].name.as_str(), found[1].readable, found[2].readable), ("tank/a b", false, true));
        let volume = &found[3];
        assert_eq!(volume.kind, DatasetKind::Volume { size: 1 << 30, block_size: 16384 });
        assert_eq!((volume.guid, volume.createtxg, volume.pool()), (u64::MAX, 9, "tank"));
        assert_eq!(volume.compression, "zstd-3");
    }

    #[test]
    fn snapshots_and_bookmarks_are_read() {
        let marks =
            parse_all(b"tank/v@x\t5\t77\t1764000000\t1048576\ntank/a b#y\t6\t78\t1764000001\n", parse_mark);
        let marks = marks.unwrap();
        assert_eq!((marks[0].guid, marks[0].createtxg, marks[0].volsize), (5, 77, Some(1 << 20)));
        assert_eq!(
            (marks[1].name.as_str(), marks[1].creation, marks[1].volsize),
            ("tank/a b#y", 1764000001, None)
        );
    }

    #[test]
    fn a_line_that_cannot_be_read_is_shown() {
        let error = parse_all(b"tank\tvolume\tx\n", parse_dataset).unwrap_err();
        assert_eq!(error.chain(), "cannot read what `zfs` lists: tank\tvolume\tx");
    }

    #[test]
    fn the_pool_is_the_first_part_of_a_name() {
        assert_eq!(pool("tank/a@x"), "tank");
    }
}
