//! The archives of a repository, read through the source that can read it.

use std::sync::Arc;

use chrono::Local;

use super::native::NativeCatalog;
use super::native::NotOpened;
pub use super::options::{Options, Source};
use super::source::Catalog;
use super::streams::BorgCatalog;
use crate::archive::choice::{Shelf, Wanted};
use crate::archive::name::Archive;
use crate::archive::tree::{Tree, View};
use crate::error::{Error, Result};
use crate::progress::Silent;
use crate::tools::borg::{Borg, Need};

/// The archives of one repository.
#[derive(Clone)]
pub struct Archives {
    borg: Borg,
    catalog: Arc<dyn Catalog>,
    native: Option<Arc<NativeCatalog>>,
}

impl Archives {
    /// Opens the archives. If only borg can read the repository, streams are used, and the log says
    /// why. If the repository must not be trusted, opening it is an error.
    ///
    /// # Errors
    /// When the repository cannot be read, or `options.source` cannot read it.
    pub fn open(borg: &Borg, options: Options) -> Result<Self> {
        let native = native(borg, &options)?.map(Arc::new);
        let Options { filter, limits, .. } = options;
        let catalog: Arc<dyn Catalog> = match &native {
            Some(native) => native.clone(),
            None => Arc::new(BorgCatalog::new(borg.clone(), filter, limits)),
        };
        Ok(Archives { borg: borg.clone(), catalog, native })
    }

    /// Lists the archives.
    ///
    /// # Errors
    /// When the repository cannot be read.
    pub fn list(&self) -> Result<Vec<Archive>> {
        self.catalog.archives()
    }

    /// Picks the archive that `wanted` names from `list`, which must hold all archives. If the name
    /// is not exact, the log says which archive was picked.
    ///
    /// # Errors
    /// As [`Wanted::find`].
    pub fn resolve(&self, wanted: &Wanted, list: &[Archive]) -> Result<Archive> {
        let (repository, today) = (self.borg.repository(), Local::now().date_naive());
        let shelf = Shelf { archives: list, repository, identity: self.borg.identity(), today };
        let chosen = wanted.find(&shelf, &mut |archive| self.catalog.origin(archive))?;
        if let Some(note) = chosen.note {
            tracing::warn!("{note}");
        }
        Ok(chosen.archive)
    }

    /// The tree of `archive` as `view` shows it.
    ///
    /// # Errors
    /// When the archive cannot be read.
    pub fn tree(&self, archive: &Archive, view: &View) -> Result<Arc<Tree>> {
        self.catalog.tree(archive, view, &Silent).map(Arc::new)
    }

    /// The native reader; `None` if only borg can read the repository.
    pub fn native(&self) -> Option<&Arc<NativeCatalog>> {
        self.native.as_ref()
    }

    pub fn catalog(&self) -> &Arc<dyn Catalog> {
        &self.catalog
    }

    /// Whether the repository is on this machine.
    pub fn is_local(&self) -> bool {
        self.borg.local().is_some()
    }

    /// The name of the source.
    pub fn source(&self) -> &'static str {
        if self.native.is_some() { "native" } else { "stream" }
    }

    /// Stops all processes and threads.
    pub fn shut_down(&self) {
        self.catalog.shut_down();
    }
}

/// `None` if streams are wanted, or only borg can read the repository.
fn native(borg: &Borg, options: &Options) -> Result<Option<NativeCatalog>> {
    let ask = || borg.preflight(options.doing, Need::Repository, false).map(drop);
    if options.source == Source::Stream {
        return ask().map(|()| None);
    }
    match NativeCatalog::open(borg, options) {
        Ok(catalog) => Ok(Some(catalog)),
        Err(NotOpened::Failed(error)) => Err(borg.explain_unopened(options.doing, error)),
        Err(NotOpened::OnlyBorg(why)) if options.salvage.is_some() => {
            let repository = borg.repository();
            Err(Error::usage(format!("nothing can be salvaged from {repository}: only borg can read it"))
                .because(why))
        }
        Err(NotOpened::OnlyBorg(why)) if options.source == Source::Native => {
            let repository = borg.repository();
            Err(Error::usage(format!("the native source cannot read {repository}: {why}"))
                .hint("`--source stream` can"))
        }
        Err(NotOpened::OnlyBorg(why)) => {
            ask()?;
            tracing::warn!("streams of borg are used, so far seeks are slow: {why}");
            Ok(None)
        }
    }
}
