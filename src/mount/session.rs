//! A mount from its beginning to its end.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, bounded, select, tick};
use fuser::{Config, MountOption, SessionACL};
use nix::mount::MsFlags;

use super::fs::FileSystem;
use super::fuse::Adapter;
use super::source::Catalog;
use crate::error::{Error, Kind, Result};
use crate::process::interrupt;
use crate::tools::mounts;

/// Threads that take requests from the kernel. Two are enough for the processor, a cold cache file
/// wants four.
const THREADS: usize = 4;
/// In KiB. Larger requests, fewer of them: about a third more throughput.
const READ_AHEAD: u32 = 1024;

/// Who besides the one who mounted may look into the mount.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Access {
    #[default]
    Owner,
    /// And root.
    Root,
    Everyone,
}

/// What the kernel is told about the mount.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Shown as the source in `df` and `findmnt`.
    pub name: String,
    pub access: Access,
    /// The kernel checks owners and modes.
    pub permissions: bool,
    /// A read that is not answered in this time fails.
    pub deadline: Duration,
}

/// A mount that is up. Dropped, it is taken down.
pub struct Session {
    dir: PathBuf,
    catalog: Arc<dyn Catalog>,
    ended: Receiver<std::io::Result<()>>,
    up: bool,
}

impl Session {
    /// Mounts `fs` at `dir`, which must be absolute. Returns when it can be used.
    ///
    /// # Errors
    /// When FUSE is not there or does not let this user mount.
    pub fn start(
        fs: Arc<FileSystem>,
        catalog: Arc<dyn Catalog>,
        dir: &Path,
        settings: &Settings,
    ) -> Result<Self> {
        let cannot = |e: std::io::Error| cannot_mount(dir, settings, e);
        let adapter = Adapter::new(fs, settings.deadline).map_err(cannot)?;
        let session = attach(adapter, dir, settings).map_err(cannot)?;
        let background = session.spawn().map_err(cannot)?;
        let (tell, ended) = bounded(1);
        let wait = move || {
            let _ = tell.send(background.join());
        };
        let session = Session { dir: dir.to_owned(), catalog, ended, up: true };
        std::thread::Builder::new().name("session".into()).spawn(wait).map_err(cannot)?;
        mounts::raise_read_ahead(dir, READ_AHEAD);
        Ok(session)
    }

    /// Waits until it is unmounted, or until a signal asks this process to end: then it unmounts.
    ///
    /// # Errors
    /// When the kernel ended it in another way, or it cannot be unmounted.
    pub fn wait(mut self) -> Result<()> {
        let look = tick(Duration::from_millis(100));
        let ended = loop {
            select! {
                recv(self.ended) -> ended => break ended.unwrap_or(Ok(())),
                recv(look) -> _ => if interrupt::requested() {
                    return self.close();
                },
            }
        };
        self.up = false;
        self.catalog.shut_down();
        ended.map_err(|e| Error::failed(format!("the mount at {} ended", self.dir.display())).because(e))
    }

    /// Unmounts. Where something is still open in it, it is taken out of the tree all the same, and
    /// what is open fails when this process ends.
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
        let result = match mounts::unmount(&self.dir, false) {
            Err(e) if e.kind() == Kind::Busy => {
                tracing::warn!("{} is in use: what is open in it fails from here on", self.dir.display());
                mounts::unmount(&self.dir, true)
            }
            Ok(()) => {
                // Until the kernel has let go: then nothing of it is left.
                let _ = self.ended.recv_timeout(Duration::from_secs(10));
                Ok(())
            }
            result => result,
        };
        self.catalog.shut_down();
        result
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Err(e) = self.take_down() {
            tracing::error!("{}", e.chain());
        }
    }
}

/// Root mounts by itself, so that the mount stands under its own type in the table; everybody else
/// goes through fusermount3, which does the same.
fn attach(adapter: Adapter, dir: &Path, settings: &Settings) -> std::io::Result<fuser::Session<Adapter>> {
    let config = config(settings);
    if !nix::unistd::geteuid().is_root() {
        return fuser::Session::new(adapter, dir, &config);
    }
    let mut options = Vec::new();
    if settings.access != Access::Owner {
        options.push("allow_other");
    }
    if settings.permissions {
        options.push("default_permissions");
    }
    let device = mounts::mount_fuse(&settings.name, mounts::FUSE_TYPE, MsFlags::MS_RDONLY, &options, dir)?;
    fuser::Session::from_fd(adapter, device, config.acl, config).inspect_err(|_| {
        let _ = mounts::unmount(dir, true);
    })
}

fn config(settings: &Settings) -> Config {
    let mut options = vec![
        MountOption::RO,
        MountOption::NoSuid,
        MountOption::NoDev,
        // A comma would end the option.
        MountOption::FSName(settings.name.replace(',', "_")),
        MountOption::Subtype("borg-offsite-backup".into()),
    ];
    if settings.permissions {
        options.push(MountOption::DefaultPermissions);
    }
    let mut config = Config::default();
    config.mount_options = options;
    config.acl = match settings.access {
        Access::Owner => SessionACL::Owner,
        Access::Root => SessionACL::RootAndOwner,
        Access::Everyone => SessionACL::All,
    };
    config.n_threads = Some(THREADS);
    config.clone_fd = true;
    config
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
