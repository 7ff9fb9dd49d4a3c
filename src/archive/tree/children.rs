//! The entries of a directory, one after the other.

use std::sync::Arc;

use super::current::Current;
use super::leaf::Leaf;
use super::node::NodeId;
use super::records::flag;
use super::shown::{Listing, Shown};
use crate::error::Result;

/// An entry of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Child {
    pub name: Box<[u8]>,
    pub node: NodeId,
    /// The position of the next entry.
    pub next: u64,
}

/// The entries of a directory from a position on. Only a leaf of them is in memory, unless the archive
/// has several items with the same path.
pub struct Children<'t> {
    current: &'t Current,
    shown: &'t Shown,
    /// Whether only some entries are visible.
    filtered: bool,
    listing: Arc<Listing>,
    position: u64,
    leaf: Option<(u32, Arc<Leaf>)>,
}

/// The position in a listing of runs: the number of the run in it, and of the entry in the run.
const RUN: u32 = 32;

impl<'t> Children<'t> {
    pub fn new(
        (current, shown): (&'t Current, &'t Shown),
        filtered: bool,
        listing: Arc<Listing>,
        position: u64,
    ) -> Self {
        Children { current, shown, filtered, listing, position, leaf: None }
    }

    fn leaf(&mut self, run: u32) -> Result<Arc<Leaf>> {
        if let Some((known, leaf)) = &self.leaf
            && *known == run
        {
            return Ok(Arc::clone(leaf));
        }
        let leaf = self.current.with(|archive| archive.leaf(run as usize))?;
        self.leaf = Some((run, Arc::clone(&leaf)));
        Ok(leaf)
    }

    fn next_of_runs(&mut self, runs: &[(u32, u32)]) -> Result<Option<Child>> {
        loop {
            let (at, entry) = ((self.position >> RUN) as usize, self.position as u32 as usize);
            let Some((run, directory)) = runs.get(at) else { return Ok(None) };
            let leaf = self.leaf(*run)?;
            let number = leaf.entries(*directory as usize).get(entry);
            let Some((number, item)) = number.and_then(|n| Some((*n, leaf.item(*n as usize)?))) else {
                self.position = (at as u64 + 1) << RUN;
                continue;
            };
            self.position += 1;
            let name = leaf.name(item);
            if item.is(flag::NAMELESS) {
                continue;
            }
            if self.filtered && !self.shown.shows(&leaf.path(item), item.is_directory()) {
                continue;
            }
            let number = self.current.with(|archive| Ok(archive.items_of(*run as usize).start + number))?;
            let node = match item.is(flag::LINK) {
                true => self.current.with(|archive| archive.master(number))?,
                false => Some(number),
            };
            if let Some(node) = node {
                return Ok(Some(Child { name: name.into(), node: node + 1, next: self.position }));
            }
        }
    }
}

impl Iterator for Children<'_> {
    type Item = Result<Child>;

    fn next(&mut self) -> Option<Self::Item> {
        let listing = Arc::clone(&self.listing);
        match &*listing {
            Listing::Runs(runs) => self.next_of_runs(runs).transpose(),
            Listing::Names(names) => {
                let (name, node) = names.get(usize::try_from(self.position).ok()?)?;
                self.position += 1;
                Some(Ok(Child { name: name.clone(), node: *node, next: self.position }))
            }
        }
    }
}
