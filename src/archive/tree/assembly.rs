//! An archive: leaves of one or several parts, in its order. Everything is looked up on demand.
//!
//! Items have numbers in the order of the archive. Directories that it has no item for are added
//! behind its items.

use std::ops::Range;
use std::sync::Arc;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::leaf::Leaf;
use super::leaf_builder::CHUNKS;
use super::pages::unusable;
use super::part::{ChunkPage, LARGE, Part, PartName};
use super::path_hash::{PathHash, PathHasher};
use super::paths::split;
use super::records::{ChunkRecord, Fact, ItemRecord, Kind, class, flag, pack, records, unpack};
use crate::archive::left_out::LeftOut;
use crate::error::Result;
use borg_repository::ItemPath;

/// The number of a leaf that the archive does not have.
const NONE: u32 = u32::MAX;

/// A leaf of the archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Run {
    pub part: u32,
    pub leaf: u32,
}

/// The archive in numbers, and what cannot be shown of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Totals {
    /// Everything that is shown, with directories that the archive has no item for.
    pub entries: u64,
    /// The bytes of all files.
    pub bytes: u64,
    pub links: u64,
    pub damaged: u64,
    pub extras: u64,
    /// Items that no directory can show.
    pub left_out: LeftOut,
    /// Files with xattrs that Linux cannot hold.
    pub unheld: LeftOut,
    /// Items that would be restored to another place than their path says.
    pub misplaced: LeftOut,
    /// Two items may have the same path.
    pub repeats: bool,
    /// The time of directories without an item, in nanoseconds since 1970.
    pub made: i64,
    /// The number of leaves that were made of items; those of made-up directories follow.
    pub listed_runs: u64,
}

/// An item and its leaf.
pub struct Found {
    pub leaf: Arc<Leaf>,
    /// Its number in the leaf.
    pub at: usize,
}

impl Found {
    pub fn item(&self) -> &ItemRecord {
        &self.leaf.items[self.at]
    }

    pub fn path(&self) -> Vec<u8> {
        self.leaf.path(self.item())
    }

    /// The hash of its path.
    pub fn hash(&self, hasher: &PathHasher) -> PathHash {
        self.leaf.hash(self.item(), hasher)
    }

    /// The hash of the path of its directory.
    pub fn directory_hash(&self) -> PathHash {
        self.leaf.directory_hash(self.item())
    }
}

/// An archive.
pub struct Assembly {
    pub parts: Vec<Arc<Part>>,
    pub runs: Vec<Run>,
    pub totals: Totals,
    hasher: PathHasher,
    /// The number of the first item of each run, and the number of items at the end.
    starts: Vec<u32>,
    /// By part: the run of each of its leaves, or [`NONE`].
    run_of: Vec<Vec<u32>>,
}

const SECTIONS: usize = 9;

impl Assembly {
    /// `None` if there are more items than can be counted, or the leaves do not exist.
    pub fn new(parts: Vec<Arc<Part>>, runs: Vec<Run>, totals: Totals, hasher: PathHasher) -> Option<Self> {
        let mut run_of: Vec<Vec<u32>> = parts.iter().map(|part| vec![NONE; part.leaves.len()]).collect();
        let mut starts = vec![0];
        let mut items = 0u32;
        for (number, run) in (0..).zip(&runs) {
            let leaf = parts.get(run.part as usize)?.leaves.get(run.leaf as usize)?;
            run_of[run.part as usize][run.leaf as usize] = number;
            items = items.checked_add(leaf.items).filter(|items| *items < NONE - 1)?;
            starts.push(items);
        }
        Some(Assembly { parts, runs, totals, hasher, starts, run_of })
    }

