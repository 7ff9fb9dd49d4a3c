//! Finds out whether two items of an archive may have the same path.
//!
//! borg walks through each directory once, so a directory is done with when the items leave it. Only
//! the names in directories that are not left yet are kept. Whoever comes back to a directory that was
//! left is taken for a repetition: then listings are slower, but never wrong.

use std::collections::{HashMap, HashSet};

use super::leaf::Leaf;
use super::path_hash::{PathHash, PathHasher};
use super::records::{Fact, NO_DIRECTORY, class};

#[derive(Default)]
pub struct Repeats {
    found: bool,
    left: HashSet<PathHash>,
    /// The directories that the last item is in, with the hashes of their names.
    open: HashMap<PathHash, HashSet<u64>>,
}

impl Repeats {
    pub fn are_found(&self) -> bool {
        self.found
    }

    pub fn note(&mut self, found: bool) {
        self.found |= found;
    }

    /// Notes the next leaf, with its facts.
    pub fn add(&mut self, leaf: &Leaf, facts: &[Fact], hasher: &PathHasher) {
        let Some(last) = leaf.items.iter().rev().find(|item| item.directory != NO_DIRECTORY) else { return };
        let chain = leaf.chain(last.directory as usize).map(|number| leaf.directories[number].hash);
        let stay: HashSet<PathHash> = chain.chain([leaf.hash(last, hasher)]).collect();
        for fact in facts.iter().filter(|fact| fact.class() == class::ENTRIES) {
            let known = self.open.contains_key(&fact.hash);
            if !known && !stay.contains(&fact.hash) {
                self.found |= !self.left.insert(fact.hash);
                continue;
            }
            self.found |= !known && self.left.contains(&fact.hash);
            let names = self.open.entry(fact.hash).or_default();
            self.found |= !names_in(leaf, fact, hasher, names);
        }
        let left = &mut self.left;
        self.open.retain(|hash, _| {
            let stays = stay.contains(hash);
            if !stays {
                left.insert(*hash);
            }
            stays
        });
    }
}

/// Adds the hashes of the names in a directory. False if one was there before.
pub fn names_in(leaf: &Leaf, fact: &Fact, hasher: &PathHasher, names: &mut HashSet<u64>) -> bool {
    let mut new = true;
    for item in leaf.entries(fact.number()).iter().filter_map(|number| leaf.item(*number as usize)) {
        new &= names.insert(leaf.hash(item, hasher).first());
    }
    new
}
