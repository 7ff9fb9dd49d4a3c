//! A FUSE file system that this process mounts and serves.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, bounded};
use fuser::{Config, Filesystem, MountOption, SessionACL};
use nix::mount::{MntFlags, MsFlags, umount2};

use crate::error::{Error, Kind, Result};
use crate::tools::mounts::{self, NOSYMFOLLOW};

/// A hint for root if a file system cannot be mounted.
pub const NEEDS_FUSE: &str = "it needs FUSE: `modprobe fuse` if there is no /dev/fuse";

/// Who else may look into the mount.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Access {
    #[default]
    Owner,
    /// The owner and root.
    Root,
    Everyone,
}

/// How a file system is mounted and served.
pub struct FuseOptions<'a> {
    /// The source in the mount table.
    pub name: &'a str,
    /// The type in the mount table: `fuse.` and a name.
    pub kind: &'a str,
    /// In addition to nosuid and nodev, which every mount has.
    pub flags: MsFlags,
    pub access: Access,
    /// The kernel checks owners and modes.
    pub permissions: bool,
    /// Threads that take requests from the kernel.
    pub threads: usize,
    /// How many KiB the kernel reads ahead; `None`: its default.
    pub read_ahead: Option<u32>,
}

/// A file system that is mounted, and that threads of this process serve.
pub struct FuseMount {
    dir: PathBuf,
    ended: Receiver<io::Result<()>>,
}

/// The result of unmounting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unmounted {
    Entirely,
    /// The mount is no longer visible, but something is still open in it.
    InUse,
}

impl FuseMount {
    /// Mounts `fs` at `dir`, which must be absolute. Returns when it can be used.
    ///
    /// Root mounts without help, so that the mount stands under its own type in the table; everybody else
    /// goes through fusermount3, which does the same.
    ///
    /// # Errors
    /// When there is no FUSE, or this user may not mount.
    pub fn new(fs: impl Filesystem, dir: &Path, options: &FuseOptions<'_>) -> io::Result<FuseMount> {
        let config = config(options);
        let mount = if nix::unistd::geteuid().is_root() {
            let device = mount_as_root(dir, options)?;
            let session = fuser::Session::from_fd(fs, device, config.acl, config);
            session.and_then(|session| serve(session, dir)).inspect_err(|_| {
                let _ = mounts::unmount(dir, true);
            })?
        } else {
            serve(fuser::Session::new(fs, dir, &config)?, dir)?
        };
        if let Some(kib) = options.read_ahead {
            raise_read_ahead(dir, kib);
        }
        Ok(mount)
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Waits until nothing serves the mount any more; `None` if this takes longer than `time`.
    pub fn end_within(&self, time: Duration) -> Option<io::Result<()>> {
        match self.ended.recv_timeout(time) {
            Ok(ended) => Some(ended),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => Some(Ok(())),
        }
    }

    /// Waits until nothing serves the mount any more.
    ///
    /// # Errors
    /// When the kernel ended it for another reason than unmounting.
    pub fn end(&self) -> io::Result<()> {
        self.ended.recv().unwrap_or(Ok(()))
    }

    /// Unmounts it. If something is still open in it, the mount is only detached, and what is open
    /// fails when this process ends.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn unmount(&self) -> Result<Unmounted> {
        match mounts::unmount(&self.dir, false) {
            Ok(()) => Ok(Unmounted::Entirely),
            Err(e) if e.kind() == Kind::Busy => {
                tracing::warn!("{} is in use: what is open in it fails from here on", self.dir.display());
                mounts::unmount(&self.dir, true).map(|()| Unmounted::InUse)
            }
            Err(e) => Err(e),
        }
    }

    /// Unmounts it, as root. If something is still open in it, it fails at once.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn unmount_by_force(&self) -> Result<()> {
        let force = MntFlags::MNT_FORCE | MntFlags::MNT_DETACH;
        umount2(&self.dir, MntFlags::UMOUNT_NOFOLLOW)
            .or_else(|_| umount2(&self.dir, MntFlags::UMOUNT_NOFOLLOW | force))
            .map_err(|e| Error::failed(format!("cannot unmount {}", self.dir.display())).because(e))
    }
}