    /// Everything but the parts, as bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let totals = &self.totals;
        let numbers = [
            totals.entries,
            totals.bytes,
            totals.links,
            totals.damaged,
            totals.extras,
            u64::from(totals.repeats),
            totals.made as u64,
            totals.listed_runs,
        ];
        let names: Vec<u8> = self.parts.iter().flat_map(|part| part.name).collect();
        let [left_out, left_names] = totals.left_out.sections();
        let [unheld, unheld_names] = totals.unheld.sections();
        let [misplaced, misplaced_names] = totals.misplaced.sections();
        let runs = self.runs.as_bytes();
        let sections: [&[u8]; SECTIONS] = [
            &names,
            runs,
            numbers.as_bytes(),
            left_out,
            left_names,
            unheld,
            unheld_names,
            misplaced,
            misplaced_names,
        ];
        pack(&sections)
    }

    /// The archive with these [bytes](Assembly::to_bytes); `part` returns the part of a name. `None` if
    /// they are no archive, or a part is missing.
    pub fn parse(
        bytes: &[u8],
        hasher: PathHasher,
        part: &mut dyn FnMut(&PartName) -> Option<Arc<Part>>,
    ) -> Option<Self> {
        let [names, runs, numbers, lists @ ..] = unpack::<SECTIONS>(bytes)?;
        let [left_out, left_names, unheld, unheld_names, misplaced, misplaced_names] = lists;
        let numbers: [u64; 8] = records(numbers)?.try_into().ok()?;
        let [entries, bytes, links, damaged, extras, repeats, made, listed_runs] = numbers;
        let totals = Totals {
            entries,
            bytes,
            links,
            damaged,
            extras,
            left_out: LeftOut::of_sections(left_out, left_names)?,
            unheld: LeftOut::of_sections(unheld, unheld_names)?,
            misplaced: LeftOut::of_sections(misplaced, misplaced_names)?,
            repeats: repeats != 0,
            made: made as i64,
            listed_runs,
        };
        let (names, _) = names.as_chunks::<64>();
        let parts = names.iter().map(&mut *part).collect::<Option<Vec<_>>>()?;
        Assembly::new(parts, records(runs)?, totals, hasher)
    }

    /// The ids of the pieces of metadata that its leaves were made of.
    pub fn pieces(&self) -> impl Iterator<Item = [u8; 32]> + '_ {
        self.runs.iter().map(|run| self.parts[run.part as usize].leaves[run.leaf as usize].key.id)
    }

    pub fn hasher(&self) -> &PathHasher {
        &self.hasher
    }

    /// The number of items, with those that are not shown.
    pub fn items(&self) -> u32 {
        self.starts.last().copied().unwrap_or(0)
    }

    /// The numbers of the items of a run.
    pub fn items_of(&self, run: usize) -> Range<u32> {
        match (self.starts.get(run), self.starts.get(run + 1)) {
            (Some(start), Some(end)) => *start..*end,
            _ => 0..0,
        }
    }

    fn run_of(&self, number: u32) -> Option<usize> {
        (number < self.items()).then(|| self.starts.partition_point(|start| *start <= number) - 1)
    }

    /// # Errors
    /// When the leaf cannot be read.
    pub fn leaf(&self, run: usize) -> Result<Arc<Leaf>> {
        let found = self.runs.get(run).ok_or_else(unusable)?;
        self.parts[found.part as usize].leaf(found.leaf)
    }

    /// The item with this number, unless it is not shown.
    ///
    /// # Errors
    /// When its leaf cannot be read.
    pub fn item(&self, number: u32) -> Result<Option<Found>> {
        let Some(run) = self.run_of(number) else { return Ok(None) };
        let leaf = self.leaf(run)?;
        let at = (number - self.starts[run]) as usize;
        let is_shown = leaf.item(at).is_some_and(|item| !item.is(flag::LEFT_OUT));
        Ok(is_shown.then_some(Found { leaf, at }))
    }

    /// The run of a leaf of a part, if the archive has it.
    fn run_in(run_of: &[u32], leaf: u32) -> Option<u32> {
        run_of.get(leaf as usize).copied().filter(|run| *run != NONE)
    }

    /// The facts about a path, with their runs.
    ///
    /// # Errors
    /// When a table cannot be read.
    pub fn facts(&self, path: PathHash, classes: &[u32]) -> Result<Vec<(u32, Fact)>> {
        let mut all = Vec::new();
        for (part, run_of) in self.parts.iter().zip(&self.run_of) {
            let facts = part.facts(path, classes, None)?.into_iter();
            all.extend(facts.filter_map(|fact| Some((Self::run_in(run_of, fact.leaf)?, fact))));
        }
        Ok(all)
    }

    /// The directory with this path: its last item.
    ///
    /// # Errors
    /// When a table cannot be read.
    pub fn directory(&self, path: PathHash) -> Result<Option<u32>> {
        let number = |(run, fact): (u32, Fact)| {
            let is_made_up = u64::from(run) >= self.totals.listed_runs;
            (!is_made_up, self.starts[run as usize] + fact.number() as u32)
        };
        let last = self.facts(path, &[class::ITEM])?.into_iter().map(number).max();
        Ok(last.map(|(_, number)| number))
    }

    /// Where the entries of a directory are: runs, and the number of the directory in each.
    ///
    /// # Errors
    /// When a table cannot be read.
    pub fn entries(&self, directory: PathHash) -> Result<Vec<(u32, u32)>> {
        let facts = self.facts(directory, &[class::ENTRIES])?;
        let mut entries: Vec<_> = facts.into_iter().map(|(run, fact)| (run, fact.number() as u32)).collect();
        entries.sort_unstable();
        Ok(entries)
    }

    /// The number of directories in a directory.
    ///
    /// # Errors
    /// When a table cannot be read.
    pub fn directories_in(&self, directory: PathHash) -> Result<u32> {
        let facts = self.facts(directory, &[class::ENTRIES])?;
        Ok(facts.iter().map(|(_, fact)| fact.directories).fold(0, u32::saturating_add))
    }

    /// The numbers of all items with this name in the directory, in the order of the archive.
    ///
    /// # Errors
    /// When a table or a leaf cannot be read.
    pub fn named(&self, directory: PathHash, name: &[u8]) -> Result<Vec<u32>> {
        let mut numbers = Vec::new();
        for (part, run_of) in self.parts.iter().zip(&self.run_of) {
            let facts = part.facts(directory, &[class::ENTRIES], Some(LARGE + 1))?;
            if Part::is_large(&facts) {
                let facts = part.in_large_directories(self.hasher.child(directory, name))?.into_iter();
                let runs = facts.filter_map(|fact| Some((Self::run_in(run_of, fact.leaf)?, fact)));
                numbers.extend(runs.map(|(run, fact)| self.starts[run as usize] + fact.number() as u32));
                continue;
            }
            for fact in facts {
                let Some(run) = Self::run_in(run_of, fact.leaf) else { continue };
                let (leaf, start) = (part.leaf(fact.leaf)?, self.starts[run as usize]);
                numbers.extend(leaf.named(fact.number(), name).iter().map(|at| start + at));
            }
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// The spelling of an item's path.
    fn spelling(found: &Found) -> Vec<u8> {
        found.leaf.raw(found.at).map_or_else(|| found.path(), <[u8]>::to_vec)
    }

    /// The items whose path is spelled like this, in the order of the archive.
    ///
    /// # Errors
    /// When a table or a leaf cannot be read.
    pub fn spelled(&self, raw: &[u8]) -> Result<Vec<u32>> {
        let Some(path) = ItemPath::new(raw).filter(|path| !path.is_root()) else { return Ok(Vec::new()) };
        let (directory, name) = split(path.as_bytes());
        let is_usual = raw == path.as_bytes();
        let mut right = Vec::new();
        for number in self.named(self.hasher.of(directory), name)? {
            let Some(found) = self.item(number)? else { continue };
            let is_right = match found.leaf.raw(found.at) {
                Some(spelling) => spelling == raw,
                None => is_usual,
            };
            if is_right {
                right.push(number);
            }
        }
        Ok(right)
    }

    /// The item that the hard link `number` is another name of: the last one before it with the path
    /// that it leads to.
    ///
    /// # Errors
    /// When a table or a leaf cannot be read.
    pub fn master(&self, number: u32) -> Result<Option<u32>> {
        let Some(link) = self.item(number)? else { return Ok(None) };
        let candidates = self.spelled(link.leaf.text(link.item().text))?;
        for candidate in candidates.into_iter().rev().filter(|candidate| *candidate < number) {
            let Some(found) = self.item(candidate)? else { continue };
            let item = found.item();
            if matches!(item.kind(), Kind::File | Kind::Special) && !item.is(flag::LINK) {
                return Ok(Some(candidate));
            }
        }
        Ok(None)
    }

    /// The hard links to the item `number`.
    ///
    /// # Errors
    /// When a table or a leaf cannot be read.
    pub fn links_to(&self, number: u32) -> Result<Vec<u32>> {
        let mut links = Vec::new();
        if self.totals.links == 0 {
            return Ok(links);
        }
        let Some(found) = self.item(number)? else { return Ok(links) };
        let hash = found.hash(&self.hasher);
        for (part, run_of) in self.parts.iter().zip(&self.run_of) {
            for fact in part.links_to(hash)? {
                let Some(run) = Self::run_in(run_of, fact.leaf) else { continue };
                let link = self.starts[run as usize] + fact.number() as u32;
                if self.master(link)? == Some(number) {
                    links.push(link);
                }
            }
        }
        Ok(links)
    }

    /// The paths of all hard links that lead to nothing.
    ///
    /// # Errors
    /// When a table or a leaf cannot be read.
    pub fn lost_links(&self) -> Result<LeftOut> {
        let mut numbers = Vec::new();
        for (part, run_of) in self.parts.iter().zip(&self.run_of) {
            part.each_link(&mut |fact| {
                if let Some(run) = Self::run_in(run_of, fact.leaf)
                    && let link = self.starts[run as usize] + fact.number() as u32
                    && self.master(link)?.is_none()
                {
                    numbers.push(link);
                }
                Ok(())
            })?;
        }
        numbers.sort_unstable();
        let mut lost = LeftOut::default();
        for number in numbers {
            lost.add(&self.path(number)?.unwrap_or_default());
        }
        Ok(lost)
    }

    /// The spelling of the path of item `number`.
    ///
    /// # Errors
    /// When its leaf cannot be read.
    pub fn path(&self, number: u32) -> Result<Option<Vec<u8>>> {
        Ok(self.item(number)?.map(|found| Self::spelling(&found)))
    }

    /// The chunk with the byte `at` of item `number`, and where it begins.
    ///
    /// # Errors
    /// When a leaf or a page cannot be read.
    pub fn chunk(&self, number: u32, at: u64) -> Result<Option<(u64, ChunkRecord)>> {
        let Some(run) = self.run_of(number) else { return Ok(None) };
        let leaf = self.leaf(run)?;
        let Some(range) = leaf.chunks((number - self.starts[run]) as usize).filter(|range| !range.is_empty())
        else {
            return Ok(None);
        };
        let (first, last) = (range.start / CHUNKS as u64, (range.end - 1) / CHUNKS as u64);
        // All pages but the last one end within the item.
        let inner = leaf.page_ends.get(first as usize..last as usize).ok_or_else(unusable)?;
        let page = first + inner.partition_point(|end| *end <= at) as u64;
        let place = self.runs[run];
        let part = &self.parts[place.part as usize];
        let base = part.leaves[place.leaf as usize].chunks;
        let chunks = part.page::<ChunkPage>(base + page as u32)?;
        let start = page * CHUNKS as u64;
        let within =
            range.start.saturating_sub(start) as usize..(range.end - start).min(CHUNKS as u64) as usize;
        let records = chunks.0.get(within).ok_or_else(unusable)?;
        let n = records.partition_point(|chunk| chunk.end <= at);
        let Some(chunk) = records.get(n) else { return Ok(None) };
        let begin = match n.checked_sub(1) {
            Some(before) => records[before].end,
            None if page > first => leaf.page_ends[page as usize - 1],
            None => 0,
        };
        Ok(Some((begin, *chunk)))
    }

    /// The bytes of item `number` that are in chunks of zeros.
    ///
    /// # Errors
    /// When its leaf cannot be read.
    pub fn holes(&self, number: u32) -> Result<u64> {
        let Some(run) = self.run_of(number) else { return Ok(0) };
        Ok(self.leaf(run)?.holes((number - self.starts[run]) as usize))
    }

    /// The memory that it takes, with its parts.
    pub fn memory(&self) -> usize {
        let runs = size_of_val(&*self.runs) + size_of_val(&*self.starts);
        let of_parts = self.run_of.iter().map(|runs| size_of_val(&**runs)).sum::<usize>();
        runs + of_parts + self.parts.iter().map(|part| part.memory()).sum::<usize>()
    }
}
