//! A part of the catalogs: the leaves that were made together, with tables of their paths. It never
//! changes; archives that were made one after the other share parts.

use std::ops::ControlFlow;
use std::sync::Arc;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::leaf::Leaf;
use super::pages::{Blobs, Page, PageSet, Pages, unusable};
use super::path_hash::PathHash;
use super::records::{ChunkRecord, Fact, class, pack, records, unpack};
use super::table::Table;
use crate::error::Result;

/// With more leaves than this, the names of a directory are in a table of their own.
pub const LARGE: usize = 8;

/// What is known of a leaf without reading it.
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct LeafRecord {
    pub key: LeafKey,
    /// The digest of what the piece of metadata ends with, after its last complete item.
    pub after: [u8; 16],
    /// The bytes of all files.
    pub bytes: u64,
    /// The numbers of its blob, and of the first page of its chunks.
    pub blob: u32,
    pub chunks: u32,
    pub items: u32,
    pub shown: u32,
    pub links: u32,
    pub damaged: u32,
    pub extras: u32,
    /// Items that cannot be shown, or not as they are: the leaf names them.
    pub noted: u32,
}

/// Which piece of metadata a leaf was made of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct LeafKey {
    /// The id of the piece; zeros if nobody else can use the leaf.
    pub id: [u8; 32],
    /// The digest of what the piece before it ended with, which the first item begins with.
    pub before: [u8; 16],
}

/// A page of a list of chunks.
pub struct ChunkPage(pub Vec<ChunkRecord>);

impl Page for ChunkPage {
    fn parse(bytes: &[u8]) -> Option<Self> {
        records(bytes).map(ChunkPage)
    }

    fn bytes(&self) -> usize {
        size_of_val(&*self.0)
    }
}

/// What a part is referred to by: the id of the archive that it was made for, and a random number.
pub type PartName = [u8; 64];

/// The name of a part that is only in memory.
pub const NAMELESS: PartName = [0; 64];

/// Leaves and tables.
pub struct Part {
    pub name: PartName,
    pub leaves: Vec<LeafRecord>,
    directories: Table,
    /// Links, by what they lead to.
    links: Table,
    /// The items in large directories.
    pub(super) names: Vec<Table>,
    pages: PageSet,
}

const SECTIONS: usize = 5;

impl Part {
    pub fn new(
        name: PartName,
        blobs: Arc<dyn Blobs>,
        pages: Arc<Pages>,
        leaves: Vec<LeafRecord>,
        [directories, links]: [Table; 2],
        names: Vec<Table>,
    ) -> Self {
        Part { name, leaves, directories, links, names, pages: PageSet::new(blobs, pages) }
    }

    /// Everything but the blobs, as bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let names: Vec<&Table> = [&self.directories, &self.links].into_iter().chain(&self.names).collect();
        let blobs: Vec<u32> = names.iter().map(|table| table.blob).collect();
        let lengths: Vec<u32> = names.iter().map(|table| table.firsts.len() as u32).collect();
        let firsts: Vec<u64> = names.iter().flat_map(|table| table.firsts.iter().copied()).collect();
        let sections: [&[u8]; SECTIONS] =
            [self.leaves.as_bytes(), blobs.as_bytes(), lengths.as_bytes(), firsts.as_bytes(), &self.name];
        pack(&sections)
    }

    /// The part with these [bytes](Part::to_bytes), whose blobs are `blobs`. `None` if they are no part.
    pub fn parse(bytes: &[u8], blobs: Arc<dyn Blobs>, pages: Arc<Pages>) -> Option<Self> {
        let [leaves, first_blobs, lengths, firsts, name] = unpack::<SECTIONS>(bytes)?;
        let (first_blobs, lengths) = (records::<u32>(first_blobs)?, records::<u32>(lengths)?);
        let firsts = records::<u64>(firsts)?;
        let mut rest = &firsts[..];
        let mut tables = Vec::new();
        for (blob, length) in first_blobs.into_iter().zip(lengths) {
            let (these, others) = rest.split_at_checked(length as usize)?;
            tables.push(Table { firsts: these.to_vec(), blob });
            rest = others;
        }
        let names = tables.split_off(2.min(tables.len()));
        let tables = <[Table; 2]>::try_from(tables).ok()?;
        Some(Part::new(name.try_into().ok()?, blobs, pages, records(leaves)?, tables, names))
    }

    /// # Errors
    /// When the page cannot be read.
    pub fn page<T: Page>(&self, blob: u32) -> Result<Arc<T>> {
        self.pages.page(blob)
    }

    /// # Errors
    /// When the leaf cannot be read.
    pub fn leaf(&self, number: u32) -> Result<Arc<Leaf>> {
        self.page(self.leaves.get(number as usize).ok_or_else(unusable)?.blob)
    }

    /// The bytes of a blob, for a copy.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn blob(&self, number: u32) -> Result<Vec<u8>> {
        self.pages.blob(number)
    }

    /// The facts about entries of the directory with this hash, and about items with this path. With
    /// `most`, no more facts about entries than these.
    ///
    /// # Errors
    /// When a table cannot be read.
    pub fn facts(&self, hash: PathHash, classes: &[u32], most: Option<usize>) -> Result<Vec<Fact>> {
        let mut facts = Vec::new();
        self.directories.find(&self.pages, hash, &mut |fact| {
            if classes.contains(&fact.class()) {
                facts.push(*fact);
            }
            let is_past = classes.iter().all(|class| *class < fact.class());
            match is_past || most.is_some_and(|most| facts.len() >= most) {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        })?;
        Ok(facts)
    }

    /// The links to what has this path.
    ///
    /// # Errors
    /// When a table cannot be read.
    pub fn links_to(&self, path: PathHash) -> Result<Vec<Fact>> {
        self.links.facts(&self.pages, path)
    }

    /// Passes all links to `each`.
    ///
    /// # Errors
    /// When a table cannot be read, and those of `each`.
    pub fn each_link(&self, each: &mut dyn FnMut(&Fact) -> Result<()>) -> Result<()> {
        self.links.all(&self.pages, each)
    }

    /// The items with this path, of those in large directories.
    ///
    /// # Errors
    /// When a table cannot be read.
    pub fn in_large_directories(&self, path: PathHash) -> Result<Vec<Fact>> {
        let facts = self.names.iter().map(|table| table.facts(&self.pages, path));
        facts.collect::<Result<Vec<_>>>().map(|facts| facts.concat())
    }

    /// Whether the names of the directory with these facts are in a table.
    pub fn is_large(facts: &[Fact]) -> bool {
        facts.iter().filter(|fact| fact.class() == class::ENTRIES).count() > LARGE
    }

    /// The memory that it takes.
    pub fn memory(&self) -> usize {
        let tables = [&self.directories, &self.links].into_iter().chain(&self.names);
        let firsts = tables.map(|table| size_of_val(&*table.firsts)).sum::<usize>();
        size_of_val(&*self.leaves) + firsts + self.pages.memory()
    }
}
