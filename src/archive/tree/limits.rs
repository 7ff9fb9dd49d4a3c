//! What Linux can hold of what an archive has.

use borg_repository::{Item, Xattr};

use super::paths::names;

/// No file system of Linux that we know has longer names, in bytes, and the kernel fails a directory
/// with much longer ones.
const LONGEST_NAME: usize = 255;
/// Longer paths are not shown, in bytes: sixteen times what a program can name at once.
pub const LONGEST_PATH: usize = 64 << 10;
/// An xattr's value is no larger on Linux, in bytes.
pub const LARGEST_XATTR: usize = 64 << 10;
/// Nor are all names of a file's xattrs, each ended by a NUL; some of it is for the names of ACLs.
const LONGEST_XATTR_LIST: usize = (64 << 10) - 64;
/// What the names of Linux's xattrs begin with.
const NAMESPACES: [&[u8]; 5] = [b"user.", b"trusted.", b"security.", b"system.", b"btrfs."];
/// A symlink leads no further, in bytes.
const LONGEST_TARGET: usize = 4095;

/// Those xattrs that Linux can hold: a program that copies a file fails at the others.
pub fn holdable(xattrs: &[Xattr]) -> Vec<&Xattr> {
    let mut list = 0;
    let fits = |xattr: &&Xattr| {
        let (name, value) = *xattr;
        let known = NAMESPACES.iter().any(|space| name.starts_with(space) && name.len() > space.len());
        let fits = known && !name.contains(&0) && name.len() <= LONGEST_NAME && value.len() <= LARGEST_XATTR;
        let longer = list + name.len() + 1;
        if !fits || longer > LONGEST_XATTR_LIST {
            return false;
        }
        list = longer;
        true
    };
    xattrs.iter().filter(fits).collect()
}

/// Where a symlink leads, if Linux allows such a target.
pub fn target(item: &Item) -> Option<&[u8]> {
    let target = item.source.as_deref()?;
    let fits = (1..=LONGEST_TARGET).contains(&target.len()) && !target.contains(&0);
    fits.then_some(target)
}

/// The path, if each of its names can be shown.
pub fn showable(path: &[u8]) -> Option<&[u8]> {
    names(path).all(|name| name.len() <= LONGEST_NAME).then_some(path)
}
