//! A directory that is open, in which something is restored.

use std::ffi::CStr;
use std::os::fd::AsFd;

use crate::restore::attributes::Past;
use crate::tools::directory::Directory;
use crate::tools::inode::Inode;

/// A directory in which something is restored.
pub struct Parent {
    pub directory: Directory,
    /// In the archive, and below the directory that is restored to.
    path: Box<[u8]>,
    /// What is made in it may have this.
    pub past: Past,
}

impl Parent {
    pub fn new(directory: Directory, path: &[u8]) -> Self {
        let past = Past::in_directory(Inode::Open(directory.as_fd()));
        Parent { directory, path: path.into(), past }
    }

    pub fn path(&self) -> &[u8] {
        &self.path
    }

    /// The path of a name in it.
    pub fn path_of(&self, name: &CStr) -> Vec<u8> {
        join(&self.path, name.to_bytes())
    }
}

/// The path of `name` in the directory `path`.
pub fn join(path: &[u8], name: &[u8]) -> Vec<u8> {
    if path.is_empty() { name.to_vec() } else { [path, name].join(&b'/') }
}
