//! The directories that are ours: for state until the next boot, and for caches.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::unistd::geteuid;

use crate::error::{Error, Result};

/// The state directory of root; file systems are staged here while they are backed up.
pub const RUN_DIR: &str = "/run/borg-offsite-backup";
const CACHE_DIR: &str = "/var/cache/borg-offsite-backup";
/// Memory as a file system, on every Linux.
const IN_MEMORY: &str = "/dev/shm";
const NAME: &str = "borg-offsite-backup";

/// Where state is kept until the next boot. It may not exist yet.
///
/// # Errors
/// When there is no home directory and no XDG_RUNTIME_DIR.
pub fn state_dir() -> Result<PathBuf> {
    if geteuid().is_root() {
        return Ok(PathBuf::from(RUN_DIR));
    }
    match directory_in("XDG_RUNTIME_DIR") {
        Some(runtime) => Ok(runtime.join(NAME)),
        None => Ok(cache_dir()?.join("run")),
    }
}

/// Where caches are kept. It may not exist yet.
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

/// A new directory in memory, for what must not reach a disk; removed when dropped.
///
/// # Errors
/// When neither there nor in the state directory a directory can be made.
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

/// Where attachments of images are remembered, a directory for each.
pub const ATTACHED_DIR: &str = "/run/borg-offsite-backup/attached";
/// Where archives are mounted for attachments.
pub const ARCHIVES_DIR: &str = "/run/borg-offsite-backup/archives";

/// The log of a mount in the background, in the state directory.
///
/// # Errors
/// As [`state_dir`].
pub fn mount_log() -> Result<PathBuf> {
    Ok(state_dir()?.join(format!("mount-{}.log", std::process::id())))
}

/// What processes of ours, of this user, left when they were killed: logs of mounts, directories in
/// memory.
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

/// The process that made the file of this name.
fn owner_in(name: &str) -> Option<u32> {
    let directory = || name.strip_prefix(NAME)?.strip_prefix('-')?.split('-').next()?.parse().ok();
    let log = || name.strip_prefix("mount-")?.strip_suffix(".log")?.parse().ok();
    directory().or_else(log)
}

fn directory_in(variable: &str) -> Option<PathBuf> {
    std::env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute())
}

/// Makes `path`, its parents as usual, itself for its owner only.
///
/// # Errors
/// As [`Private::make`].
pub fn make_private(path: &Path) -> Result<()> {
    Private::make(path).map(drop)
}

/// A directory that only its owner may look into, held open: the owner of a directory above may move it
/// away and put a link in its place, but not make us work elsewhere.
#[derive(Debug)]
pub struct Private(File);

impl Private {
    /// Makes it, its parents as usual, or takes it into private use if it is there.
    ///
    /// # Errors
    /// When it cannot be made, is no directory, or belongs to somebody else.
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

    /// Opens it, if it is there, private, and ours.
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

    /// `name` is for people.
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

    /// Leads to it as long as this lives, wherever it is moved.
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
