//! The tree of an archive, and the reader of its files.

use std::sync::Arc;

use borg_repository::Item;

use super::cache::Cache;
use super::reader::{Reader, Shelf};
use super::source::Catalog;
use crate::archive::name::Archive;
use crate::archive::tree::{Tree, TreeBuilder, View};
use crate::error::Result;
use crate::progress::{Monitor, Progress};

/// Makes the tree of `archive` in memory, of the items that `read` passes on. `monitor` receives the
/// number of items that were read.
///
/// # Errors
/// Those of `read`.
pub fn tree_of_items(
    archive: &Archive,
    view: &View,
    monitor: &dyn Monitor,
    read: impl FnOnce(&mut dyn FnMut(Item)) -> Result<()>,
) -> Result<Tree> {
    let mut builder = TreeBuilder::new(view.clone(), archive.start_ns());
    let mut items = 0;
    read(&mut |item| {
        items += 1;
        monitor.progress(Progress::entries("files", items));
        builder.add(&item);
    })?;
    builder.finish()
}

/// Makes the reader of the files of `tree`. `number` is the archive's number in `cache`.
pub fn reader(
    catalog: &dyn Catalog,
    archive: &Archive,
    tree: &Arc<Tree>,
    cache: Arc<Cache>,
    number: u32,
) -> Reader {
    let shelf = Shelf::new(cache, catalog.layout(archive, number, tree));
    let source = catalog.contents(archive, Arc::clone(tree), Arc::new(shelf.clone()));
    Reader::new(shelf, source)
}
