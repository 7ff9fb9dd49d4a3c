//! What the arguments of `restore` ask for; nothing is looked up for it.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::options::Options;
use crate::archive::choice::Wanted;
use crate::error::Result;

pub struct Request<'a> {
    pub archive: Wanted,
    /// The archive, as a person wrote it.
    pub said: &'a str,
    pub paths: Vec<&'a [u8]>,
    /// `None` only with `--list`.
    pub to: Option<&'a Path>,
    pub options: &'a Options,
}

impl<'a> Request<'a> {
    /// # Errors
    /// When `archive` names no archive.
    pub fn new(
        archive: &'a str,
        paths: &'a [OsString],
        to: Option<&'a Path>,
        options: &'a Options,
    ) -> Result<Self> {
        let paths = paths.iter().map(|path| path.as_bytes()).collect();
        Ok(Request { archive: Wanted::parse(archive)?, said: archive, paths, to, options })
    }

    /// Whether a path may be one in a volume. A name may have a colon, too: only the archive can tell.
    pub fn may_be_in_volume(&self) -> bool {
        self.paths.iter().any(|path| memchr::memmem::find(path, b":/").is_some())
    }

    /// Whether only files go there.
    pub fn is_for_directory(&self) -> bool {
        self.paths.len() != 1 || self.to.is_some_and(|to| to.as_os_str().as_bytes().ends_with(b"/"))
    }
}
