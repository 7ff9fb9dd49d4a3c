//! An item of an archive: everything that borg stores about a file except its bytes.

use std::sync::Arc;

use super::path::ItemPath;

/// The owner of files without an owner.
pub const NOBODY: u32 = 65_534;

/// An item, in borg's own terms (see "Item fields" in borg's internals documentation).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Its position among the items of the archive, from 0.
    pub number: u64,
    /// Its path in the archive.
    pub path: ItemPath,
    /// The path as the archive spells it, if that differs: `./a`, as tar writes it. Borg finds the
    /// item by this one.
    pub raw: Option<Box<[u8]>>,
    /// st_mode, with the file type.
    pub mode: u32,
    /// The owner's number on the backup machine.
    pub uid: u32,
    /// The group's number on the backup machine.
    pub gid: u32,
    /// The name of the owner, if the backup machine knew it.
    pub user: Option<Arc<[u8]>>,
    /// The name of the group, if the backup machine knew it.
    pub group: Option<Arc<[u8]>>,
    /// The last change of the content, in nanoseconds since 1970.
    pub mtime: i64,
    /// The last access, in nanoseconds since 1970.
    pub atime: Option<i64>,
    /// The last change of content or metadata, in nanoseconds since 1970.
    pub ctime: Option<i64>,
    /// In bytes; the sum of the listed chunks.
    pub size: u64,
    /// st_rdev of a device.
    pub rdev: u64,
    /// The target of a symbolic link; for all others, the path of the hard-link master.
    pub source: Option<Box<[u8]>>,
    /// Extended attributes, without POSIX ACLs.
    pub xattrs: Vec<Xattr>,
    /// The ACL as text, with lines such as `user:name:rwx:uid`.
    pub acl_access: Option<Box<[u8]>>,
    /// The default ACL of a directory, in the same form.
    pub acl_default: Option<Box<[u8]>>,
    /// File flags, with the numbers of BSD (`UF_NODUMP` is 1).
    pub flags: u32,
    /// `check --repair` put zeros where chunks were lost.
    pub damaged: bool,
    /// Borg's checkpoint of a part of a file, which is not a file of its own.
    pub part: bool,
}

impl Item {
    /// A file with only these attributes; it belongs to nobody.
    pub fn new(path: ItemPath, mode: u32) -> Self {
        Item {
            number: 0,
            path,
            raw: None,
            mode,
            uid: NOBODY,
            gid: NOBODY,
            user: None,
            group: None,
            mtime: 0,
            atime: None,
            ctime: None,
            size: 0,
            rdev: 0,
            source: None,
            xattrs: Vec::new(),
            acl_access: None,
            acl_default: None,
            flags: 0,
            damaged: false,
            part: false,
        }
    }
}

/// The name and value of an extended attribute.
pub type Xattr = (Box<[u8]>, Box<[u8]>);

/// The type of a file, from the type bits of its mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileType {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A block device.
    BlockDevice,
    /// A character device.
    CharDevice,
    /// A named pipe.
    Fifo,
    /// A Unix socket.
    Socket,
}

impl FileType {
    /// `None` for type bits that no file has.
    #[inline]
    pub fn from_mode(mode: u32) -> Option<FileType> {
        Some(match mode & libc::S_IFMT {
            libc::S_IFREG => FileType::File,
            libc::S_IFDIR => FileType::Directory,
            libc::S_IFLNK => FileType::Symlink,
            libc::S_IFBLK => FileType::BlockDevice,
            libc::S_IFCHR => FileType::CharDevice,
            libc::S_IFIFO => FileType::Fifo,
            libc::S_IFSOCK => FileType::Socket,
            _ => return None,
        })
    }
}
