//! The FUSE that shows an image with its changes as one regular file that can be written; a loop
//! device stands on it.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, UNIX_EPOCH};

use fuser::{
    BackgroundSession, Config, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo,
    InitFlags, KernelConfig, LockOwner, OpenFlags, ReplyAttr, ReplyData, ReplyEmpty, ReplyEntry, ReplyOpen,
    ReplyStatfs, ReplyWrite, Request, SessionACL, WriteFlags,
};
use nix::mount::MsFlags;

use super::overlay::Overlay;
use crate::error::{Error, Kind, Result};
use crate::process::interrupt;
use crate::tools::mounts;

/// Its only file.
pub const NAME: &str = "volume";

/// Nobody else changes it.
const TTL: Duration = Duration::from_secs(24 * 3600);
/// Each waits for the archive where it must.
const THREADS: usize = 16;
const LOOK: Duration = Duration::from_millis(50);
const PATIENCE: Duration = Duration::from_secs(5);
/// linux/prctl.h, from Linux 5.6 on.
const PR_SET_IO_FLUSHER: libc::c_int = 57;
const ROOT: u64 = 1;
const VOLUME: u64 = 2;

struct Volume {
    overlay: Arc<Overlay>,
    /// A full disk is told once.
    message: AtomicBool,
}

impl Volume {
    fn answer(&self, result: io::Result<()>, reply: ReplyEmpty) {
        match result {
            Ok(()) => reply.ok(),
            Err(e) => reply.error(self.errno(&e)),
        }
    }

    fn errno(&self, e: &io::Error) -> fuser::Errno {
        if !self.message.swap(true, Ordering::Relaxed) {
            tracing::error!("the changes cannot be kept, and who writes is told so: {e}");
        }
        fuser::Errno::from_i32(e.raw_os_error().unwrap_or(libc::EIO))
    }

    fn attr(&self, ino: INodeNo) -> Option<FileAttr> {
        match ino.0 {
            ROOT => Some(attr(ROOT, FileType::Directory, 0o700, 0)),
            VOLUME => Some(attr(VOLUME, FileType::RegularFile, 0o600, self.overlay.size())),
            _ => None,
        }
    }
}

impl Filesystem for Volume {
    fn init(&mut self, _req: &Request, config: &mut KernelConfig) -> io::Result<()> {
        let wanted = InitFlags::FUSE_ASYNC_READ | InitFlags::FUSE_ASYNC_DIO;
        let _ = config.add_capabilities(wanted & config.capabilities());
        Ok(())
    }

    fn lookup(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match self.attr(INodeNo(VOLUME)).filter(|_| parent.0 == ROOT && name == NAME) {
            Some(attr) => reply.entry(&TTL, &attr, Generation(0)),
            None => reply.error(fuser::Errno::ENOENT),
        }
    }

    fn getattr(&self, _req: &Request, ino: INodeNo, _fh: Option<FileHandle>, reply: ReplyAttr) {
        match self.attr(ino) {
            Some(attr) => reply.attr(&TTL, &attr),
            None => reply.error(fuser::Errno::ENOENT),
        }
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
            Err(e) => reply.error(fuser::Errno::from_i32(e.raw_os_error().unwrap_or(libc::EIO))),
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
            Err(e) => reply.error(self.errno(&e)),
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

    /// A close is no promise.
    fn flush(&self, _req: &Request, _ino: INodeNo, _fh: FileHandle, _owner: LockOwner, reply: ReplyEmpty) {
        reply.error(fuser::Errno::ENOSYS);
    }

    fn statfs(&self, _req: &Request, _ino: INodeNo, reply: ReplyStatfs) {
        reply.statfs(self.overlay.size().div_ceil(4096), 0, 0, 1, 0, 4096, 255, 4096);
    }
}

fn attr(ino: u64, kind: FileType, perm: u16, size: u64) -> FileAttr {
    FileAttr {
        ino: INodeNo(ino),
        size,
        blocks: size.div_ceil(512),
        atime: UNIX_EPOCH,
        mtime: UNIX_EPOCH,
        ctime: UNIX_EPOCH,
        crtime: UNIX_EPOCH,
        kind,
        perm,
        nlink: 1,
        uid: 0,
        gid: 0,
        rdev: 0,
        // The kernel discards in such steps.
        blksize: 4096,
        flags: 0,
    }
}

/// An overlay that is mounted. Dropped, it is taken down.
pub struct Shown {
    dir: PathBuf,
    overlay: Arc<Overlay>,
    session: Option<BackgroundSession>,
}

impl Shown {
    /// Mounts `overlay` at `dir`; the file in it is [`NAME`].
    ///
    /// # Errors
    /// When FUSE is not there.
    pub fn new(overlay: Overlay, dir: &Path) -> Result<Shown> {
        // The kernel may want to write to us in order to have memory: then we must not wait for it.
        // SAFETY: it only sets a flag of this thread and of those that it makes.
        unsafe { libc::prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0) };
        let overlay = Arc::new(overlay);
        let volume = Volume { overlay: Arc::clone(&overlay), message: AtomicBool::new(false) };
        let session = mount(volume, dir).map_err(|e| {
            Error::failed(format!("cannot show the changes at {}", dir.display()))
                .because(e)
                .hint("it needs FUSE: `modprobe fuse` if there is no /dev/fuse")
        })?;
        Ok(Shown { dir: dir.to_owned(), overlay, session: Some(session) })
    }

    /// Waits until it is unmounted, or until a signal asks this process to end: then it unmounts.
    ///
    /// # Errors
    /// When it cannot be unmounted, or the last changes not be made durable.
    pub fn wait(mut self) -> Result<()> {
        let ended = |label: &Shown| label.session.as_ref().is_none_or(|s| s.guard.is_finished());
        while !ended(&self) {
            if interrupt::requested() {
                return self.take_down();
            }
            std::thread::sleep(LOOK);
        }
        self.session = None;
        self.sync()
    }

    fn take_down(&mut self) -> Result<()> {
        let Some(session) = self.session.take() else { return Ok(()) };
        let unmounted = mounts::unmount(&self.dir, false).or_else(|e| match e.kind() {
            Kind::Busy => {
                tracing::warn!("{} is in use: what is open in it fails from here on", self.dir.display());
                mounts::unmount(&self.dir, true)
            }
            _ => Err(e),
        });
        // What writes last shall be in the last flush; who holds it open still is not waited for.
        let deadline = Instant::now() + PATIENCE;
        while !session.guard.is_finished() && Instant::now() < deadline {
            std::thread::sleep(LOOK);
        }
        unmounted.and(self.sync())
    }

    fn sync(&self) -> Result<()> {
        self.overlay.sync().map_err(|e| Error::failed("the last changes are not on disk").because(e))
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        if let Err(e) = self.take_down() {
            tracing::error!("{}", e.chain());
        }
    }
}

fn mount(volume: Volume, dir: &Path) -> io::Result<BackgroundSession> {
    let device = mounts::mount_fuse("changes", mounts::FUSE_TYPE, MsFlags::MS_NOEXEC, &[], dir)?;
    let mut config = Config::default();
    config.n_threads = Some(THREADS);
    config.clone_fd = true;
    let session = fuser::Session::from_fd(volume, device, SessionACL::Owner, config);
    session.and_then(fuser::Session::spawn).inspect_err(|_| {
        let _ = mounts::unmount(dir, true);
    })
}
