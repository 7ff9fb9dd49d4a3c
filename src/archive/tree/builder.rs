//! Builds a tree of items in memory.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use borg_repository::Item;

use super::Tree;
use super::assembler::Assembler;
use super::assembly::Assembly;
use super::leaf_builder::LeafBuilder;
use super::pages::{Memory, Pages};
use super::part::{LeafKey, NAMELESS};
use super::path_hash::PathHasher;
use super::view::View;
use crate::error::Result;

/// The number of items in a leaf: about as many as a piece of metadata has.
const ITEMS: usize = 1000;
/// The memory for pages that were unpacked.
const PAGES: usize = 16 << 20;

/// Builds an archive from items in its order. If several items have the same path, the last one is
/// shown, as by `borg mount`.
pub struct TreeBuilder {
    view: View,
    leaf: LeafBuilder,
    assembler: Assembler,
    failed: Result<()>,
}

impl TreeBuilder {
    /// Directories without an item get the time `made` (nanoseconds since 1970).
    pub fn new(view: View, made: i64) -> Self {
        TreeBuilder { view, leaf: LeafBuilder::default(), assembler: Self::in_memory(made), failed: Ok(()) }
    }

    /// Assembles an archive in memory.
    pub fn in_memory(made: i64) -> Assembler {
        Assembler::new(Box::new(Memory::default()), Arc::new(Pages::new(PAGES)), random(), made)
    }

    pub fn add(&mut self, item: &Item) {
        self.leaf.add(item);
        if self.leaf.len() >= ITEMS && self.failed.is_ok() {
            self.failed = self.next_leaf();
        }
    }

    fn next_leaf(&mut self) -> Result<()> {
        let leaf = std::mem::take(&mut self.leaf).finish(&[], &self.assembler.hasher());
        self.assembler.add(leaf, LeafKey::default(), [0; 16])
    }

    /// # Errors
    /// When there are too many items.
    pub fn finish(mut self) -> Result<Tree> {
        std::mem::replace(&mut self.failed, Ok(()))?;
        self.next_leaf()?;
        let (archive, _): (Assembly, _) = self.assembler.finish(&[], NAMELESS)?;
        Tree::new(Arc::new(archive), self.view, None)
    }
}

/// A hasher with a random key.
fn random() -> PathHasher {
    let halves = [0, 1].map(|half: u8| RandomState::new().hash_one(half).to_ne_bytes());
    let mut key = [0; 16];
    key.copy_from_slice(halves.as_flattened());
    PathHasher::new(&key)
}
