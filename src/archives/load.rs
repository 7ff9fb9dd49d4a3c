//! The tree of an archive, and the reader of its files.

use std::sync::Arc;

use super::cache::Cache;
use super::reader::{Reader, Shelf};
use super::source::Catalog;
use crate::archive::name::Archive;
use crate::archive::tree::{Tree, TreeBuilder, View};
use crate::error::Result;
use crate::progress::{Monitor, Progress};

/// The tree of `archive` as `view` shows it. A remembered tree is used; otherwise the tree is made
/// of the archive's items and remembered. `monitor` receives the number of items that were read.
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
