//! A repository that is open for a command that works without borg.

use crate::archive::filter::ArchiveFilter;
use crate::archives::native::NativeCatalog;
use crate::archives::open::{Archives, Options};
use crate::cli::globals::Globals;
use crate::error::{Error, Kind, Result};
use crate::process::interrupt;
use crate::tools::borg::{Borg, Preflight};

/// An open repository, and its location for people.
pub struct Opened {
    pub archives: Archives,
    pub location: String,
    _preflight: Preflight,
}

impl Opened {
    /// Opens the repository in order to `doing` ("list the archives"), with the archives that
    /// `filter` selects.
    ///
    /// # Errors
    /// When it cannot be reached or read.
    pub fn new(globals: &Globals, doing: &'static str, filter: ArchiveFilter) -> Result<Self> {
        let borg = Borg::new(&globals.config()?)?;
        interrupt::heed()?;
        let preflight = borg.reach(doing)?;
        let archives = Archives::open(&borg, Options { filter, doing, ..Options::default() })?;
        let location = borg.canonical_location().unwrap_or_else(|_| borg.repository().to_owned());
        Ok(Opened { archives, location, _preflight: preflight })
    }

    /// # Errors
    /// When only borg can read the repository.
    pub fn native(&self) -> Result<&NativeCatalog> {
        self.archives.native().map(|native| &**native).ok_or_else(|| {
            Error::new(
                Kind::NotFound,
                format!("only borg can read {}, and it is not installed", self.location),
            )
        })
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        self.archives.shut_down();
    }
}

/// All archives, including checkpoints.
pub fn all() -> ArchiveFilter {
    ArchiveFilter { consider_checkpoints: true, ..ArchiveFilter::default() }
}
