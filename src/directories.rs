//! Our directories: for state until the next boot, and for caches.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::unistd::geteuid;

use crate::error::{Error, Result};

/// The state directory of root. File systems are staged here during a backup.
pub const RUN_DIR: &str = "/run/borg-offsite-backup";
const CACHE_DIR: &str = "/var/cache/borg-offsite-backup";
/// A file system in memory that every Linux has.
const IN_MEMORY: &str = "/dev/shm";
const NAME: &str = "borg-offsite-backup";

/// The directory for state until the next boot. It may not exist yet.
///
/// # Errors
/// When there is neither a home directory nor XDG_RUNTIME_DIR.
pub fn state_dir() -> Result<PathBuf> {
    if geteuid().is_root() {
        return Ok(PathBuf::from(RUN_DIR));
    }
    match directory_in("XDG_RUNTIME_DIR") {
        Some(runtime) => Ok(runtime.join(NAME)),
        None => Ok(cache_dir()?.join("run")),
    }
}

/// The directory for caches. It may not exist yet.
///
/// # Errors
/// When there is no home directory.
pub fn cache_dir() -> Result<PathBuf> {
    if let Some(cache) = directory_in("XDG_CACHE_HOME") {
        return Ok(cache.join(NAME));
    }
    if geteuid().is_root() {
        return Ok(PathBuf::from(CACHE_DIR));
    }
    let home = directory_in("HOME").ok_or_else(|| {
        Error::usage("cannot find a directory for the state").hint("set HOME or XDG_RUNTIME_DIR")
    })?;
    Ok(home.join(".cache").join(NAME))
}

/// A new directory in memory, for what must not reach a disk. Dropping it removes it.
///
/// # Errors
/// When a directory can be made neither there nor in the state directory.
pub fn in_memory() -> Result<tempfile::TempDir> {
    let prefix = format!("{NAME}-{}-", std::process::id());
    let mut builder = tempfile::Builder::new();
    let builder = builder.prefix(&prefix);
    builder.tempdir_in(IN_MEMORY).or_else(|_| {
        let dir = state_dir()?;
        make_private(&dir)?;
        builder
            .tempdir_in(&dir)
            .map_err(|e| Error::failed(format!("cannot make a directory in {}", dir.display())).because(e))
    })
}

/// The records of attachments, a directory for each.
pub const ATTACHED_DIR: &str = "/run/borg-offsite-backup/attached";
/// The mount points of archives that are mounted for attachments.
pub const ARCHIVES_DIR: &str = "/run/borg-offsite-backup/archives";

/// The log of a mount in the background, in the state directory.
///
/// # Errors
/// As [`state_dir`].
pub fn mount_log() -> Result<PathBuf> {
    Ok(state_dir()?.join(format!("mount-{}.log", std::process::id())))
}

/// What killed processes of this user left: logs of mounts, directories in memory.
pub fn abandoned() -> Vec<PathBuf> {
    let state = state_dir().unwrap_or_default();
    let entries = [Path::new(IN_MEMORY), &state].into_iter().filter_map(|dir| fs::read_dir(dir).ok());
    let of_the_dead = |entry: &fs::DirEntry| {
        let name = entry.file_name();
        let pid = name.to_str().and_then(owner_in);
        let ours = entry.metadata().is_ok_and(|m| m.uid() == geteuid().as_raw());
        ours && pid.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists())
    };
    entries.flatten().flatten().filter(of_the_dead).map(|entry| entry.path()).collect()
}

/// The process that made the file with this name.
fn owner_in(name: &str) -> Option<u32> {
    let directory = || name.strip_prefix(NAME)?.strip_prefix('-')?.split('-').next()?.parse().ok();
    let log = || name.strip_prefix("mount-")?.strip_suffix(".log")?.parse().ok();
    directory().or_else(log)
}

fn directory_in(variable: &str) -> Option<PathBuf> {
    std::env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute())
}

/// Makes `path` for its owner only, and its parents as usual.
///
/// # Errors
/// As [`Private::make`].
pub fn make_private(path: &Path) -> Result<()> {
    Private::make(path).map(drop)
}

