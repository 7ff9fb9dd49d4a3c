//! The attributes of a file.

use std::time::Duration;

/// The members of stat(2), with times in nanoseconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attr {
    pub ino: u64,
    pub size: u64,
    /// Bytes outside of holes.
    pub data: u64,
    /// Including the file type.
    pub mode: u32,
    pub nlink: u32,
    pub uid: u32,
    pub gid: u32,
    pub rdev: u64,
    pub atime: i64,
    pub mtime: i64,
    pub ctime: i64,
    /// How long the kernel may cache the attributes.
    pub lifetime: Duration,
}
