//! Reads the data of an archive, to check that they are complete and correct.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::time::Duration;

use borg_repository::{Chunk, ChunkLists, Error as Unreadable, Id, Item, ItemPath, Request};
use parking_lot::Mutex;
use xxhash_rust::xxh64::xxh64;

use super::sample::{Mark, Sample};
use crate::archive::ranges;
use crate::archive::tree::{Body, NodeId, Tree};
use crate::archives::batches;
use crate::archives::damage::{self, Damaged};
use crate::archives::native::NativeCatalog;
use crate::archives::open_archive::OpenArchive;
use crate::archives::progress::{Meter, Monitor, Step};
use crate::archives::workers;
use crate::error::{Error, Kind, Result};
use crate::process::memory::Budget;
use crate::process::{Ended, interrupt};
use crate::tools::borg::{self, Borg, Level, Line};

/// The number of damaged files that are named; the rest is counted.
const MOST_NAMED: usize = 100;
/// How long borg waits for the repository's lock.
const LOCK_WAIT: Duration = Duration::from_secs(60);

/// What was read, in bytes unless another unit is given, and what is wrong.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// Of everything to be checked, each chunk counted once.
    pub total: u64,
    pub read: u64,
    /// A number of chunks.
    pub chunks: u64,
    /// This check completes a round.
    pub is_last: bool,
    /// A number of files: as many as in `damaged`, or more.
    pub damaged_files: u64,
    pub damaged: Vec<Damaged>,
}

/// Reads the data of `archived`, or of `path` and everything below it, by chunks. With `percent`,
/// reads only this part of the data, and another part each time.
///
/// # Errors
/// When the repository cannot be read, or this machine fails. Damage is not an error.
pub fn by_chunks(
    archived: &OpenArchive,
    native: &NativeCatalog,
    path: Option<&ItemPath>,
    percent: Option<f64>,
    monitor: Monitor<'_>,
) -> Result<Reading> {
    let items = path.map(|path| items_below(&archived.tree, path)).transpose()?;
    let items = items.as_ref();
    // By the numbers of their items: a repaired file may have lost more since.
    let mut damaged: BTreeMap<u64, Damaged> = BTreeMap::new();
    let (mut seen, mut chunks) = (HashSet::new(), Vec::new());
    each_item(archived, native, items, &mut |item, lists| {
        if item.damaged {
            let (ranges, why) = (damage::repaired(lists), damage::REPAIRED.into());
            damaged.insert(item.number, Damaged { path: item.path, ranges, why });
        }
        chunks.extend(lists.chunks.iter().filter(|chunk| seen.insert(chunk.id)));
    })?;
    let total = length(&chunks);
    let (sample, mark) = match percent {
        None => (Sample { chunks, is_last: true }, None),
        Some(percent) => {
            chunks.sort_by_key(|chunk| chunk.id);
            let what = path.map(|path| format!("-{:016x}", xxh64(path.as_bytes(), 0)));
            let mark = Mark::load(&native.repository().id(), &what.unwrap_or_default())?;
            (mark.sample(&chunks, percent), Some(mark))
        }
    };
    let lost = read(native, &sample.chunks, monitor)?;
    if !lost.is_empty() {
        each_item(archived, native, items, &mut |item, lists| add(&mut damaged, item, lists, &lost))?;
    } else if let Some(mark) = mark {
        // Damaged chunks are checked every time, until somebody repairs them.
        mark.advance(&sample)?;
    }
    let damaged_files = damaged.len() as u64;
    let damaged = damaged.into_values().take(MOST_NAMED).collect();
    let (read, chunks) = (length(&sample.chunks), sample.chunks.len() as u64);
    Ok(Reading { total, read, chunks, is_last: sample.is_last, damaged_files, damaged })
}

fn length(chunks: &[Chunk]) -> u64 {
    chunks.iter().map(|chunk| u64::from(chunk.size)).sum()
}

/// The numbers of the items with the bytes of `path` and everything below it.
fn items_below(tree: &Tree, path: &ItemPath) -> Result<HashSet<u32>> {
    let mut items = HashSet::new();
    let mut open: Vec<NodeId> = tree.find(path)?.into_iter().collect();
    while let Some(node) = open.pop() {
        match tree.node(node)?.map(|node| node.body) {
            Some(Body::Directory) => {
                for child in tree.children(node)? {
                    open.push(child?.node);
                }
            }
            Some(Body::File(content)) => drop(items.insert(content)),
            _ => {}
        }
    }
    Ok(items)
}

/// Passes each of `items` (`None`: all) to `each`.
fn each_item(
    archived: &OpenArchive,
    native: &NativeCatalog,
    items: Option<&HashSet<u32>>,
    each: &mut dyn FnMut(Item, &ChunkLists),
) -> Result<()> {
    let name = &archived.archive.name;
    let to_error = || Error::failed(format!("cannot read the archive {name}"));
    let id = Id::from_hex(&archived.archive.id).ok_or_else(|| to_error().because("its id is none"))?;
    let meta = native.repository().archive(&id).map_err(|e| to_error().because(e))?;
    let is_wanted = |number: u64| u32::try_from(number).is_ok_and(|n| items.is_none_or(|i| i.contains(&n)));
    let take = |item: Item, lists: &ChunkLists| {
        if is_wanted(item.number) {
            each(item, lists);
        }
    };
    let memory = Budget::of_free_memory();
    native.repository().items(&meta, || memory.check(), take).map(drop).map_err(|e| to_error().because(e))
}

