//! Keeps the list of files of a new archive, so that nobody who mounts or restores it waits for it to be
//! made. It costs what changed since the archive before.

use crate::archive::filter::ArchiveFilter;
use crate::archive::tree::View;
use crate::archives::native::{NativeCatalog, NotOpened};
use crate::archives::options::Options;
use crate::archives::source::Catalog;
use crate::archives::storage::Remembered;
use crate::error::{Error, Result};
use crate::progress::Silent;
use crate::tools::borg::Borg;

/// Keeps the list of the archive with the id `id`. Without it nothing is lost, so a failure is only
/// logged.
pub fn keep_list(borg: &Borg, id: &str) {
    match keep(borg, id) {
        Ok(()) => {}
        Err(e) => tracing::info!("the list of files of the new archive is not kept: {}", e.chain()),
    }
}

fn keep(borg: &Borg, id: &str) -> Result<()> {
    let remembered = Remembered::catalogs(borg.catalog_limit());
    if remembered.catalogs.is_none() {
        return Ok(());
    }
    let filter = ArchiveFilter { consider_checkpoints: true, ..ArchiveFilter::default() };
    let options = Options { filter, remembered, doing: "keep its list of files", ..Options::default() };
    let catalog = NativeCatalog::open(borg, &options).map_err(|why| match why {
        NotOpened::OnlyBorg(why) => Error::failed(why),
        NotOpened::Failed(error) => error,
    })?;
    let kept =
        catalog.archives().and_then(|archives| match archives.iter().find(|archive| archive.id == id) {
            Some(archive) => catalog.tree(archive, &View::default(), &Silent).map(drop),
            None => Ok(()),
        });
    catalog.shut_down();
    kept
}
