//! Translates FUSE's calls for [`FileSystem`]. Calls that may wait for the source go to a pool, so
//! that a thread of the session is always free for what is in the cache.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crossbeam_channel::{Receiver, Sender, unbounded};
use fuser::{
    AccessFlags, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, InitFlags,
    KernelConfig, LockOwner, OpenFlags, ReplyAttr, ReplyData, ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty,
    ReplyEntry, ReplyLseek, ReplyOpen, ReplyStatfs, ReplyXattr, Request,
};
use nix::errno::Errno;
use parking_lot::Mutex;

use super::attr::Attr;
use super::fs::FileSystem;
use crate::tools::fuse::answer::{self, errno};

/// Threads that wait for sources, each for one read. The kernel sends at most 64 reads at once.
const WORKERS: usize = 32;
/// The most reads that the kernel has in flight in the background.
const BACKGROUND: u16 = 64;

type Job = Box<dyn FnOnce(&FileSystem) + Send>;

/// The file system as the kernel calls it.
pub struct Adapter {
    fs: Arc<FileSystem>,
    jobs: Sender<Job>,
    pending: Arc<Pending>,
    opened: Opened,
}

/// The number of open files and directories in the mount.
#[derive(Clone, Default)]
pub struct Opened(Arc<AtomicU64>);

impl Opened {
    pub fn is_none(&self) -> bool {
        self.0.load(Ordering::Acquire) == 0
    }

    fn more(&self) {
        self.0.fetch_add(1, Ordering::AcqRel);
    }

