//! An archive that can be mounted. The command brings it along: devices and mounts know nothing of each other.

use std::path::Path;

use crate::archive::choice::Wanted;
use crate::archive::name::Archive;
use crate::error::Result;
use crate::progress::Monitor;
use crate::tools::borg::Borg;

/// Finds an archive in the repository.
pub type Find<'a> = &'a dyn Fn(&Borg, &Wanted) -> Result<Box<dyn FoundArchive>>;

/// Mounts an archive that was read at a directory.
pub type Mount = Box<dyn FnOnce(&Path) -> Result<Serve>>;

/// Serves a mount until it is unmounted.
pub type Serve = Box<dyn FnOnce() -> Result<()>>;

/// An archive that was found, and is not read yet.
pub trait FoundArchive {
    fn archive(&self) -> Option<&Archive>;

    /// Under which its mount stands in the mount table.
    fn mount_name(&self) -> &str;

    /// Reads it. `monitor` hears how many entries were read.
    ///
    /// # Errors
    /// When it cannot be read.
    fn read(self: Box<Self>, monitor: &dyn Monitor) -> Result<Mount>;
}
