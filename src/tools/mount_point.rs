//! Directories that can be mounted on.

use std::fs::DirBuilder;
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::mounts;
use crate::error::{Error, Kind, Result};

/// Makes `dir` and its parents, if it is missing.
///
/// # Errors
/// When it cannot be made.
pub fn make_mount_point(dir: &Path, mode: u32) -> Result<()> {
    let made = if dir.symlink_metadata().is_ok() {
        Ok(())
    } else {
        DirBuilder::new().recursive(true).mode(mode).create(dir)
    };
    made.map_err(|e| Error::failed(format!("cannot make the mount point {}", dir.display())).because(e))
}

/// Checks that `dir` can be mounted on, and returns its absolute path without links. Unmounts a
/// dead mount of ours that is in the way.
///
/// # Errors
/// When it is missing, not a directory, not empty, already mounted, or inside the local repository.
pub fn mount_point(dir: &Path, repository: Option<&Path>) -> Result<PathBuf> {
    let label = dir.display();
    let dir = absolute(dir)?;
    if let Some(mount) = mounts::at(&dir)?.filter(|m| m.kind == mounts::FUSE_TYPE) {
        if !mount.is_dead() {
            return Err(Error::new(
                Kind::Busy,
                format!("{} is mounted at {label} already", mount.source.display()),
            )
            .hint(format!("end it with `borg-offsite-backup umount {label}`")));
        }
        tracing::warn!("{label} had a mount whose process was killed: it is cleared");
        mounts::unmount(&dir, true)?;
    }
    let mut entries = std::fs::read_dir(&dir).map_err(|e| match e.kind() {
        ErrorKind::NotFound => Error::usage(format!("the mount point {label} does not exist"))
            .hint(format!("make it with `mkdir -p {label}`")),
        ErrorKind::NotADirectory => Error::usage(format!("the mount point {label} is no directory")),
        _ => Error::usage(format!("cannot look into the mount point {label}")).because(e),
    })?;
    if entries.next().is_some() {
        return Err(Error::usage(format!("the mount point {label} is not empty"))
            .hint("a mount would hide what is in it; take an empty directory"));
    }
    let repository = repository.and_then(|r| r.canonicalize().ok());
    if let Some(repository) = repository.filter(|r| dir.starts_with(r)) {
        return Err(Error::usage(format!(
            "the mount point {label} is inside the repository {}",
            repository.display()
        ))
        .hint("borg would wait for the mount and the mount for borg; take a directory elsewhere"));
    }
    Ok(dir)
}

/// Resolves links and relative components in `dir`. Does not touch what is mounted there, because
/// it may be dead.
///
/// # Errors
/// When its parent directory does not exist.
pub fn absolute(dir: &Path) -> Result<PathBuf> {
    match dir.canonicalize() {
        Ok(dir) => return Ok(dir),
        Err(e) if e.raw_os_error() != Some(libc::ENOTCONN) && e.kind() != ErrorKind::NotFound => {
            return Err(Error::usage(format!("cannot use {}", dir.display())).because(e));
        }
        Err(_) => {}
    }
    let parent = match dir.parent() {
        Some(p) if !p.as_os_str().is_empty() => p,
        _ => Path::new("."),
    };
    match (parent.canonicalize(), dir.file_name()) {
        (Ok(parent), Some(name)) => Ok(parent.join(name)),
        _ => Err(Error::usage(format!("the mount point {} does not exist", dir.display()))
            .hint(format!("make it with `mkdir -p {}`", dir.display()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_point_must_be_an_empty_directory_outside_the_repository() {
        let dir = tempfile::tempdir().unwrap();
        let repository = dir.path().join("repo");
        std::fs::create_dir_all(repository.join("data/empty")).unwrap();
        let refused = |path: &Path| mount_point(path, Some(&repository)).unwrap_err().to_string();
        assert!(refused(&dir.path().join("missing")).contains("does not exist"));
        assert!(refused(&dir.path().join("no/parent")).contains("does not exist"));
        assert!(refused(&repository).contains("not empty"));
        assert!(refused(&repository.join("data/empty")).contains("inside the repository"));
        std::fs::write(dir.path().join("file"), "").unwrap();
        assert!(refused(&dir.path().join("file")).contains("no directory"));
        let good = dir.path().join("good");
        std::fs::create_dir(&good).unwrap();
        std::os::unix::fs::symlink(&good, dir.path().join("link")).unwrap();
        let found = mount_point(&dir.path().join("link"), Some(&repository)).unwrap();
        assert_eq!(found, good.canonicalize().unwrap());
    }
}
