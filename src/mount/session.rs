//! A mount from its beginning to its end.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, bounded, select, tick};
use fuser::{Config, MountOption, SessionACL};
use nix::mount::MsFlags;

use super::fs::FileSystem;
use super::fuse::{Adapter, Opened};
use crate::archives::source::Catalog;
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

/// What the kernel shall not do in the mount; that it is read-only, without devices and setuid, goes
/// without saying.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Guards {
    /// Execute programs.
    pub noexec: bool,
    /// Follow symlinks.
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

/// What the kernel is told about the mount.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Shown as the source in `df` and `findmnt`.
    pub name: String,
    pub access: Access,
    /// The kernel checks owners and modes.
    pub permissions: bool,
    pub guards: Guards,
    /// A read that is not answered in this time fails.
    pub deadline: Duration,
}

/// A mount that is up. Dropped, it is taken down.
pub struct Session {
    dir: PathBuf,
    catalog: Arc<dyn Catalog>,
    ended: Receiver<std::io::Result<()>>,
    /// Of the file system in it.
    device: Option<u64>,
    opened: Opened,
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
        let to_error = |e: std::io::Error| cannot_mount(dir, settings, e);
        let adapter = Adapter::new(fs, settings.deadline).map_err(to_error)?;
        let opened = adapter.opened();
        let session = attach(adapter, dir, settings).map_err(to_error)?;
        let background = session.spawn().map_err(to_error)?;
        let (tell, ended) = bounded(1);
        let wait = move || {
            let _ = tell.send(background.join());
        };
        let mut session = Session { dir: dir.to_owned(), catalog, ended, device: None, opened, up: true };
        std::thread::Builder::new().name("session".into()).spawn(wait).map_err(to_error)?;
        session.device = std::fs::metadata(dir).ok().map(|meta| meta.dev());
        mounts::raise_read_ahead(dir, READ_AHEAD);
        session.check(settings.guards)?;
        Ok(session)
    }

    /// What was to protect does: a kernel or a fusermount3 that does not know it may have passed over it.
    fn check(&self, wanted: Guards) -> Result<()> {
        let found = mounts::guards(&self.dir)?;
        let Some(missing) = wanted.names().find(|name| !found.contains(name)) else { return Ok(()) };
        let error = Error::failed(format!("cannot mount at {} with {missing}", self.dir.display()));
        Err(if nix::unistd::geteuid().is_root() {
            error.because("this kernel does not know it (nosymfollow: from Linux 5.10 on)")
        } else {
            error.because("fusermount3 does not set it").hint("mount as root, or without it")
        })
    }

    /// Waits until it is unmounted, or until a signal asks this process to end: then it unmounts.
    ///
    /// # Errors
    /// When the kernel ended it in another way, or it cannot be unmounted.
    pub fn wait(mut self) -> Result<()> {
        let look = tick(Duration::from_millis(100));
        // Without /proc the kernel has to say it.
        let table = mounts::Watch::new().ok();
        // It may have been unmounted before the watch began.
        let mut gone = self.is_gone();
        let ended = loop {
            select! {
                recv(self.ended) -> ended => break ended.unwrap_or(Ok(())),
                recv(look) -> _ => {
                    if interrupt::requested() {
                        return self.close();
                    }
                    let was_gone = gone;
                    // Before Linux 5.8 a table that changes while it is read may lack a line: it is
                    // read twice.
                    if gone || table.as_ref().is_some_and(mounts::Watch::has_changed) {
                        gone = self.is_gone();
                    }
                    // The kernel keeps it for a process with a mount table of its own from before,
                    // which will never unmount it.
                    if was_gone && gone && self.opened.is_none() {
                        tracing::info!("{} was unmounted, and nothing is open in it: the mount ends", self.dir.display());
                        break Ok(());
                    }
                },
            }
        };
        self.up = false;
        self.catalog.shut_down();
        ended.map_err(|e| Error::failed(format!("the mount at {} ended", self.dir.display())).because(e))
    }

    /// Whether it was unmounted.
    fn is_gone(&self) -> bool {
        self.device.is_some_and(|device| matches!(mounts::is_shown(device), Ok(false)))
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
        if self.is_gone() && self.is_gone() {
            // Another mount may be there now.
            self.catalog.shut_down();
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
    let device = mounts::mount_fuse(
        &settings.name,
        mounts::FUSE_TYPE,
        MsFlags::MS_RDONLY | settings.guards.flags(),
        &options,
        dir,
    )?;
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
    options.extend(settings.guards.names().map(|name| match name {
        "noexec" => MountOption::NoExec,
        other => MountOption::CUSTOM(other.into()),
    }));
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
