//! Puts the leaves of an archive together: those that were just built, and those of earlier archives.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use borg_repository::{Item, ItemPath};
use zerocopy::IntoBytes;

use super::assembly::{Assembly, Run, Totals};
use super::leaf::Leaf;
use super::leaf_builder::{Built, LeafBuilder};
use super::pages::{BlobWriter, Blobs, Page, Pages, unusable};
use super::part::{ChunkPage, LeafKey, LeafRecord, Part, PartName};
use super::path_hash::{PathHash, PathHasher};
use super::records::{ChunkRecord, Fact, class};
use super::repeats::{Repeats, names_in};
use super::table::Table;
use crate::archive::left_out::LeftOut;
use crate::error::{Error, Result};

/// Directories that the archive has no item for come in leaves of so many.
const MADE_UP: usize = 1000;
/// The facts about names that are sorted at once: some 6 MiB.
const NAMES: usize = 1 << 18;

/// Leaves of one archive, in its order.
pub struct Assembler {
    writer: Box<dyn BlobWriter>,
    pages: Arc<Pages>,
    hasher: PathHasher,
    /// The parts of earlier archives; the new part comes before them.
    parts: Vec<Arc<Part>>,
    /// The leaves that are used of each.
    used: Vec<HashSet<u32>>,
    leaves: Vec<LeafRecord>,
    runs: Vec<Run>,
    facts: Vec<Fact>,
    links: Vec<Fact>,
    repeats: Repeats,
    /// Directories of the new leaves; true for those with an item.
    listed: HashMap<PathHash, bool>,
    /// The first page of the chunks of the next leaf, if some were written.
    chunks: Option<u32>,
    totals: Totals,
}

impl Assembler {
    /// For an archive that was made at `made` (nanoseconds since 1970).
    pub fn new(writer: Box<dyn BlobWriter>, pages: Arc<Pages>, hasher: PathHasher, made: i64) -> Self {
        Assembler {
            writer,
            pages,
            hasher,
            parts: Vec::new(),
            used: Vec::new(),
            leaves: Vec::new(),
            runs: Vec::new(),
            facts: Vec::new(),
            links: Vec::new(),
            repeats: Repeats::default(),
            listed: HashMap::new(),
            chunks: None,
            totals: Totals { made, ..Totals::default() },
        }
    }

    pub fn hasher(&self) -> PathHasher {
        self.hasher
    }

    /// The number of items so far.
    pub fn items(&self) -> u64 {
        self.totals.entries
    }

