//! The archives of a repository, through whichever source can read it.

use std::sync::Arc;

use chrono::Local;

use super::load;
use super::native::NativeCatalog;
use super::native::NotOpened;
use super::source::Catalog;
use super::storage::Remembered;
use super::streams::{BorgCatalog, Limits};
use crate::archive::choice::{Shelf, Wanted};
use crate::archive::filter::ArchiveFilter;
use crate::archive::name::Archive;
use crate::archive::tree::{Tree, View};
use crate::error::{Error, Result};
use crate::progress::Silent;
use crate::tools::borg::Borg;

/// Where the bytes come from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Source {
    /// Chunks where we can read the repository, else streams.
    #[default]
    Auto,
    /// Streams of `borg extract`.
    Stream,
    /// Chunks, read by ourselves.
    Native,
}

/// How archives are opened.
#[derive(Debug, Clone, Default)]
pub struct Options {
    pub source: Source,
    /// Which archives there are.
    pub filter: ArchiveFilter,
    pub limits: Limits,
    pub remembered: Remembered,
}

/// The archives of one repository.
#[derive(Clone)]
pub struct Archives {
    borg: Borg,
    catalog: Arc<dyn Catalog>,
    native: Option<Arc<NativeCatalog>>,
}

impl Archives {
    /// Opens them. What only borg can read streams read, and the log says why; what nobody should read is
    /// an error.
    ///
    /// # Errors
    /// When the repository cannot be read, or not by the source that was asked for.
    pub fn open(borg: &Borg, options: Options) -> Result<Self> {
        let native = native(borg, &options)?;
        let Options { filter, limits, remembered, .. } = options;
        let look = limits.look;
        let native = native.map(|catalog| Arc::new(catalog.remembering(remembered).looking_every(look)));
        let catalog: Arc<dyn Catalog> = match &native {
            Some(native) => native.clone(),
            None => Arc::new(BorgCatalog::new(borg.clone(), filter, limits)),
        };
        Ok(Archives { borg: borg.clone(), catalog, native })
    }

    /// The archives that there are.
    ///
    /// # Errors
    /// When the repository cannot be read.
    pub fn list(&self) -> Result<Vec<Archive>> {
        self.catalog.archives()
    }

    /// The archive of `list`, which are all of them, that is `wanted`. The log says which one that is, where it
    /// was not named exactly.
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

    /// Which files `archive` has, as `view` shows them.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn tree(&self, archive: &Archive, view: &View) -> Result<Arc<Tree>> {
        load::tree(&*self.catalog, archive, view, &Silent)
    }

    /// The reader of the repository; `None` where only borg can read it.
    pub fn native(&self) -> Option<&Arc<NativeCatalog>> {
        self.native.as_ref()
    }

    pub fn catalog(&self) -> &Arc<dyn Catalog> {
        &self.catalog
    }

    /// The name of the source.
    pub fn source(&self) -> &'static str {
        if self.native.is_some() { "native" } else { "stream" }
    }

    /// Ends what still runs.
    pub fn shut_down(&self) {
        self.catalog.shut_down();
    }
}

/// `None`: streams are wanted, or only borg can read the repository.
fn native(borg: &Borg, options: &Options) -> Result<Option<NativeCatalog>> {
    if options.source == Source::Stream {
        return Ok(None);
    }
    match NativeCatalog::open(borg, options.filter.clone(), options.limits.lock_wait, options.limits.stall) {
        Ok(catalog) => Ok(Some(catalog)),
        Err(NotOpened::Failed(error)) => Err(error),
        Err(NotOpened::OnlyBorg(why)) if options.source == Source::Native => {
            let repository = borg.repository();
            Err(Error::usage(format!("the native source cannot read {repository}: {why}"))
                .hint("`--source stream` can"))
        }
        Err(NotOpened::OnlyBorg(why)) => {
            tracing::warn!("streams of borg are used, so far seeks are slow: {why}");
            Ok(None)
        }
    }
}
