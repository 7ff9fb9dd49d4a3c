//! A FUSE file system with one writable file: the image with its changes. A loop device stands on
//! it.

use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use fuser::{
    FileAttr, FileHandle, FileType, Filesystem, FopenFlags, INodeNo, InitFlags, KernelConfig, LockOwner,
    OpenFlags, ReplyAttr, ReplyData, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, Request,
    WriteFlags,
};
use nix::mount::MsFlags;

use super::overlay::Overlay;
use crate::error::{Error, Result};
use crate::process::interrupt;
use crate::tools::fuse::answer::{self, ROOT};
use crate::tools::fuse::mounted::{Access, FuseMount, FuseOptions, NEEDS_FUSE};
use crate::tools::mounts;

/// The name of its only file.
pub const NAME: &str = "volume";

/// Each may have to wait for the archive.
const THREADS: usize = 16;
/// The time between two looks for a signal.
const PAUSE: Duration = Duration::from_millis(50);
const PATIENCE: Duration = Duration::from_secs(5);
/// linux/prctl.h, from Linux 5.6 on.
const PR_SET_IO_FLUSHER: libc::c_int = 57;
const VOLUME: u64 = 2;

struct OverlayFileSystem {
    overlay: Arc<Overlay>,
    /// Whether a failed write was logged: only the first one is.
    is_logged: AtomicBool,
}

impl OverlayFileSystem {
    fn answer(&self, result: io::Result<()>, reply: ReplyEmpty) {
        match result {
            Ok(()) => reply.ok(),
            Err(e) => reply.error(self.errno(e)),
        }
    }

    fn errno(&self, e: io::Error) -> fuser::Errno {
        if !self.is_logged.swap(true, Ordering::Relaxed) {
            tracing::error!("the changes cannot be kept, and who writes is told so: {e}");
        }
        answer::errno(e)
    }

    fn attr(&self, ino: INodeNo) -> Option<FileAttr> {
        let (kind, permissions, size) = match ino.0 {
            ROOT => Some((FileType::Directory, 0o700, 0)),
            VOLUME => Some((FileType::RegularFile, 0o600, self.overlay.size())),
            _ => None,
        }?;
        Some(answer::attributes_of_root(ino.0, kind, permissions, size, UNIX_EPOCH))
    }
}

impl Filesystem for OverlayFileSystem {
    fn init(&mut self, _req: &Request, config: &mut KernelConfig) -> io::Result<()> {
        answer::ask_for(InitFlags::FUSE_ASYNC_READ | InitFlags::FUSE_ASYNC_DIO, config);
        Ok(())
    }

    fn lookup(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let attr = self.attr(INodeNo(VOLUME)).filter(|_| parent.0 == ROOT && name == NAME);
        answer::entry(attr.as_ref(), reply);
    }

    fn getattr(&self, _req: &Request, ino: INodeNo, _fh: Option<FileHandle>, reply: ReplyAttr) {
        answer::attributes(self.attr(ino).as_ref(), reply);
    }

    fn open(&self, _req: &Request, _ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        reply.opened(FileHandle(0), FopenFlags::FOPEN_KEEP_CACHE);
    }

    fn read(
        &self,
        _req: &Request,
        _ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match self.overlay.read(offset, size as usize) {
            Ok(bytes) => reply.data(&bytes),
            Err(e) => reply.error(answer::errno(e)),
        }
    }

    fn write(
        &self,
        _req: &Request,
        _ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        data: &[u8],
        _write_flags: WriteFlags,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        match self.overlay.write(offset, data) {
            Ok(()) => reply.written(data.len() as u32),
            Err(e) => reply.error(self.errno(e)),
        }
    }

    fn fallocate(
        &self,
        _req: &Request,
        _ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        if mode & (libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_ZERO_RANGE) == 0 {
            return reply.error(fuser::Errno::EOPNOTSUPP);
        }
        self.answer(self.overlay.discard(offset, length), reply);
    }

    fn fsync(&self, _req: &Request, _ino: INodeNo, _fh: FileHandle, _datasync: bool, reply: ReplyEmpty) {
        self.answer(self.overlay.sync(), reply);
    }

    /// Closing a file makes nothing durable.
    fn flush(&self, _req: &Request, _ino: INodeNo, _fh: FileHandle, _owner: LockOwner, reply: ReplyEmpty) {
        reply.error(fuser::Errno::ENOSYS);
    }

    fn statfs(&self, _req: &Request, _ino: INodeNo, reply: ReplyStatfs) {
        answer::statfs(self.overlay.size(), 1, reply);
    }
}

/// A mounted overlay. Dropping it takes the mount down.
pub struct MountedOverlay {
    overlay: Arc<Overlay>,
    mount: FuseMount,
    up: bool,
}

impl MountedOverlay {
    /// Mounts `overlay` at `dir`; the file in it is [`NAME`].
    ///
    /// # Errors
    /// When FUSE is not there.
    pub fn new(overlay: Overlay, dir: &Path) -> Result<MountedOverlay> {
        // The kernel may write to us in order to free memory, so we must not wait for the kernel to
        // free some.
        // SAFETY: it only sets a flag of this thread and of those that it starts.
        unsafe { libc::prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0) };
        let overlay = Arc::new(overlay);
        let volume = OverlayFileSystem { overlay: Arc::clone(&overlay), is_logged: AtomicBool::new(false) };
        let options = FuseOptions {
            name: "changes",
            kind: mounts::FUSE_TYPE,
            flags: MsFlags::MS_NOEXEC,
            access: Access::Owner,
            permissions: false,
            threads: THREADS,
            read_ahead: None,
        };
        let mount = FuseMount::new(volume, dir, &options).map_err(|e| {
            Error::failed(format!("cannot show the changes at {}", dir.display())).because(e).hint(NEEDS_FUSE)
        })?;
        Ok(MountedOverlay { overlay, mount, up: true })
    }

    /// Waits until it is unmounted, or until a signal asks this process to end: then it unmounts.
    ///
    /// # Errors
    /// When it cannot be unmounted, or the last changes cannot be made durable.
    pub fn wait(mut self) -> Result<()> {
        while self.mount.end_within(PAUSE).is_none() {
            if interrupt::requested() {
                return self.take_down();
            }
        }
        self.up = false;
        self.sync()
    }

    fn take_down(&mut self) -> Result<()> {
        if !std::mem::take(&mut self.up) {
            return Ok(());
        }
        let unmounted = self.mount.unmount();
        // Waits for the last writes, but not for a file that stays open.
        let _ = self.mount.end_within(PATIENCE);
        unmounted.and(self.sync())
    }

    fn sync(&self) -> Result<()> {
        self.overlay.sync().map_err(|e| Error::failed("the last changes are not on disk").because(e))
    }
}

impl Drop for MountedOverlay {
    fn drop(&mut self) {
        if let Err(e) = self.take_down() {
            tracing::error!("{}", e.chain());
        }
    }
}
