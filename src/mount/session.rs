//! A mount from its beginning to its end.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use nix::mount::MsFlags;

use super::fs::FileSystem;
use super::fuse::{Adapter, Opened};
use crate::archives::source::Catalog;
use crate::error::{Error, Result};
use crate::process::interrupt;
use crate::tools::fuse::mounted::{Access, FuseMount, FuseOptions, Unmounted};
use crate::tools::mounts;

/// Threads that take requests from the kernel. Two keep the processor busy; a cold cache file needs
/// four.
const THREADS: usize = 4;
/// In KiB. Fewer and larger requests give about a third more throughput.
const READ_AHEAD: u32 = 1024;
/// The interval between two looks at the mount table.
const PAUSE: Duration = Duration::from_millis(100);
/// How long the kernel may take to release an unused mount.
const RELEASE: Duration = Duration::from_secs(10);

/// What the kernel must not do in the mount. Every mount is also read-only, nodev and nosuid.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Guards {
    /// No programs are executed.
    pub noexec: bool,
    /// Symbolic links are not followed.
    pub nosymfollow: bool,
}

impl Guards {
    /// As options of mount(8).
    fn names(self) -> impl Iterator<Item = &'static str> {
        let names = [(self.noexec, "noexec"), (self.nosymfollow, "nosymfollow")];
        names.into_iter().filter_map(|(wanted, name)| wanted.then_some(name))
    }

    /// As flags of mount(2).
    pub fn flags(self) -> MsFlags {
        let noexec = if self.noexec { MsFlags::MS_NOEXEC } else { MsFlags::empty() };
        let nosymfollow = if self.nosymfollow { mounts::NOSYMFOLLOW } else { MsFlags::empty() };
        noexec | nosymfollow
    }
}

/// The parameters of a mount.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The source in `df` and `findmnt`.
    pub name: String,
    pub access: Access,
    /// The kernel checks owners and modes.
    pub permissions: bool,
    pub guards: Guards,
    /// A read that is not answered in this time fails.
    pub deadline: Duration,
}

/// A running mount. Dropping it unmounts.
pub struct Session {
    mount: FuseMount,
    catalog: Arc<dyn Catalog>,
    /// The device number of the mounted file system.
    device: Option<u64>,
    opened: Opened,
    up: bool,
}

impl Session {
    /// Mounts `fs` at `dir`, which must be absolute. Returns when it can be used.
    ///
    /// # Errors
    /// When there is no FUSE, or this user may not mount.
    pub fn start(
        fs: Arc<FileSystem>,
        catalog: Arc<dyn Catalog>,
        dir: &Path,
        settings: &Settings,
    ) -> Result<Self> {
        let to_error = |e: std::io::Error| cannot_mount(dir, settings, e);
        let adapter = Adapter::new(fs, settings.deadline).map_err(to_error)?;
        let opened = adapter.opened();
        let options = FuseOptions {
            name: &settings.name,
            kind: mounts::FUSE_TYPE,
            flags: MsFlags::MS_RDONLY | settings.guards.flags(),
            access: settings.access,
            permissions: settings.permissions,
            threads: THREADS,
            read_ahead: Some(READ_AHEAD),
        };
        let mount = FuseMount::new(adapter, dir, &options).map_err(to_error)?;
        let device = std::fs::metadata(dir).ok().map(|meta| meta.dev());
        let session = Session { mount, catalog, device, opened, up: true };
        session.check(settings.guards)?;
        Ok(session)
    }

    /// Checks that the guards are set: a kernel or a fusermount3 that does not know one may have
    /// ignored it.
    fn check(&self, wanted: Guards) -> Result<()> {
        let found = mounts::guards(self.mount.dir())?;
        let Some(missing) = wanted.names().find(|name| !found.contains(name)) else { return Ok(()) };
        let error = Error::failed(format!("cannot mount at {} with {missing}", self.mount.dir().display()));
        Err(if nix::unistd::geteuid().is_root() {
            error.because("this kernel does not know it (nosymfollow: from Linux 5.10 on)")
        } else {
            error.because("fusermount3 does not set it").hint("mount as root, or without it")
        })
    }

    /// Waits until it is unmounted, or until a signal asks this process to end; then unmounts it.
    ///
    /// # Errors
    /// When the kernel ended it for another reason, or it cannot be unmounted.
    pub fn wait(mut self) -> Result<()> {
        // Without /proc, only the kernel reports the end.
        let table = mounts::Watch::new().ok();
        // It may have been unmounted before the watch began.
        let mut gone = self.is_gone();
        let ended = loop {
            if let Some(ended) = self.mount.end_within(PAUSE) {
                break ended;
            }
            if interrupt::requested() {
                return self.close();
            }
            let was_gone = gone;
            // Before Linux 5.8, a table that changes while it is read may lack a line, so it is
            // read twice.
            if gone || table.as_ref().is_some_and(mounts::Watch::has_changed) {
                gone = self.is_gone();
            }
            // A process with an older mount table of its own keeps the mount alive, and never
            // unmounts it.
            if was_gone && gone && self.opened.is_none() {
                let dir = self.mount.dir().display();
                tracing::info!("{dir} was unmounted, and nothing is open in it: the mount ends");
                break Ok(());
            }
        };
        self.up = false;
        self.catalog.shut_down();
        ended.map_err(|e| {
            Error::failed(format!("the mount at {} ended", self.mount.dir().display())).because(e)
        })
    }

    /// Whether it was unmounted.
    fn is_gone(&self) -> bool {
        self.device.is_some_and(|device| matches!(mounts::is_shown(device), Ok(false)))
    }

    /// Unmounts. If something is still open in the mount, it fails when this process ends.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn close(mut self) -> Result<()> {
        self.take_down()
    }

    fn take_down(&mut self) -> Result<()> {
        if !std::mem::take(&mut self.up) {
            return Ok(());
        }
        if self.is_gone() && self.is_gone() {
            // Another mount may be there now.
            self.catalog.shut_down();
            return Ok(());
        }
        let unmounted = self.mount.unmount();
        if matches!(unmounted, Ok(Unmounted::Entirely)) {
            // After this, nothing of the mount is left.
            let _ = self.mount.end_within(RELEASE);
        }
        self.catalog.shut_down();
        unmounted.map(|_| ())
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Err(e) = self.take_down() {
            tracing::error!("{}", e.chain());
        }
    }
}

fn cannot_mount(dir: &Path, settings: &Settings, e: std::io::Error) -> Error {
    let error = Error::failed(format!("cannot mount at {}", dir.display()));
    let root = nix::unistd::geteuid().is_root();
    let error = match e.kind() {
        std::io::ErrorKind::NotFound if !Path::new("/dev/fuse").exists() => {
            error.hint("there is no /dev/fuse: load the module with `modprobe fuse`")
        }
        std::io::ErrorKind::NotFound => error.hint("install fuse3 (Debian: apt install fuse3)"),
        _ if !root && settings.access != Access::Owner => {
            error.hint("allow_other and allow_root need `user_allow_other` in /etc/fuse.conf")
        }
        std::io::ErrorKind::PermissionDenied if !root => {
            error.hint("this user may not use /dev/fuse; mount as root")
        }
        _ => error,
    };
    error.because(e)
}