/// A directory that only its owner can enter, held open. The owner of a directory above may move it
/// away and put a link in its place, but cannot make us work elsewhere.
#[derive(Debug)]
pub struct Private(File);

impl Private {
    /// Makes it for its owner only, and its parents as usual. If it exists, makes it private.
    ///
    /// # Errors
    /// When it cannot be made, is not a directory, or belongs to somebody else.
    pub fn make(path: &Path) -> Result<Self> {
        let to_error =
            |e: io::Error| Error::failed(format!("cannot make the directory {}", path.display())).because(e);
        let mut place = path.to_owned();
        // Held until the directory in it is made.
        let mut above = None;
        match (path.parent(), path.file_name()) {
            (Some(ours), Some(name)) if ours.file_name() == Some(NAME.as_ref()) => {
                place = above.insert(Self::make(ours)?).path().join(name);
            }
            (Some(parent), _) => fs::create_dir_all(parent).map_err(to_error)?,
            (None, _) => {}
        }
        match DirBuilder::new().mode(0o700).create(&place) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(to_error(e)),
            _ => {}
        }
        let found = Self::of(&place, path).map_err(to_error)??;
        if found.0.metadata().map_err(to_error)?.mode() & 0o077 != 0 {
            found.0.set_permissions(fs::Permissions::from_mode(0o700)).map_err(to_error)?;
        }
        Ok(found)
    }

    /// Opens it, if it exists, is private, and ours.
    ///
    /// # Errors
    /// When it is not.
    pub fn open(path: &Path) -> Result<Self> {
        let to_error = |e: io::Error| Error::failed(format!("cannot open {}", path.display())).because(e);
        let found = Self::of(path, path).map_err(to_error)??;
        match found.0.metadata().map_err(to_error)?.mode() & 0o077 {
            0 => Ok(found),
            _ => Err(to_error(io::ErrorKind::PermissionDenied.into()).hint("others may look into it")),
        }
    }

    /// `name` is for messages.
    fn of(path: &Path, name: &Path) -> io::Result<Result<Self>> {
        let flags = libc::O_DIRECTORY | libc::O_NOFOLLOW;
        let directory = File::options().read(true).custom_flags(flags).open(path)?;
        let owner = directory.metadata()?.uid();
        if owner != geteuid().as_raw() {
            return Ok(Err(Error::failed(format!("{} belongs to user {owner}", name.display()))
                .hint("it must belong to the user who runs this")));
        }
        Ok(Ok(Private(directory)))
    }

    /// A path that is valid as long as this lives, even if the directory is moved.
    pub fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.0.as_raw_fd()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_dead_process_made_is_abandoned() {
        assert_eq!(owner_in("mount-77.log"), Some(77));
        assert_eq!(owner_in("borg-offsite-backup-78-aXb"), Some(78));
        for name in ["mount-77.logs", "mount-x.log", "borg-offsite-backup-x", "create.lock"] {
            assert_eq!(owner_in(name), None, "{name}");
        }
        let mine = in_memory().unwrap();
        assert!(mine.path().exists() && !abandoned().contains(&mine.path().to_owned()));
    }

    #[test]
    fn a_private_directory_is_closed_to_others_and_never_a_link() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b");
        make_private(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        make_private(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        std::os::unix::fs::symlink(&path, dir.path().join("link")).unwrap();
        assert!(make_private(&dir.path().join("link")).is_err());
    }

    #[test]
    fn a_private_directory_is_worked_in_wherever_it_is_moved() {
        let dir = tempfile::tempdir().unwrap();
        let [path, moved, other] = ["here", "moved", "other"].map(|name| dir.path().join(name));
        let private = Private::make(&path).unwrap();
        fs::rename(&path, &moved).unwrap();
        fs::create_dir(&other).unwrap();
        std::os::unix::fs::symlink(&other, &path).unwrap();
        fs::write(private.path().join("f"), "").unwrap();
        assert!(moved.join("f").exists() && !other.join("f").exists());
        assert!(Private::open(&path).is_err(), "a link");
        assert!(Private::open(&other).is_err(), "open to others");
    }
}