    fn less(&self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Adapter {
    /// A read that is not answered within `deadline` is answered with EIO.
    ///
    /// # Errors
    /// When the threads cannot be started.
    pub fn new(fs: Arc<FileSystem>, deadline: Duration) -> io::Result<Self> {
        let (jobs, queue) = unbounded::<Job>();
        for n in 0..WORKERS {
            let (fs, queue): (_, Receiver<Job>) = (Arc::clone(&fs), queue.clone());
            let work = move || queue.iter().for_each(|job| job(&fs));
            std::thread::Builder::new().name(format!("reader-{n}")).spawn(work)?;
        }
        let pending = Arc::new(Pending::default());
        let watched = Arc::downgrade(&pending);
        std::thread::Builder::new()
            .name("deadline".into())
            .spawn(move || Pending::watch(&watched, deadline))?;
        Ok(Adapter { fs, jobs, pending, opened: Opened::default() })
    }

    pub fn opened(&self) -> Opened {
        self.opened.clone()
    }

    /// Answers at once if `ino` is ready, otherwise from the pool.
    fn answer(&self, ino: INodeNo, job: impl FnOnce(&FileSystem) + Send + 'static) {
        self.answer_if(self.fs.is_ready(ino.0), job);
    }

    /// Answers at once if `can_be` is set, otherwise from the pool.
    fn answer_if(&self, can_be: bool, job: impl FnOnce(&FileSystem) + Send + 'static) {
        if can_be {
            job(&self.fs);
        } else {
            self.later(job);
        }
    }

    fn later(&self, job: impl FnOnce(&FileSystem) + Send + 'static) {
        // The workers live as long as this sender, so sending cannot fail.
        let _ = self.jobs.send(Box::new(job));
    }
}

/// Waiting reads with their replies. Whoever comes first takes the reply.
#[derive(Default)]
struct Pending(Mutex<Vec<(Instant, Promise)>>);

type Promise = Arc<Mutex<Option<ReplyData>>>;

impl Pending {
    fn add(&self, reply: ReplyData) -> Promise {
        let reply = Arc::new(Mutex::new(Some(reply)));
        self.0.lock().push((Instant::now(), Arc::clone(&reply)));
        reply
    }

    fn watch(this: &Weak<Self>, deadline: Duration) {
        let tick = (deadline / 10).clamp(Duration::from_millis(10), Duration::from_secs(1));
        loop {
            std::thread::sleep(tick);
            let Some(pending) = this.upgrade() else { return };
            let late = {
                let mut reads = pending.0.lock();
                reads.retain(|(_, reply)| Arc::strong_count(reply) > 1);
                let is_late = |(since, _): &(Instant, Promise)| since.elapsed() >= deadline;
                let (late, rest): (Vec<_>, _) = reads.drain(..).partition(is_late);
                *reads = rest;
                late
            };
            for (_, reply) in late {
                if let Some(reply) = take(&reply) {
                    tracing::error!("a read was not served within {} s", deadline.as_secs_f32());
                    reply.error(fuser::Errno::EIO);
                }
            }
        }
    }
}

fn take(reply: &Mutex<Option<ReplyData>>) -> Option<ReplyData> {
    reply.lock().take()
}

impl Filesystem for Adapter {
    fn init(&mut self, _req: &Request, config: &mut KernelConfig) -> io::Result<()> {
        let wanted = InitFlags::FUSE_ASYNC_READ
            | InitFlags::FUSE_ASYNC_DIO
            | InitFlags::FUSE_PARALLEL_DIROPS
            | InitFlags::FUSE_DO_READDIRPLUS
            | InitFlags::FUSE_CACHE_SYMLINKS;
        answer::ask_for(wanted, config);
        let _ = config.set_max_background(BACKGROUND);
        Ok(())
    }

    fn lookup(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let name = name.as_bytes().to_vec();
        let was_ready = self.fs.is_ready(parent.0);
        self.answer_if(self.fs.has_name(parent.0, &name), move |fs| {
            match fs.enter(parent.0, was_ready).and_then(|()| fs.lookup(parent.0, &name)) {
                Ok(attr) => reply.entry(&attr.lifetime, &translate(&attr), Generation(0)),
                Err(e) => reply.error(errno(e)),
            }
        });
    }

    fn getattr(&self, _req: &Request, ino: INodeNo, _fh: Option<FileHandle>, reply: ReplyAttr) {
        let answer = move |fs: &FileSystem| match fs.attr(ino.0) {
            Ok(attr) => reply.attr(&attr.lifetime, &translate(&attr)),
            Err(e) => reply.error(errno(e)),
        };
        self.answer_if(self.fs.has_attr(ino.0), answer);
    }

    fn readlink(&self, _req: &Request, ino: INodeNo, reply: ReplyData) {
        self.answer(ino, move |fs| match fs.readlink(ino.0) {
            Ok(target) => reply.data(&target),
            Err(e) => reply.error(errno(e)),
        });
    }

    fn open(&self, _req: &Request, ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        let opened = self.opened.clone();
        self.answer(ino, move |fs| match fs.open(ino.0) {
            Ok(()) => {
                opened.more();
                fs.hold(ino.0);
                reply.opened(FileHandle(0), FopenFlags::FOPEN_KEEP_CACHE);
            }
            Err(e) => reply.error(errno(e)),
        });
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
        if let Some(bytes) = self.fs.read_cached(ino.0, offset, size) {
            return reply.data(&bytes);
        }
        let reply = self.pending.add(reply);
        self.later(move |fs| {
            let result = fs.read(ino.0, offset, size);
            let Some(reply) = take(&reply) else { return };
            match result {
                Ok(bytes) => reply.data(&bytes),
                Err(e) => reply.error(errno(e)),
            }
        });
    }

    fn release(
        &self,
        _req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        self.fs.release(ino.0);
        self.opened.less();
        reply.ok();
    }

    fn releasedir(
        &self,
        _req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        _flags: OpenFlags,
        reply: ReplyEmpty,
    ) {
        self.fs.release(ino.0);
        self.opened.less();
        reply.ok();
    }

    /// Nothing is ever written, so the kernel need not ask again.
    fn flush(&self, _req: &Request, _ino: INodeNo, _fh: FileHandle, _owner: LockOwner, reply: ReplyEmpty) {
        reply.error(fuser::Errno::ENOSYS);
    }

    fn fsync(&self, _req: &Request, _ino: INodeNo, _fh: FileHandle, _datasync: bool, reply: ReplyEmpty) {
        reply.ok();
    }

    /// The kernel asks only if it does not check permissions itself. Then everybody has access.
    fn access(&self, _req: &Request, _ino: INodeNo, _mask: AccessFlags, reply: ReplyEmpty) {
        reply.ok();
    }

    fn opendir(&self, _req: &Request, ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        let (opened, was_ready) = (self.opened.clone(), self.fs.is_ready(ino.0));
        self.answer_if(was_ready, move |fs| match fs.enter(ino.0, was_ready) {
            Ok(()) => {
                opened.more();
                fs.hold(ino.0);
                let kept = FopenFlags::FOPEN_KEEP_CACHE | FopenFlags::FOPEN_CACHE_DIR;
                let kept = if fs.is_constant(ino.0) { kept } else { FopenFlags::empty() };
                reply.opened(FileHandle(0), kept);
            }
            Err(e) => reply.error(errno(e)),
        });
    }

    fn readdir(&self, _req: &Request, ino: INodeNo, _fh: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        self.answer_if(self.fs.has_entries(ino.0), move |fs| {
            let result = fs.entries(ino.0, offset, &mut |entry, next| {
                let kind = file_type(entry.attr.mode);
                !reply.add(INodeNo(entry.attr.ino), next, kind, OsStr::from_bytes(entry.name))
            });
            match result {
                Ok(()) => reply.ok(),
                Err(e) => reply.error(errno(e)),
            }
        });
    }

    fn readdirplus(
        &self,
        _req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
        self.answer_if(self.fs.has_entries(ino.0), move |fs| {
            let result = fs.entries(ino.0, offset, &mut |entry, next| {
                let (ino, name) = (INodeNo(entry.attr.ino), OsStr::from_bytes(entry.name));
                let lifetime = entry.attr.lifetime;
                !reply.add(ino, next, name, &lifetime, &translate(&entry.attr), Generation(0))
            });
            match result {
                Ok(()) => reply.ok(),
                Err(e) => reply.error(errno(e)),
            }
        });
    }

    fn statfs(&self, _req: &Request, _ino: INodeNo, reply: ReplyStatfs) {
        let (bytes, entries) = self.fs.totals();
        answer::statfs(bytes, entries, reply);
    }

    fn getxattr(&self, _req: &Request, ino: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        if !self.fs.may_have_xattrs() {
            // The kernel remembers this answer: otherwise `ls -l` would ask twice for each file.
            return reply.error(fuser::Errno::ENOSYS);
        }
        let name = name.as_bytes().to_vec();
        self.answer(ino, move |fs| give_xattr(fs.xattr(ino.0, &name), size, reply));
    }

    fn listxattr(&self, _req: &Request, ino: INodeNo, size: u32, reply: ReplyXattr) {
        if !self.fs.may_have_xattrs() {
            return reply.error(fuser::Errno::ENOSYS);
        }
        self.answer(ino, move |fs| give_xattr(fs.xattr_names(ino.0), size, reply));
    }

    fn lseek(
        &self,
        _req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: i64,
        whence: i32,
        reply: ReplyLseek,
    ) {
        let hole = match whence {
            libc::SEEK_DATA => false,
            libc::SEEK_HOLE => true,
            _ => return reply.error(fuser::Errno::EINVAL),
        };
        let Ok(offset) = u64::try_from(offset) else { return reply.error(fuser::Errno::EINVAL) };
        self.answer(ino, move |fs| match fs.seek(ino.0, offset, hole) {
            Ok(at) => reply.offset(at as i64),
            Err(e) => reply.error(errno(e)),
        });
    }
}

fn give_xattr(value: Result<Vec<u8>, Errno>, size: u32, reply: ReplyXattr) {
    match value {
        Ok(value) if size == 0 => reply.size(value.len() as u32),
        Ok(value) if value.len() > size as usize => reply.error(fuser::Errno::ERANGE),
        Ok(value) => reply.data(&value),
        Err(e) => reply.error(errno(e)),
    }
}

fn translate(attr: &Attr) -> FileAttr {
    let permissions = (attr.mode & 0o7777) as u16;
    FileAttr {
        blocks: attr.data.div_ceil(512),
        atime: time(attr.atime),
        mtime: time(attr.mtime),
        ctime: time(attr.ctime),
        nlink: attr.nlink,
        uid: attr.uid,
        gid: attr.gid,
        // The low 32 bits of Linux's dev_t have FUSE's layout.
        rdev: attr.rdev as u32,
        ..answer::attributes_of_root(attr.ino, file_type(attr.mode), permissions, attr.size, UNIX_EPOCH)
    }
}

fn time(ns: i64) -> SystemTime {
    let distance = Duration::from_nanos(ns.unsigned_abs());
    let time = if ns < 0 { UNIX_EPOCH.checked_sub(distance) } else { UNIX_EPOCH.checked_add(distance) };
    time.unwrap_or(UNIX_EPOCH)
}

fn file_type(mode: u32) -> FileType {
    match mode & libc::S_IFMT {
        libc::S_IFDIR => FileType::Directory,
        libc::S_IFLNK => FileType::Symlink,
        libc::S_IFBLK => FileType::BlockDevice,
        libc::S_IFCHR => FileType::CharDevice,
        libc::S_IFIFO => FileType::NamedPipe,
        libc::S_IFSOCK => FileType::Socket,
        _ => FileType::RegularFile,
    }
}
