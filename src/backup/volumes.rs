//! The staged `dev/zvol`: each volume as a regular file, and the dataset list beside them.
//!
//! borg would read a device from beginning to end every time, and `--read-special` would also make
//! it hang on a FIFO. A regular file with the time of the volume's last change is read only if it
//! changed.

use std::cell::RefCell;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use fuser::{
    FileAttr, FileHandle, FileType, Filesystem, FopenFlags, INodeNo, InitFlags, IoctlFlags, KernelConfig,
    LockOwner, OpenFlags, ReplyAttr, ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyIoctl,
    ReplyOpen, ReplyXattr, Request,
};
use nix::mount::MsFlags;

use crate::error::{Error, Result};
use crate::tools::fuse::answer::{self, ROOT};
use crate::tools::fuse::mounted::{Access, FuseMount, FuseOptions, NEEDS_FUSE};

/// Its type in the mount table.
const FUSE_TYPE: &str = "fuse.borg-offsite-backup-volumes";
/// borg reads one file after the other; the second thread answers other requests meanwhile.
const THREADS: usize = 2;
/// In KiB. borg reads 8 MiB at a time and then processes them; the next should be there by then.
const READ_AHEAD: u32 = 16 * 1024;

thread_local! {
    /// A new buffer for each request would cost as much as reading.
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// A regular file in the staged tree.
pub struct StagedFile {
    /// Relative, with `/` between components.
    pub path: String,
    pub inode: u64,
    /// The time of its last change, in nanoseconds since 1970.
    pub time: u64,
    pub content: StagedContent,
}

pub enum StagedContent {
    Bytes(Vec<u8>),
    /// A device of this size in bytes.
    Device(File, u64),
    /// A size in bytes; reading is an error.
    Unread(u64),
}

impl StagedContent {
    fn size(&self) -> u64 {
        match self {
            StagedContent::Bytes(bytes) => bytes.len() as u64,
            StagedContent::Device(_, size) | StagedContent::Unread(size) => *size,
        }
    }
}

struct VolumeNode {
    parent: u64,
    name: String,
    attr: FileAttr,
    content: Option<StagedContent>,
}

/// The tree of the files, with a directory for each component of their paths.
pub struct VolumeTree {
    nodes: Vec<VolumeNode>,
    read: Arc<AtomicU64>,
}

impl VolumeTree {
    pub fn new(files: Vec<StagedFile>) -> VolumeTree {
        let newest = files.iter().map(|file| file.time).max().unwrap_or_default();
        let root =
            VolumeNode { parent: ROOT, name: String::new(), attr: directory(ROOT, newest), content: None };
        let mut tree = VolumeTree { nodes: vec![root], read: Arc::default() };
        for file in files {
            let (above, name) = file.path.rsplit_once('/').unwrap_or(("", &file.path));
            let parent = above.split('/').filter(|part| !part.is_empty()).fold(ROOT, |parent, part| {
                tree.find(parent, OsStr::new(part)).map(|node| node.attr.ino.0).unwrap_or_else(|| {
                    let inode = ROOT + tree.nodes.len() as u64;
                    tree.nodes.push(VolumeNode {
                        parent,
                        name: part.to_owned(),
                        attr: directory(inode, newest),
                        content: None,
                    });
                    inode
                })
            });
            let attr = attr(file.inode, FileType::RegularFile, 0o600, file.content.size(), file.time);
            tree.nodes.push(VolumeNode { parent, name: name.to_owned(), attr, content: Some(file.content) });
        }
        tree
    }

    /// Counts the bytes that were read from devices.
    pub fn counter(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.read)
    }

    fn find(&self, parent: u64, name: &OsStr) -> Option<&VolumeNode> {
        self.nodes.iter().skip(1).find(|node| node.parent == parent && OsStr::new(&node.name) == name)
    }

    fn node(&self, inode: INodeNo) -> Option<&VolumeNode> {
        self.nodes.iter().find(|node| node.attr.ino == inode)
    }

    /// Replaces `bytes` by those at `offset`, at most `size`.
    fn read(&self, inode: INodeNo, offset: u64, size: u32, bytes: &mut Vec<u8>) -> io::Result<()> {
        let content = self.node(inode).and_then(|node| node.content.as_ref());
        let content = content.ok_or_else(|| io::Error::from_raw_os_error(libc::EISDIR))?;
        let length = content.size().saturating_sub(offset).min(u64::from(size)) as usize;
        match content {
            StagedContent::Bytes(all) => {
                bytes.clear();
                bytes.extend(all.iter().skip(offset as usize).take(length));
                Ok(())
            }
            StagedContent::Device(device, _) => {
                bytes.resize(length, 0);
                device.read_exact_at(bytes, offset)?;
                self.read.fetch_add(length as u64, Ordering::Relaxed);
                Ok(())
            }
            StagedContent::Unread(_) => Err(io::Error::from_raw_os_error(libc::EIO)),
        }
    }
}

