//! A directory of our own, in the file system of the directory that is restored to.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{OFlag, openat};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::geteuid;

use crate::directories;
use crate::error::{Error, Result};

/// What the directories are called; the number of the process follows.
const PREFIX: &str = ".borg-offsite-backup-restore-";
/// Where root's borg sees the directory, in a mount namespace of its own.
const PLACE: &str = "restore";
const NOTHING: Option<&str> = None;
const DIRECTORY: OFlag = OFlag::O_DIRECTORY.union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);
/// Links are made, but followed by nobody (Linux 5.10).
const NO_LINKS: MsFlags = MsFlags::from_bits_retain(256);

/// A fresh, private directory. Dropped, it is removed with all that is in it.
pub struct Fresh {
    parent: File,
    name: String,
    dir: File,
}

impl Fresh {
    pub fn make(parent: &File) -> io::Result<Fresh> {
        let parent = parent.try_clone()?;
        let name = format!("{PREFIX}{}", std::process::id());
        mkdirat(&parent, name.as_str(), Mode::S_IRWXU)?;
        let dir = File::from(openat(&parent, name.as_str(), DIRECTORY, Mode::empty())?);
        if dir.metadata()?.uid() != geteuid().as_raw() {
            return Err(io::Error::other("somebody else put another one in its place"));
        }
        Ok(Fresh { parent, name, dir })
    }

    pub fn dir(&self) -> &File {
        &self.dir
    }

    /// Where programs that this thread starts find it. For root that is a place to which nobody else
    /// has a way, whatever the owner of the directory above does with the name, and where links lead
    /// nowhere. The thread is in a mount namespace of its own from then on.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn enter(&self) -> Result<PathBuf> {
        if !geteuid().is_root() {
            return Ok(path_in(&self.parent, &self.name));
        }
        let place = directories::state_dir()?.join(PLACE);
        directories::make_private(&place)?;
        self.mount(&place).map_err(|e| {
            Error::failed(format!("cannot show {} the directory to extract to", place.display()))
                .because(e)
                .hint("root needs the capability CAP_SYS_ADMIN for it; some containers take it away")
        })?;
        Ok(place)
    }

    fn mount(&self, place: &Path) -> io::Result<()> {
        let known = std::fs::read_link(format!("/proc/self/fd/{}", self.dir.as_raw_fd()))?;
        unshare(CloneFlags::CLONE_NEWNS)?;
        mount(NOTHING, "/", NOTHING, MsFlags::MS_REC | MsFlags::MS_SLAVE, NOTHING)?;
        // What was opened before belongs to other mounts than those of this thread.
        let dir = File::options().read(true).custom_flags(DIRECTORY.bits()).open(known)?;
        let identity = |file: &File| file.metadata().map(|meta| (meta.dev(), meta.ino()));
        if identity(&dir)? != identity(&self.dir)? {
            return Err(io::Error::other("somebody else put another one in its place"));
        }
        let dir = format!("/proc/self/fd/{}", dir.as_raw_fd());
        mount(Some(dir.as_str()), place, NOTHING, MsFlags::MS_BIND, NOTHING)?;
        let flags = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        // An older kernel does not know it; then there is what was looked through before.
        let mounted = mount(NOTHING, place, NOTHING, flags | NO_LINKS, NOTHING);
        Ok(mounted.or_else(|_| mount(NOTHING, place, NOTHING, flags, NOTHING))?)
    }

    pub fn close(self) -> io::Result<()> {
        std::fs::remove_dir_all(path_in(&self.parent, &self.name))
    }
}

impl Drop for Fresh {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(path_in(&self.parent, &self.name));
    }
}

/// Removes the directories that killed restores of this user left in `parent`.
pub fn remove_abandoned(parent: &File) {
    let all = std::fs::read_dir(path_in(parent, ".")).into_iter().flatten().flatten();
    for entry in all {
        let name = entry.file_name();
        let pid = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.parse::<u32>().ok());
        let is_dead =
            pid.is_some_and(|pid| pid == std::process::id() || !Path::new(&format!("/proc/{pid}")).exists());
        let is_ours = || entry.metadata().is_ok_and(|meta| meta.is_dir() && meta.uid() == geteuid().as_raw());
        if is_dead && is_ours() {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

/// A path of what is in an open directory, however that is called meanwhile.
fn path_in(dir: &File, name: &str) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}/{name}", dir.as_fd().as_raw_fd()))
}
