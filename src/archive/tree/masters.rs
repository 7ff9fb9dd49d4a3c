//! Possible masters of hard links, by their path in the archive.

use std::hash::BuildHasher;

use borg_repository::ItemPath;
use hashbrown::hash_table::Entry;
use hashbrown::{DefaultHashBuilder, HashTable};

use super::paths::split;
use super::records::{Place, stretch, stretch_if_any};
use super::{ContentId, NodeId};

/// What the items of one path in the archive are.
#[derive(Clone, Copy)]
pub struct Master {
    pub place: Place,
    /// The last one.
    pub node: NodeId,
    /// The last one that has bytes.
    pub content: Option<ContentId>,
}

/// Those of one tree, shown or not.
#[derive(Default)]
pub struct Masters {
    table: HashTable<Master>,
    hasher: DefaultHashBuilder,
}

impl Masters {
    /// The node of a hard link's master; `texts` are those of the tree.
    pub fn find(&self, texts: &[u8], source: &[u8]) -> Option<NodeId> {
        let path = address(source);
        let is_it = |master: &Master| path_in(texts, master.place) == path;
        self.table.find(self.hasher.hash_one(path), is_it).map(|master| master.node)
    }

    /// From here on links to its path are names of its node; returns which content the path had before.
    pub fn add(&mut self, texts: &[u8], master: Master) -> Option<ContentId> {
        let Masters { table, hasher } = self;
        let path = |master: &Master| path_in(texts, master.place);
        let hash = |master: &Master| hasher.hash_one(path(master));
        let wanted = path(&master);
        match table.entry(hasher.hash_one(wanted), |other| path(other) == wanted, hash) {
            Entry::Occupied(mut known) => {
                let earlier = known.get().content;
                *known.get_mut() = Master { content: master.content.or(earlier), ..master };
                earlier
            }
            Entry::Vacant(free) => {
                free.insert(master);
                None
            }
        }
    }
}

/// A path in the archive: directory and name, or all of one that is written in an unusual way.
type Address<'a> = (Option<&'a [u8]>, &'a [u8]);

fn path_in(texts: &[u8], place: Place) -> Address<'_> {
    (stretch_if_any(texts, place.directory), stretch(texts, place.name))
}

fn address(path: &[u8]) -> Address<'_> {
    if !ItemPath::is_clean(path) {
        return (None, path);
    }
    let (directory, name) = split(path);
    (Some(directory), name)
}
