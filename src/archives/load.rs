//! An archive that is being opened: its tree, and what reads its files.

use std::sync::Arc;

use super::cache::Cache;
use super::reader::{Reader, Shelf};
use super::source::Catalog;
use crate::archive::name::Archive;
use crate::archive::tree::{Tree, TreeBuilder, View};
use crate::error::Result;
use crate::progress::{Monitor, Progress};

/// The tree of `archive` as `view` shows it: remembered, or made of its items and remembered. `monitor` hears how many items
/// were read.
///
/// # Errors
/// When the archive cannot be read.
pub fn tree(
    catalog: &dyn Catalog,
    archive: &Archive,
    view: &View,
    monitor: &dyn Monitor,
) -> Result<Arc<Tree>> {
    if let Some(tree) = catalog.remembered(archive, view) {
        return Ok(Arc::new(tree));
    }
    let mut builder = TreeBuilder::new(view.clone(), archive.start_ns());
    let mut items = 0;
    catalog.items(archive, &mut |item| {
        items += 1;
        monitor.progress(Progress::entries("files", items));
        builder.add(item);
    })?;
    let tree = Arc::new(builder.finish());
    catalog.remember(archive, view, &tree);
    Ok(tree)
}

/// What reads the files of `tree`, through `cache`, where the archive has this number.
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
