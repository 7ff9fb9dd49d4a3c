//! From a repository to its archives: picks a source, and the archive that is meant.

use std::sync::Arc;

use chrono::Local;

use super::native::NativeCatalog;
use super::source::Catalog;
use super::streams::{BorgCatalog, Limits};
use crate::archive::choice::{Shelf, Wanted};
use crate::archive::filter::ArchiveFilter;
use crate::archive::name::Archive;
use crate::error::{Error, Result};
use crate::tools::borg::Borg;

/// Folder in that of the cache for lists of files.
pub const CATALOGS: &str = "catalogs";

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

/// The archive of `archives`, which are all of `catalog`, that is `wanted`. Which one that is the log
/// says where it was not named exactly.
///
/// # Errors
/// As [`Wanted::find`].
pub fn choose(wanted: &Wanted, catalog: &dyn Catalog, archives: &[Archive], borg: &Borg) -> Result<Archive> {
    let (repository, today) = (borg.repository(), Local::now().date_naive());
    let shelf = Shelf { archives, repository, identity: borg.identity(), today };
    let chosen = wanted.find(&shelf, &mut |archive| catalog.origin(archive))?;
    if let Some(note) = chosen.note {
        tracing::warn!("{note}");
    }
    Ok(chosen.archive)
}

/// The source that was asked for, and its name. What only borg can read streams read; what nobody
/// should read is an error.
pub fn catalog(
    borg: &Borg,
    source: Source,
    filter: ArchiveFilter,
    limits: Limits,
    keep: impl FnOnce(NativeCatalog) -> NativeCatalog,
) -> Result<(Arc<dyn Catalog>, &'static str)> {
    match native(borg, source, filter.clone(), &limits)? {
        Some(catalog) => Ok((Arc::new(keep(catalog)), "native")),
        None => Ok((Arc::new(BorgCatalog::new(borg.clone(), filter, limits)), "stream")),
    }
}

/// The native source, if it is wanted and can read the repository; `None`: streams it is to be, and
/// the log says why.
///
/// # Errors
/// When nobody should read the repository, or only the native source was to and cannot.
pub fn native(
    borg: &Borg,
    source: Source,
    filter: ArchiveFilter,
    limits: &Limits,
) -> Result<Option<NativeCatalog>> {
    if source == Source::Stream {
        return Ok(None);
    }
    match NativeCatalog::open(borg, filter, limits.lock_wait, limits.stall)? {
        Ok(catalog) => Ok(Some(catalog)),
        Err(why) if source == Source::Native => {
            let repository = borg.repository();
            Err(Error::usage(format!("the native source cannot read {repository}: {why}"))
                .hint("`--source stream` can"))
        }
        Err(why) => {
            tracing::warn!("streams of borg are used, so far seeks are slow: {why}");
            Ok(None)
        }
    }
}
