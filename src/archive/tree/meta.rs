//! The metadata of a file.

use std::sync::Arc;

use borg_repository::Xattr;

/// The metadata of a file, in the terms of stat(2).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Meta {
    /// Including the file type.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub user: Option<Arc<[u8]>>,
    pub group: Option<Arc<[u8]>>,
    /// Times in nanoseconds since the epoch.
    pub mtime: i64,
    pub atime: i64,
    pub ctime: i64,
    pub rdev: u64,
    /// The archive has no item for it: a directory above something in the archive. All metadata are
    /// made up.
    pub made_up: bool,
}

/// Extended attributes, POSIX ACLs (as borg's text) and file flags, for the few files that have
/// them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Extra {
    pub xattrs: Vec<Xattr>,
    pub acl_access: Option<Box<[u8]>>,
    pub acl_default: Option<Box<[u8]>>,
    /// File flags, with BSD's numbers.
    pub flags: u32,
}
