//! The limits of Linux on what an archive may contain.

use borg_repository::{Item, Xattr};

use super::paths::names;

/// The longest name, in bytes. No file system of Linux that we know allows longer ones, and the
/// kernel fails a directory with much longer ones.
const LONGEST_NAME: usize = 255;
/// The longest path that is shown, in bytes: sixteen times what a program can pass at once.
pub const LONGEST_PATH: usize = 64 << 10;
/// The largest value of an xattr on Linux, in bytes.
pub const LARGEST_XATTR: usize = 64 << 10;
/// The same limit for all names of a file's xattrs, each followed by a NUL. Some of it is reserved
/// for the names of ACLs.
const LONGEST_XATTR_LIST: usize = (64 << 10) - 64;
/// The prefixes of xattrs on Linux.
const NAMESPACES: [&[u8]; 5] = [b"user.", b"trusted.", b"security.", b"system.", b"btrfs."];
/// The longest target of a symbolic link, in bytes.
const LONGEST_TARGET: usize = 4095;

/// The xattrs that Linux can hold: a program that copies a file fails on all others.
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

/// The target of a symbolic link, if Linux allows it.
pub fn target(item: &Item) -> Option<&[u8]> {
    let target = item.source.as_deref()?;
    let fits = (1..=LONGEST_TARGET).contains(&target.len()) && !target.contains(&0);
    fits.then_some(target)
}

/// The path, if each of its names can be shown.
pub fn showable(path: &[u8]) -> Option<&[u8]> {
    names(path).all(|name| name.len() <= LONGEST_NAME).then_some(path)
}
