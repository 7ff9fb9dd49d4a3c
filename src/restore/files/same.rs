//! Whether what is there is what the archive has, apart from the bytes of files.

use std::ffi::CStr;
use std::os::fd::AsFd;

use rustix::fs::{FileType, Stat};

use crate::archive::tree::{Body, Node};
use crate::restore::attributes::Attributes;
use crate::tools::directory::Directory;
use crate::tools::inode::Inode;

/// Whether a link, a device or whatever else is what the archive has.
pub fn is_same_special(directory: &Directory, name: &CStr, stat: &Stat, node: &Node) -> bool {
    if FileType::from_raw_mode(stat.st_mode) != FileType::from_raw_mode(node.meta.mode) {
        return false;
    }
    match &node.body {
        Body::Symlink(target) => directory.read_link(name).is_ok_and(|here| here.as_bytes() == &**target),
        Body::Special if is_device(node.meta.mode) => stat.st_rdev == node.meta.rdev,
        Body::Special => true,
        Body::File(_) | Body::Directory => false,
    }
}

fn is_device(mode: u32) -> bool {
    matches!(FileType::from_raw_mode(mode), FileType::BlockDevice | FileType::CharacterDevice)
}

/// Whether what is there has other attributes. What cannot be asked is taken to have.
pub fn differ(directory: &Directory, name: &CStr, attributes: &Attributes, stat: &Stat) -> bool {
    if attributes.differ_from_stat(stat) {
        return true;
    }
    if attributes.are_plain() && directory.has_xattrs(name).is_ok_and(|has| !has) {
        return false;
    }
    let place = directory.place(name);
    place.is_ok_and(|place| attributes.differ_from(Inode::Place(place.as_fd()), stat).unwrap_or(true))
}
