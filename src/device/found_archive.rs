//! An archive that can be mounted. The command provides it, because devices and mounts do not know
//! each other.

use std::path::Path;

use crate::archive::choice::Wanted;
use crate::archive::name::Archive;
use crate::error::Result;
use crate::progress::Monitor;
use crate::tools::borg::Borg;

/// Finds an archive in the repository.
pub type Find<'a> = &'a dyn Fn(&Borg, &Wanted) -> Result<Box<dyn FoundArchive>>;

/// Mounts an archive whose list of files was read, at a directory.
pub type Mount = Box<dyn FnOnce(&Path) -> Result<Serve>>;

/// Serves a mount until it is unmounted.
pub type Serve = Box<dyn FnOnce() -> Result<()>>;

/// An archive that was found, but not read yet.
pub trait FoundArchive {
    fn archive(&self) -> Option<&Archive>;

    /// The source of its mount in the mount table.
    fn mount_name(&self) -> &str;

    /// Reads the list of files. `monitor` receives the number of entries that were read.
    ///
    /// # Errors
    /// When the list cannot be read.
    fn read(self: Box<Self>, monitor: &dyn Monitor) -> Result<Mount>;
}
