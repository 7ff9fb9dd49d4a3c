//! Files out of a volume that is mounted, copied.

use std::ffi::OsStr;
use std::path::Path;

use super::files::Directory;
use crate::error::{Error, Result};
use crate::tools::tar;

/// Copies `name` of the directory `from` (a file, or a directory with all that is in it; of `.`, what is in it) into the
/// directory `to`, which is made if it is missing. Owners (by number), modes, times, links, holes,
/// xattrs and ACLs are kept. Nothing is written outside of `to`, whatever links are in it. `progress` is
/// told the bytes copied so far. Gives what of it could not be read; the rest came.
///
/// # Errors
/// When something of that name is there already, unless `overwrite`; and when nothing can be read, or
/// it cannot be written. Then nothing was changed in `to`.
pub fn copy(
    from: &Path,
    name: &OsStr,
    to: &Path,
    overwrite: bool,
    progress: &mut (dyn FnMut(u64) + Send),
) -> Result<Option<String>> {
    if let Some(above) = to.parent() {
        std::fs::create_dir_all(above).map_err(|e| {
            Error::failed(format!("cannot make the directory {}", above.display())).because(e)
        })?;
    }
    let directory = Directory::open(to, overwrite)?;
    if name != "." && !from.join(name).is_dir() {
        directory.must_take(name)?;
    }
    directory.fill(|dir| tar::copy(from, name, dir, progress))
}