/// Reads chunks, and returns those that cannot be read, with the reason.
fn read(native: &NativeCatalog, chunks: &[Chunk], monitor: Monitor<'_>) -> Result<HashMap<Id, String>> {
    let meter = Meter::new(Step::Read, length(chunks), monitor);
    let (queue, lost) = (Mutex::new(chunks.chunks(batches::CHUNKS)), Mutex::new(HashMap::new()));
    let next = || queue.lock().next().unwrap_or_default();
    let ask = |batch: &[Chunk]| batch.iter().map(|chunk| native.repository().request_chunk(chunk)).collect();
    workers::run(|failure| {
        let mut batch = next();
        let mut requests: Vec<Request> = ask(batch);
        while !batch.is_empty() && !failure.ended()? {
            // The next chunks are in flight while these are opened.
            let after = next();
            let asked = std::mem::replace(&mut requests, ask(after));
            for (chunk, bytes) in batch.iter().zip(native.repository().receive_all(asked)) {
                match bytes {
                    Ok(_) => meter.add(chunk.size.into()),
                    Err(e @ Unreadable::Gone(_)) => {
                        interrupt::check()?;
                        return Err(Error::new(Kind::Disconnected, "cannot read the repository").because(e));
                    }
                    Err(e) if !e.is_damage() => {
                        interrupt::check()?;
                        return Err(Error::failed("cannot look at all of it").because(e));
                    }
                    Err(e) => {
                        let why = Error::from(e).chain();
                        lost.lock().insert(chunk.id, why);
                    }
                }
            }
            batch = after;
        }
        Ok(())
    })?;
    Ok(lost.into_inner())
}

/// Adds the file to `damaged`, once, if it has one of the `lost` chunks.
fn add(damaged: &mut BTreeMap<u64, Damaged>, item: Item, lists: &ChunkLists, lost: &HashMap<Id, String>) {
    let number = item.number;
    let Some(hit) = hit(item.path, lists, lost) else { return };
    match damaged.entry(number) {
        Entry::Vacant(entry) => drop(entry.insert(hit)),
        Entry::Occupied(mut entry) => {
            let ranges = &mut entry.get_mut().ranges;
            ranges.extend(hit.ranges);
            *ranges = ranges::merge(std::mem::take(ranges));
        }
    }
}

/// The file, if it has one of the `lost` chunks.
fn hit(path: ItemPath, lists: &ChunkLists, lost: &HashMap<Id, String>) -> Option<Damaged> {
    let (mut at, mut ranges, mut why) = (0, Vec::new(), None);
    for chunk in &lists.chunks {
        let end = at + u64::from(chunk.size);
        if let Some(reason) = lost.get(&chunk.id) {
            ranges.push(at..end);
            why.get_or_insert(reason);
        }
        at = end;
    }
    let why = why?.clone();
    Some(Damaged { path, ranges: ranges::merge(ranges), why })
}

/// Lets borg read the data of `archived`, or of `path` and everything below it.
///
/// # Errors
/// The damage, in borg's own words.
pub fn by_borg(borg: &Borg, archived: &OpenArchive, path: Option<&ItemPath>) -> Result<()> {
    let doing = "verify the archive";
    let mut command =
        borg.command("extract --dry-run", LOCK_WAIT)?.arg(borg::archive_argument(&archived.archive.name));
    if let Some(path) = path {
        command = command.arg(OsString::from_vec([b"pp:", path.as_bytes()].concat()));
    }
    let output = borg.run(command, doing).map_err(|e| match e.kind() {
        Kind::Damaged => {
            Error::new(Kind::Differs, format!("{} is damaged", archived.archive.name)).because(e)
        }
        _ => e,
    })?;
    match complaint(output.ended, &output.stderr) {
        Some(text) => {
            Err(Error::new(Kind::Differs, format!("{} is damaged", archived.archive.name)).because(text))
        }
        None => Ok(()),
    }
}

/// The damage that borg reports, if there is any.
fn complaint(ended: Ended, stderr: &[Vec<u8>]) -> Option<String> {
    if ended == Ended::Code(0) {
        return None;
    }
    stderr.iter().find_map(|line| match Line::parse(line) {
        // Up to 1.2.4, borg reports this for each pattern that did match.
        Line::Message { text, .. } if text.contains("never matched") => None,
        // Messages of ssh, such as a banner.
        Line::Message { text, .. } if text.starts_with("Remote: ") => None,
        Line::Message { level: Level::Warning | Level::Error, text, .. } => Some(text),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ssh_says_is_no_damage_of_an_archive() {
        let line = |text: &str| {
            let line = serde_json::json!({"type": "log_message", "levelname": "WARNING", "message": text});
            line.to_string().into_bytes()
        };
        let banner = line("Remote: Authorized use only");
        let (unmatched, damage) = (line("Include pattern 'd' never matched."), line("d/f: chunk is missing"));
        assert_eq!(complaint(Ended::Code(0), std::slice::from_ref(&banner)), None);
        assert_eq!(complaint(Ended::Code(1), &[banner.clone(), unmatched]), None);
        assert_eq!(complaint(Ended::Code(1), &[banner, damage]).as_deref(), Some("d/f: chunk is missing"));
    }
}