impl Filesystem for VolumeTree {
    fn init(&mut self, _req: &Request, config: &mut KernelConfig) -> io::Result<()> {
        answer::ask_for(InitFlags::FUSE_ASYNC_READ, config);
        Ok(())
    }

    fn lookup(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        answer::entry(self.find(parent.0, name).map(|node| &node.attr), reply);
    }

    fn getattr(&self, _req: &Request, ino: INodeNo, _fh: Option<FileHandle>, reply: ReplyAttr) {
        answer::attributes(self.node(ino).map(|node| &node.attr), reply);
    }

    fn open(&self, _req: &Request, _ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        // Not FOPEN_DIRECT_IO: then the kernel would not read ahead while borg works.
        reply.opened(FileHandle(0), FopenFlags::empty());
    }

    fn read(
        &self,
        _req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        BUFFER.with_borrow_mut(|bytes| match VolumeTree::read(self, ino, offset, size, bytes) {
            Ok(()) => reply.data(bytes),
            Err(e) => reply.error(answer::errno(e)),
        });
    }

    /// Nothing is ever written.
    fn flush(&self, _req: &Request, _ino: INodeNo, _fh: FileHandle, _owner: LockOwner, reply: ReplyEmpty) {
        reply.error(fuser::Errno::ENOSYS);
    }

    /// borg asks for the flags of `lsattr`.
    fn ioctl(
        &self,
        _req: &Request,
        _ino: INodeNo,
        _fh: FileHandle,
        _flags: IoctlFlags,
        _cmd: u32,
        _in_data: &[u8],
        _out_size: u32,
        reply: ReplyIoctl,
    ) {
        reply.error(fuser::Errno::ENOTTY);
    }

    fn getxattr(&self, _req: &Request, _ino: INodeNo, _name: &OsStr, _size: u32, reply: ReplyXattr) {
        reply.error(fuser::Errno::ENOTSUP);
    }

    fn listxattr(&self, _req: &Request, _ino: INodeNo, _size: u32, reply: ReplyXattr) {
        reply.error(fuser::Errno::ENOTSUP);
    }

    fn readdir(&self, _req: &Request, ino: INodeNo, _fh: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let inside = self.nodes.iter().enumerate().skip(1.max(offset as usize));
        for (at, node) in inside.filter(|(_, node)| node.parent == ino.0) {
            if reply.add(
                node.attr.ino,
                at as u64 + 1,
                node.attr.kind,
                OsStr::from_bytes(node.name.as_bytes()),
            ) {
                break;
            }
        }
        reply.ok();
    }
}

fn directory(inode: u64, time: u64) -> FileAttr {
    attr(inode, FileType::Directory, 0o755, 0, time)
}

fn attr(inode: u64, kind: FileType, permissions: u16, size: u64, time: u64) -> FileAttr {
    answer::attributes_of_root(inode, kind, permissions, size, UNIX_EPOCH + Duration::from_nanos(time))
}

