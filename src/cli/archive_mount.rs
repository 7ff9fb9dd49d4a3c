//! Joins devices and mounts: an attachment mounts the archive with its image.

use std::path::Path;

use crate::archive::choice::Wanted;
use crate::archive::name::Archive;
use crate::archives::salvage::Salvage;
use crate::device::found_archive::{FoundArchive, Mount, Serve};
use crate::error::Result;
use crate::mount::open::{self, Found, Request};
use crate::progress::Monitor;
use crate::tools::borg::Borg;

/// Finds an archive for an attachment, with lost chunks as `salvage` says.
///
/// # Errors
/// When the repository cannot be read, or there is no such archive.
pub fn find(borg: &Borg, wanted: &Wanted, salvage: Option<Salvage>) -> Result<Box<dyn FoundArchive>> {
    let request = Request { archive: Some(wanted.clone()), salvage, ..Request::default() };
    Ok(Box::new(open::find(borg, request)?))
}

impl FoundArchive for Found {
    fn archive(&self) -> Option<&Archive> {
        self.archive.as_ref()
    }

    fn mount_name(&self) -> &str {
        &self.name
    }

    fn read(self: Box<Self>, monitor: &dyn Monitor) -> Result<Mount> {
        let opened = Found::read(*self, monitor)?;
        Ok(Box::new(move |dir: &Path| {
            let session = opened.mount(dir)?;
            Ok(Box::new(move || session.wait()) as Serve)
        }))
    }
}
