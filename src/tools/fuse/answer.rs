//! Answers to the kernel.

use std::io;
use std::time::{Duration, SystemTime};

use fuser::{
    FileAttr, FileType, Generation, INodeNo, InitFlags, KernelConfig, ReplyAttr, ReplyEntry, ReplyStatfs,
};

/// The inode number of a mount's root.
pub const ROOT: u64 = 1;
/// How long the kernel keeps an answer that never changes while the mount stands.
pub const FOR_EVER: Duration = Duration::from_secs(24 * 3600);
/// The unit in which the kernel writes and discards.
const BLOCK: u32 = 4096;

/// Asks the kernel for `capabilities`. Each only makes the mount faster, so an old kernel does without.
pub fn ask_for(capabilities: InitFlags, config: &mut KernelConfig) {
    let _ = config.add_capabilities(capabilities & config.capabilities());
}

/// Answers a lookup; `None`: there is no such name.
pub fn entry(attributes: Option<&FileAttr>, reply: ReplyEntry) {
    match attributes {
        Some(attributes) => reply.entry(&FOR_EVER, attributes, Generation(0)),
        None => reply.error(fuser::Errno::ENOENT),
    }
}

/// Answers a question for attributes; `None`: there is no such inode.
pub fn attributes(attributes: Option<&FileAttr>, reply: ReplyAttr) {
    match attributes {
        Some(attributes) => reply.attr(&FOR_EVER, attributes),
        None => reply.error(fuser::Errno::ENOENT),
    }
}

/// Reports the size of the file system: full, with these bytes and files.
pub fn statfs(bytes: u64, files: u64, reply: ReplyStatfs) {
    reply.statfs(bytes.div_ceil(u64::from(BLOCK)), 0, 0, files, 0, BLOCK, 255, BLOCK);
}

/// The error for the kernel; EIO if it has no number.
pub fn errno(error: impl Into<io::Error>) -> fuser::Errno {
    fuser::Errno::from_i32(error.into().raw_os_error().unwrap_or(libc::EIO))
}

/// The attributes of a file or directory of root; all its times are `time`.
pub fn attributes_of_root(
    inode: u64,
    kind: FileType,
    permissions: u16,
    size: u64,
    time: SystemTime,
) -> FileAttr {
    FileAttr {
        ino: INodeNo(inode),
        size,
        blocks: size.div_ceil(512),
        atime: time,
        mtime: time,
        ctime: time,
        crtime: time,
        kind,
        perm: permissions,
        nlink: 1,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: BLOCK,
        flags: 0,
    }
}
