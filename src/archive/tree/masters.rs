//! Possible masters of hard links, by their paths in the archive.

use std::hash::BuildHasher;

use borg_repository::ItemPath;
use hashbrown::hash_table::Entry;
use hashbrown::{DefaultHashBuilder, HashTable};

use super::paths::split;
use super::records::{Place, stretch, stretch_if_any};
use super::{ContentId, NodeId};

/// The items with the same path in the archive.
#[derive(Clone, Copy)]
pub struct Master {
    pub place: Place,
    /// The last one.
    pub node: NodeId,
    /// The last one with bytes.
    pub content: Option<ContentId>,
}

/// The masters of one tree, visible or not.
#[derive(Default)]
pub struct Masters {
    table: HashTable<Master>,
    hasher: DefaultHashBuilder,
}

impl Masters {
    /// The node of a hard link's master. `texts` are those of the tree.
    pub fn find(&self, texts: &[u8], source: &[u8]) -> Option<NodeId> {
        let path = address(source);
        let is_it = |master: &Master| path_in(texts, master.place) == path;
        self.table.find(self.hasher.hash_one(path), is_it).map(|master| master.node)
    }

    /// Makes the node the master for links to its path. Returns the previous content with this
    /// path.
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

/// A path in the archive: directory and name, or a whole path that is spelled in an unusual way.
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
