//! The attributes of a file.

use std::time::Duration;

/// What stat(2) tells; times in nanoseconds since the epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attr {
    pub ino: u64,
    pub size: u64,
    /// Bytes that are no hole.
    pub data: u64,
    /// With the file type.
    pub mode: u32,
    pub nlink: u32,
    pub uid: u32,
    pub gid: u32,
    pub rdev: u64,
    pub atime: i64,
    pub mtime: i64,
    pub ctime: i64,
    /// How long the kernel may keep this.
    pub lifetime: Duration,
}