    /// Writes pages with chunks of the next leaf before it is complete.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn add_chunks(&mut self, pages: Vec<Vec<ChunkRecord>>) -> Result<()> {
        self.chunks.get_or_insert(self.writer.next());
        pages.iter().try_for_each(|page| self.writer.write(page.as_bytes()))
    }

    /// Adds a leaf that was just built; `after` is the digest of its rest.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn add(&mut self, built: Built, key: LeafKey, after: [u8; 16]) -> Result<()> {
        let Built { leaf, pages, mut facts, mut links, counts } = built;
        self.add_chunks(pages)?;
        let number = self.leaves.len() as u32;
        let record = LeafRecord {
            key,
            after,
            bytes: counts.bytes,
            blob: self.writer.next(),
            chunks: self.chunks.take().unwrap_or_default(),
            items: u32::try_from(leaf.items.len()).map_err(|_| too_many())?,
            shown: counts.shown as u32,
            links: counts.links as u32,
            damaged: counts.damaged as u32,
            extras: counts.extras as u32,
            noted: (leaf.left_out.count() + leaf.unheld.count() + leaf.misplaced.count()) as u32,
        };
        self.writer.write(&leaf.to_bytes())?;
        facts.iter_mut().chain(&mut links).for_each(|fact| fact.leaf = number);
        self.repeats.note(counts.repeats);
        self.repeats.add(&leaf, &facts, &self.hasher);
        for fact in facts.iter().filter(|fact| fact.class() == class::ITEM) {
            self.repeats.note(self.listed.insert(fact.hash, true) == Some(true));
        }
        for fact in facts.iter().filter(|fact| fact.class() != class::ITEM) {
            self.listed.entry(fact.hash).or_insert(false);
        }
        self.facts.append(&mut facts);
        self.links.append(&mut links);
        self.leaves.push(record);
        self.runs.push(Run { part: 0, leaf: number });
        self.count(&record)?;
        if record.noted > 0 {
            self.note(&leaf);
        }
        Ok(())
    }

    fn count(&mut self, record: &LeafRecord) -> Result<()> {
        let totals = &mut self.totals;
        totals.entries += u64::from(record.shown);
        totals.bytes = totals.bytes.saturating_add(record.bytes);
        totals.links += u64::from(record.links);
        totals.damaged += u64::from(record.damaged);
        totals.extras += u64::from(record.extras);
        if self.runs.len() < u32::MAX as usize { Ok(()) } else { Err(too_many()) }
    }

    fn note(&mut self, leaf: &Leaf) {
        self.totals.left_out.append(&leaf.left_out);
        self.totals.unheld.append(&leaf.unheld);
        self.totals.misplaced.append(&leaf.misplaced);
    }

    /// Adds a leaf of an earlier archive, which must not be in this archive already.
    ///
    /// # Errors
    /// When the leaf cannot be read.
    pub fn reuse(&mut self, part: &Arc<Part>, leaf: u32) -> Result<()> {
        let at = match self.parts.iter().position(|known| Arc::ptr_eq(known, part)) {
            Some(at) => at,
            None => {
                self.parts.push(Arc::clone(part));
                self.used.push(HashSet::new());
                self.parts.len() - 1
            }
        };
        self.used[at].insert(leaf);
        let record = *part.leaves.get(leaf as usize).ok_or_else(unusable)?;
        self.runs.push(Run { part: at as u32 + 1, leaf });
        self.count(&record)?;
        if record.noted > 0 {
            self.note(&*part.leaf(leaf)?);
        }
        Ok(())
    }

    /// The run that was added last.
    pub fn last_run(&self) -> Option<Run> {
        self.runs.last().copied()
    }

    /// Adds a run once more: its items come again, and are those that are shown.
    pub fn again(&mut self, run: Run) {
        self.runs.push(run);
    }

    /// Adds a copy of a leaf of an earlier archive, so that its part is not needed.
    ///
    /// # Errors
    /// When the leaf cannot be read, or the copy cannot be written.
    pub fn copy(&mut self, part: &Part, leaf: u32) -> Result<()> {
        let record = *part.leaves.get(leaf as usize).ok_or_else(unusable)?;
        let found = Leaf::parse(&part.blob(record.blob)?).ok_or_else(unusable)?;
        for page in 0..found.page_ends.len() as u32 {
            let chunks = ChunkPage::parse(&part.blob(record.chunks + page)?).ok_or_else(unusable)?;
            self.add_chunks(vec![chunks.0])?;
        }
        self.add(Built::of(found, Vec::new(), &self.hasher), record.key, record.after)
    }

    /// The archive. `earlier` are those whose leaves were used; `name` is that of the new part.
    ///
    /// # Errors
    /// When something cannot be written, or read again.
    pub fn finish(
        mut self,
        earlier: &[Arc<Assembly>],
        name: PartName,
    ) -> Result<(Assembly, Box<dyn BlobWriter>)> {
        self.totals.listed_runs = self.runs.len() as u64;
        self.repeats.note(earlier.iter().any(|archive| archive.totals.repeats));
        if !self.parts.is_empty() && !self.repeats.are_found() {
            let repeats = self.repeats_across()?;
            self.repeats.note(repeats);
        }
        let made_up = self.made_up(earlier)?;
        self.add_made_up(made_up)?;
        let tables = [
            Table::write(&mut self.facts, &mut *self.writer)?,
            Table::write(&mut self.links, &mut *self.writer)?,
        ];
        let names = self.write_names()?;
        self.totals.repeats = self.repeats.are_found();
        let Assembler { mut writer, pages, hasher, parts, leaves, runs, mut totals, .. } = self;
        let own = Part::new(name, writer.blobs()?, pages, leaves, tables, names);
        let parts: Vec<Arc<Part>> = std::iter::once(Arc::new(own)).chain(parts).collect();
        let assemble =
            |totals: Totals| Assembly::new(parts.clone(), runs.clone(), totals, hasher).ok_or_else(too_many);
        let assembly = assemble(totals.clone())?;
        totals.left_out.append(&assembly.lost_links()?);
        let hidden = hidden(&assembly)?;
        totals.repeats |= !hidden.is_empty();
        totals.misplaced.append(&hidden);
        Ok((assemble(totals)?, writer))
    }

    /// The facts of leaves of earlier archives that are used.
    fn facts_of_others(&self, hash: PathHash, classes: &[u32]) -> Result<Vec<(usize, Fact)>> {
        let mut all = Vec::new();
        for (at, (part, used)) in self.parts.iter().zip(&self.used).enumerate() {
            let facts = part.facts(hash, classes, None)?;
            all.extend(facts.into_iter().filter(|fact| used.contains(&fact.leaf)).map(|fact| (at, fact)));
        }
        Ok(all)
    }

    /// Whether a new leaf and one of an earlier archive may have the same name in a directory.
    fn repeats_across(&mut self) -> Result<bool> {
        let mut own: HashMap<PathHash, Vec<Fact>> = HashMap::new();
        for fact in self.facts.iter().filter(|fact| fact.class() == class::ENTRIES) {
            own.entry(fact.hash).or_default().push(*fact);
        }
        let blobs = self.writer.blobs()?;
        for (hash, facts) in own {
            let others = self.facts_of_others(hash, &[class::ENTRIES])?;
            if others.is_empty() {
                continue;
            }
            let mut names = HashSet::new();
            for (at, fact) in others {
                let leaf = self.parts[at].leaf(fact.leaf)?;
                names_in(&leaf, &fact, &self.hasher, &mut names);
            }
            for fact in facts {
                let leaf = Leaf::parse(&blobs.read(self.leaves[fact.leaf as usize].blob)?);
                if !names_in(&leaf.ok_or_else(unusable)?, &fact, &self.hasher, &mut names) {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// The directories that the archive has no item for: the first run that knows each, and its number
    /// there.
    fn made_up(&self, earlier: &[Arc<Assembly>]) -> Result<BTreeSet<(u32, u32)>> {
        let unlisted = self.listed.iter().filter(|(_, is_listed)| !**is_listed).map(|(hash, _)| *hash);
        let mut candidates: HashSet<PathHash> = unlisted.collect();
        // Directories whose item was in a leaf that is not used any more, or that had none before.
        for archive in earlier {
            for (number, run) in archive.runs.iter().enumerate() {
                let part = &archive.parts[run.part as usize];
                let at = self.parts.iter().position(|known| Arc::ptr_eq(known, part));
                if at.is_some_and(|at| self.used[at].contains(&run.leaf)) {
                    continue;
                }
                let leaf = archive.leaf(number)?;
                let directories = leaf.items.iter().filter(|item| item.is_directory());
                candidates.extend(directories.map(|item| leaf.hash(item, &self.hasher)));
            }
        }
        candidates.remove(&PathHash::ROOT);
        let mut own = HashMap::new();
        let runs: HashMap<Run, u32> = self.runs.iter().copied().zip(0..).collect();
        let classes = [class::ENTRIES, class::ABOVE];
        for fact in self.facts.iter().filter(|fact| classes.contains(&fact.class())) {
            if candidates.contains(&fact.hash)
                && let Some(run) = runs.get(&Run { part: 0, leaf: fact.leaf })
            {
                let place = (*run, fact.number() as u32);
                let first = own.entry(fact.hash).or_insert(place);
                *first = place.min(*first);
            }
        }
        let mut made_up = BTreeSet::new();
        for hash in candidates {
            let is_listed = self.listed.get(&hash) == Some(&true);
            if is_listed || !self.facts_of_others(hash, &[class::ITEM])?.is_empty() {
                continue;
            }
            let others = self.facts_of_others(hash, &classes)?.into_iter();
            let others = others.filter_map(|(at, fact)| {
                let run = runs.get(&Run { part: at as u32 + 1, leaf: fact.leaf })?;
                Some((*run, fact.number() as u32))
            });
            made_up.extend(others.chain(own.get(&hash).copied()).min());
        }
        Ok(made_up)
    }

    fn add_made_up(&mut self, directories: BTreeSet<(u32, u32)>) -> Result<()> {
        let blobs = self.writer.blobs()?;
        let mut known: Option<(u32, Arc<Leaf>)> = None;
        let mut leaf = LeafBuilder::default();
        for (run, directory) in directories {
            let holder = match known.take().filter(|(known, _)| *known == run) {
                Some((_, holder)) => holder,
                None => self.leaf_of(run, &*blobs)?,
            };
            let path = ItemPath::new(&holder.directory_path(directory as usize)).ok_or_else(unusable)?;
            known = Some((run, holder));
            let made = self.totals.made;
            let item = Item::new(path, libc::S_IFDIR | 0o755);
            leaf.add_made_up(&Item { uid: 0, gid: 0, mtime: made, ..item });
            if leaf.len() == MADE_UP {
                self.add_made_up_leaf(std::mem::take(&mut leaf))?;
            }
        }
        self.add_made_up_leaf(leaf)
    }

    fn add_made_up_leaf(&mut self, leaf: LeafBuilder) -> Result<()> {
        if leaf.is_empty() {
            return Ok(());
        }
        // These are no items: nothing can be concluded from their order.
        let repeats = std::mem::take(&mut self.repeats);
        self.add(leaf.finish(&[], &self.hasher), LeafKey::default(), [0; 16])?;
        self.repeats = repeats;
        Ok(())
    }

    /// The leaf of a run, also a new one.
    fn leaf_of(&self, run: u32, blobs: &dyn Blobs) -> Result<Arc<Leaf>> {
        let Run { part, leaf } = *self.runs.get(run as usize).ok_or_else(unusable)?;
        match part.checked_sub(1) {
            Some(part) => self.parts[part as usize].leaf(leaf),
            None => {
                let record = self.leaves.get(leaf as usize).ok_or_else(unusable)?;
                Leaf::parse(&blobs.read(record.blob)?).map(Arc::new).ok_or_else(unusable)
            }
        }
    }

    /// The names in large directories, in tables.
    fn write_names(&mut self) -> Result<Vec<Table>> {
        let (mut tables, mut names) = (Vec::new(), Vec::new());
        let blobs = self.writer.blobs()?;
        // They were sorted by their hash.
        for facts in self.facts.chunk_by(|a, b| a.hash == b.hash).filter(|facts| Part::is_large(facts)) {
            for fact in facts.iter().filter(|fact| fact.class() == class::ENTRIES) {
                let leaf = Leaf::parse(&blobs.read(self.leaves[fact.leaf as usize].blob)?);
                let leaf = leaf.ok_or_else(unusable)?;
                for number in leaf.entries(fact.number()) {
                    let Some(item) = leaf.item(*number as usize) else { continue };
                    let name = Fact::new(leaf.hash(item, &self.hasher), class::ITEM, *number as usize);
                    names.push(Fact { leaf: fact.leaf, ..name });
                }
                if names.len() >= NAMES {
                    tables.push(Table::write(&mut names, &mut *self.writer)?);
                    names.clear();
                }
            }
        }
        if !names.is_empty() {
            tables.push(Table::write(&mut names, &mut *self.writer)?);
        }
        Ok(tables)
    }
}

/// What has a name in a directory.
#[derive(Default)]
struct Same {
    has_directory: bool,
    has_other: bool,
    /// The last item; it is what is shown.
    last: u32,
}

impl Same {
    fn add(&mut self, number: u32, is_directory: bool) {
        self.has_directory |= is_directory;
        self.has_other |= !is_directory;
        self.last = self.last.max(number);
    }

    fn is_hidden(&self) -> bool {
        self.has_directory && self.has_other
    }
}

/// The items at paths of directories, and directories at paths of other items: one hides the other,
/// and everything below the directory would go where the other leads.
fn hidden(archive: &Assembly) -> Result<LeftOut> {
    let mut hidden = LeftOut::default();
    if !archive.totals.repeats {
        // Only a directory without an item can be at the path of another item then.
        for run in archive.totals.listed_runs as usize..archive.runs.len() {
            let leaf = archive.leaf(run)?;
            for item in &leaf.items {
                let mut same = Same::default();
                for number in archive.named(leaf.directory_hash(item), leaf.name(item))? {
                    same.add(number, archive.item(number)?.is_some_and(|found| found.item().is_directory()));
                }
                if same.is_hidden() {
                    hidden.add(&leaf.path(item));
                }
            }
        }
        return Ok(hidden);
    }
    // Two items may have the same path: all directories are looked through.
    let mut open = vec![PathHash::ROOT];
    while let Some(directory) = open.pop() {
        let mut names: BTreeMap<Box<[u8]>, Same> = BTreeMap::new();
        for (run, number) in archive.entries(directory)? {
            let leaf = archive.leaf(run as usize)?;
            let start = archive.items_of(run as usize).start;
            for at in leaf.entries(number as usize) {
                let Some(item) = leaf.item(*at as usize) else { continue };
                names.entry(leaf.name(item).into()).or_default().add(start + at, item.is_directory());
            }
        }
        for same in names.into_values() {
            let Some(last) = archive.item(same.last)? else { continue };
            if same.is_hidden() {
                hidden.add(&last.path());
            }
            if last.item().is_directory() {
                open.push(last.hash(archive.hasher()));
            }
        }
    }
    Ok(hidden)
}

fn too_many() -> Error {
    Error::failed("the archive has more files than can be counted")
}