/// A mounted tree. Dropping it unmounts.
pub struct MountedVolumes {
    mount: FuseMount,
    up: bool,
}

impl MountedVolumes {
    /// Mounts `tree` at `dir`, for root only.
    ///
    /// # Errors
    /// When FUSE is not there.
    pub fn new(tree: VolumeTree, dir: &Path) -> Result<MountedVolumes> {
        let options = FuseOptions {
            name: "volumes",
            kind: FUSE_TYPE,
            flags: MsFlags::MS_RDONLY | MsFlags::MS_NOEXEC,
            access: Access::Owner,
            permissions: false,
            threads: THREADS,
            read_ahead: Some(READ_AHEAD),
        };
        let mount = FuseMount::new(tree, dir, &options).map_err(|e| {
            Error::failed(format!("cannot mount the volumes at {}", dir.display()))
                .because(e)
                .hint(NEEDS_FUSE)
        })?;
        Ok(MountedVolumes { mount, up: true })
    }

    /// # Errors
    /// When it cannot be unmounted.
    pub fn close(mut self) -> Result<()> {
        self.unmount()
    }

    /// After this, no device is open any more.
    fn unmount(&mut self) -> Result<()> {
        if !std::mem::take(&mut self.up) {
            return Ok(());
        }
        self.mount.unmount_by_force()?;
        self.mount.end().map_err(|e| Error::failed("the file system of the volumes failed").because(e))
    }
}

impl Drop for MountedVolumes {
    fn drop(&mut self) {
        if let Err(e) = self.unmount() {
            tracing::error!("{}", e.chain());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn label(path: &str, inode: u64, content: StagedContent) -> StagedFile {
        StagedFile { path: path.into(), inode, time: 1_764_000_000_000_000_007, content }
    }

    #[test]
    fn directories_are_made_once_and_files_keep_their_inode_size_and_time() {
        let tree = VolumeTree::new(vec![
            label("tank/a b/v", u64::MAX, StagedContent::Unread(1 << 40)),
            label("tank/w", 99, StagedContent::Bytes(b"xyz".to_vec())),
        ]);
        let tank = tree.find(ROOT, OsStr::new("tank")).unwrap().attr.ino.0;
        let directory = tree.find(tank, OsStr::new("a b")).unwrap().attr.ino.0;
        let volume = tree.find(directory, OsStr::new("v")).unwrap();
        assert_eq!((volume.attr.ino.0, volume.attr.size), (u64::MAX, 1 << 40));
        assert_eq!(volume.attr.ctime, UNIX_EPOCH + Duration::from_nanos(1_764_000_000_000_000_007));
        assert!(tree.find(tank, OsStr::new("w")).is_some());
        assert_eq!(tree.nodes.len(), 5);
    }

    #[test]
    fn reads_end_where_the_volume_ends_and_are_counted() {
        let mut device = tempfile::tempfile().unwrap();
        device.write_all(&[7; 5000]).unwrap();
        let tree = VolumeTree::new(vec![
            label("v", 9, StagedContent::Device(device.try_clone().unwrap(), 5000)),
            label("short", 10, StagedContent::Device(device, 6000)),
            label("m", 11, StagedContent::Bytes(b"abc".to_vec())),
        ]);
        let read = |inode, offset, size| {
            let mut bytes = vec![1; 10];
            tree.read(INodeNo(inode), offset, size, &mut bytes).map(|()| bytes)
        };
        assert_eq!(read(9, 4096, 4096).unwrap(), [7; 904]);
        assert!(read(9, 9999, 4096).unwrap().is_empty());
        assert!(read(10, 4096, 4096).is_err(), "never less than it says it has");
        assert_eq!(read(11, 1, 10).unwrap(), b"bc");
        assert_eq!(tree.counter().load(Ordering::Relaxed), 904);
    }
}