fn serve<F: Filesystem>(session: fuser::Session<F>, dir: &Path) -> io::Result<FuseMount> {
    let background = session.spawn()?;
    let (sender, ended) = bounded(1);
    let wait = move || {
        let _ = sender.send(background.join());
    };
    std::thread::Builder::new().name("session".into()).spawn(wait)?;
    Ok(FuseMount { dir: dir.to_owned(), ended })
}

/// Mounts at `dir`. Requests arrive at the device that is returned.
fn mount_as_root(dir: &Path, options: &FuseOptions<'_>) -> io::Result<OwnedFd> {
    let device = File::options().read(true).write(true).open("/dev/fuse")?;
    let mut data = format!("fd={},rootmode=40000,user_id=0,group_id=0", device.as_raw_fd());
    if options.access != Access::Owner {
        data.push_str(",allow_other");
    }
    if options.permissions {
        data.push_str(",default_permissions");
    }
    let flags = options.flags | MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    nix::mount::mount(Some(options.name), dir, Some(options.kind), flags, Some(&*data))?;
    Ok(device.into())
}

/// The mount options for fusermount3, and the settings of the session.
fn config(options: &FuseOptions<'_>) -> Config {
    let subtype = options.kind.strip_prefix("fuse.").unwrap_or(options.kind);
    let mut mount_options = vec![
        MountOption::NoSuid,
        MountOption::NoDev,
        // A comma would end the option.
        MountOption::FSName(options.name.replace(',', "_")),
        MountOption::Subtype(subtype.into()),
    ];
    if options.permissions {
        mount_options.push(MountOption::DefaultPermissions);
    }
    let of_flags = [
        (MsFlags::MS_RDONLY, MountOption::RO),
        (MsFlags::MS_NOEXEC, MountOption::NoExec),
        (NOSYMFOLLOW, MountOption::CUSTOM("nosymfollow".into())),
    ];
    let is_set = |(flag, option)| options.flags.contains(flag).then_some(option);
    mount_options.extend(of_flags.into_iter().filter_map(is_set));
    let mut config = Config::default();
    config.mount_options = mount_options;
    config.acl = match options.access {
        Access::Owner => SessionACL::Owner,
        Access::Root => SessionACL::RootAndOwner,
        Access::Everyone => SessionACL::All,
    };
    config.n_threads = Some(options.threads);
    config.clone_fd = true;
    config
}

/// Makes the kernel read `kib` KiB ahead in the mount at `dir`. A mount can ask for at most 128;
/// only root may set more. Without it, the mount is only slower.
fn raise_read_ahead(dir: &Path, kib: u32) {
    let Ok(meta) = std::fs::metadata(dir) else { return };
    let (major, minor) = (libc::major(meta.dev()), libc::minor(meta.dev()));
    let _ = std::fs::write(format!("/sys/class/bdi/{major}:{minor}/read_ahead_kb"), kib.to_string());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fusermount_gets_every_option_that_root_gives_to_the_kernel() {
        let options = FuseOptions {
            name: "/srv/a,b",
            kind: mounts::FUSE_TYPE,
            flags: MsFlags::MS_RDONLY | NOSYMFOLLOW,
            access: Access::Root,
            permissions: true,
            threads: 3,
            read_ahead: None,
        };
        let config = config(&options);
        let wanted = [
            MountOption::NoSuid,
            MountOption::NoDev,
            MountOption::FSName("/srv/a_b".into()),
            MountOption::Subtype("borg-offsite-backup".into()),
            MountOption::DefaultPermissions,
            MountOption::RO,
            MountOption::CUSTOM("nosymfollow".into()),
        ];
        assert_eq!(config.mount_options, wanted);
        assert_eq!((config.acl, config.n_threads), (SessionACL::RootAndOwner, Some(3)));
    }
}
