//! The tree that borg reads: read-only mounts in a private mount namespace.
//!
//! The mounts of the host never change. When this process dies in any way, the kernel removes the
//! namespace with all its mounts.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::{Mode, SFlag, mknod};

use super::plan::{Plan, PlanEntry, PlanSource};
use super::snapshot_set::SnapshotSet;
use super::volumes::{MountedVolumes, VolumeTree};
use crate::directories::RUN_DIR;
use crate::error::{Error, Kind, Result};

/// The root of the staged tree. borg's files cache uses absolute paths, so another place would mean
/// reading everything again.
pub const ROOT: &str = RUN_DIR;

const NOTHING: Option<&str> = None;
const HARMLESS: MsFlags =
    MsFlags::MS_RDONLY.union(MsFlags::MS_NOSUID).union(MsFlags::MS_NODEV).union(MsFlags::MS_NOEXEC);

/// The staged tree. Must be made and dropped in the main thread, the only one in the namespace.
pub struct Stage {
    /// In the order in which they were made.
    mounts: Vec<PathBuf>,
    volumes: Option<MountedVolumes>,
}

/// Checks that each listed directory of `plan` exists, and is not a link to another place.
///
/// # Errors
/// When one is missing, leads through a symbolic link, or holds the staged tree.
pub fn check(plan: &Plan) -> Result<()> {
    for entry in plan.entries.iter().filter(|entry| entry.source == PlanSource::Live) {
        let source = &entry.host();
        let to_error = |kind| Error::new(kind, format!("cannot back up {}", source.display()));
        let real = fs::canonicalize(source).map_err(|e| {
            let error = match e.kind() {
                io::ErrorKind::NotFound => to_error(Kind::NotFound),
                _ => to_error(Kind::Failed),
            };
            error.because(e).hint("it is listed in filesystems_to_backup; nothing was backed up")
        })?;
        if real != *source {
            let hint = format!("list {} in filesystems_to_backup instead", real.display());
            return Err(to_error(Kind::Usage).because("it leads through a symbolic link").hint(hint));
        }
        if source.starts_with(ROOT) {
            return Err(to_error(Kind::Usage).because(format!("{ROOT} is where the backup is staged")));
        }
    }
    Ok(())
}

impl Stage {
    /// Stages `plan` at [`ROOT`], which must exist, for this thread and all programs that it starts
    /// from now on. Without a `set`, datasets are staged from where they are mounted.
    ///
    /// # Errors
    /// When the kernel refuses the namespace or a mount; then everything is unmounted again.
    pub fn new(plan: &Plan, set: Option<&SnapshotSet>, volumes: VolumeTree) -> Result<Stage> {
        private_namespace()?;
        let mut stage = Stage { mounts: Vec::new(), volumes: None };
        let mut volumes = Some(volumes);
        if !plan.entries.iter().any(|entry| entry.path.is_root()) {
            stage.scaffold(Path::new(ROOT))?;
        }
        for entry in &plan.entries {
            let target = stage.mount_point(entry)?;
            match (&entry.source, set) {
                (PlanSource::Filesystem(dataset), Some(set)) => {
                    stage.mount_snapshot(&set.snapshot_of(&dataset.name), &target)?;
                }
                (PlanSource::Live | PlanSource::Filesystem(_), _) if entry.host().exists() => {
                    stage.bind(entry, &target)?
                }
                (PlanSource::Live | PlanSource::Filesystem(_), _) => {}
                (PlanSource::Volumes(_), _) => {
                    stage.volumes =
                        volumes.take().map(|tree| MountedVolumes::new(tree, &target)).transpose()?;
                }
            }
        }
        Ok(stage)
    }

    /// Unmounts the tree in reverse order.
    ///
    /// # Errors
    /// The first mount that could not be unmounted; the others were.
    pub fn close(mut self) -> Result<()> {
        self.unmount()
    }

    fn unmount(&mut self) -> Result<()> {
        let mut result = self.volumes.take().map_or(Ok(()), MountedVolumes::close);
        while let Some(dir) = self.mounts.pop() {
            let undone = umount2(&dir, MntFlags::UMOUNT_NOFOLLOW)
                .or_else(|_| umount2(&dir, MntFlags::UMOUNT_NOFOLLOW | MntFlags::MNT_DETACH));
            if let Err(e) = undone
                && result.is_ok()
            {
                let what = format!("cannot unmount {} of the staged tree", dir.display());
                result = Err(Error::failed(what).because(e));
            }
        }
        result
    }

    fn bind(&mut self, entry: &PlanEntry, target: &Path) -> Result<()> {
        let to_error = |e: nix::Error| {
            Error::failed(format!("cannot stage {} at {}", entry.name(), target.display())).because(e)
        };
        mount(Some(&entry.host()), target, NOTHING, MsFlags::MS_BIND, NOTHING).map_err(to_error)?;
        self.mounts.push(target.to_owned());
        // Later mounts of the host below it do not appear here.
        mount(NOTHING, target, NOTHING, MsFlags::MS_PRIVATE, NOTHING).map_err(to_error)?;
        mount(NOTHING, target, NOTHING, MsFlags::MS_REMOUNT | MsFlags::MS_BIND | HARMLESS, NOTHING)
            .map_err(to_error)
    }

    fn mount_snapshot(&mut self, snapshot: &str, target: &Path) -> Result<()> {
        let to_error = |e: nix::Error| {
            Error::failed(format!("cannot mount the snapshot {snapshot} at {}", target.display())).because(e)
        };
        mount(Some(snapshot), target, Some("zfs"), HARMLESS, NOTHING).map_err(to_error)?;
        self.mounts.push(target.to_owned());
        mount(NOTHING, target, NOTHING, MsFlags::MS_PRIVATE, NOTHING).map_err(to_error)
    }

    /// The place of `entry` in the tree, which is made if it is missing.
    fn mount_point(&mut self, entry: &PlanEntry) -> Result<PathBuf> {
        let host = entry.host();
        let target = staged(&host);
        let to_error = |e: io::Error| {
            Error::failed(format!("cannot make the mount point of {} in {ROOT}", entry.name())).because(e)
        };
        // A link in what is backed up must not lead out of the staged tree.
        let there = target.ancestors().find(|p| fs::symlink_metadata(p).is_ok()).unwrap_or(Path::new(ROOT));
        if fs::canonicalize(there).ok().as_deref() != Some(there) {
            return Err(leads_away(entry));
        }
        if there == target {
            return Ok(target);
        }
        // The place of a dataset is a directory, whatever the host has at this path.
        let is_dir = entry.source != PlanSource::Live || host.is_dir();
        match make_place(&host, is_dir) {
            // It is below a mount that is not listed itself: `/` and /boot/efi, but not /boot.
            Err(e) if e.kind() == io::ErrorKind::ReadOnlyFilesystem => {
                let nearest = target.ancestors().find(|p| p.is_dir()).unwrap_or(Path::new(ROOT));
                self.scaffold(nearest)?;
                make_place(&host, is_dir).map_err(to_error)?;
            }
            made => made.map_err(to_error)?,
        }
        Ok(target)
    }

    /// Mounts an empty writable directory over `dir`, which must be empty if it is part of the
    /// backup.
    fn scaffold(&mut self, dir: &Path) -> Result<()> {
        let to_error = |e: io::Error| {
            Error::failed(format!("cannot mount a tmpfs for mount points at {}", dir.display())).because(e)
        };
        let like = fs::symlink_metadata(dir).map_err(to_error)?;
        let nodes =
            if dir == Path::new(ROOT) { Some(Vec::new()) } else { only_nodes(dir).map_err(to_error)? };
        let Some(nodes) = nodes else {
            let host = dir.strip_prefix(ROOT).unwrap_or(dir);
            return Err(to_error(io::ErrorKind::DirectoryNotEmpty.into())
                .hint(format!("list /{} in filesystems_to_backup, too", host.display())));
        };
        let options = format!(
            "mode={:o},uid={},gid={},size=16m",
            like.permissions().mode() & 0o7777,
            like.uid(),
            like.gid()
        );
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        mount(Some("borg-offsite-backup"), dir, Some("tmpfs"), flags, Some(options.as_str()))
            .map_err(|e| to_error(e.into()))?;
        self.mounts.push(dir.to_owned());
        mount(NOTHING, dir, NOTHING, MsFlags::MS_PRIVATE, NOTHING).map_err(|e| to_error(e.into()))?;
        nodes.iter().try_for_each(|node| node.make_in(dir)).map_err(to_error)
    }
}

/// A device, a link or an empty directory: what `/dev` has below the mounts over it.
struct StagedNode {
    name: std::ffi::OsString,
    like: fs::Metadata,
    link: Option<PathBuf>,
}

/// The nodes in `dir`; `None` if anything in it has content.
fn only_nodes(dir: &Path) -> io::Result<Option<Vec<StagedNode>>> {
    let mut nodes = Vec::new();
    for entry in fs::read_dir(dir)? {
        let (entry, like) = entry.and_then(|entry| Ok((entry.path(), entry.metadata()?)))?;
        let kind = like.file_type();
        let is_empty = kind.is_dir() && fs::read_dir(&entry)?.next().is_none();
        if !(is_empty || kind.is_symlink() || kind.is_char_device() || kind.is_block_device()) {
            return Ok(None);
        }
        let link = if kind.is_symlink() { Some(fs::read_link(&entry)?) } else { None };
        nodes.push(StagedNode { name: entry.file_name().unwrap_or_default().to_owned(), like, link });
    }
    Ok(Some(nodes))
}

impl StagedNode {
    fn make_in(&self, dir: &Path) -> io::Result<()> {
        let path = dir.join(&self.name);
        if let Some(target) = &self.link {
            return std::os::unix::fs::symlink(target, &path);
        }
        let mode = Mode::from_bits_truncate(self.like.mode());
        if self.like.is_dir() {
            DirBuilder::new().create(&path)?;
        } else {
            mknod(&path, SFlag::from_bits_truncate(self.like.mode() & libc::S_IFMT), mode, self.like.rdev())?;
        }
        std::os::unix::fs::chown(&path, Some(self.like.uid()), Some(self.like.gid()))?;
        fs::set_permissions(&path, self.like.permissions())
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = self.unmount();
    }
}

/// Unmounting on the host also unmounts here; our mounts never appear there.
fn private_namespace() -> Result<()> {
    let to_error = |e: nix::Error| {
        Error::failed("cannot make a mount namespace")
            .because(e)
            .hint("root needs the capability CAP_SYS_ADMIN for it; some containers take it away")
    };
    unshare(CloneFlags::CLONE_NEWNS).map_err(to_error)?;
    mount(NOTHING, "/", NOTHING, MsFlags::MS_REC | MsFlags::MS_SLAVE, NOTHING).map_err(to_error)
}

fn staged(host: &Path) -> PathBuf {
    Path::new(ROOT).join(host.strip_prefix("/").unwrap_or(host))
}

fn leads_away(entry: &PlanEntry) -> Error {
    Error::usage(format!("cannot back up {} at {}", entry.name(), entry.host().display()))
        .because("a symbolic link in the archive leads away from there")
        .hint("set its mount point to where it leads; nothing was backed up")
}

/// Makes the staged place of `source`: a directory, or an empty file for anything else.
fn make_place(source: &Path, is_dir: bool) -> io::Result<()> {
    let mut parents: Vec<&Path> = source.ancestors().skip(1).collect();
    parents.reverse();
    for parent in parents.into_iter().filter(|p| p.as_os_str().as_bytes() != b"/") {
        make_dir(parent)?;
    }
    if is_dir { make_dir(source) } else { fs::File::create_new(staged(source)).map(drop) }
}

/// Makes the staged directory for `host`, unless it exists, with the mode and owner of `host` if it
/// has them.
fn make_dir(host: &Path) -> io::Result<()> {
    let target = staged(host);
    if fs::symlink_metadata(&target).is_ok() {
        return Ok(());
    }
    let Ok(like) = fs::symlink_metadata(host) else { return DirBuilder::new().mode(0o755).create(&target) };
    DirBuilder::new().mode(0o700).create(&target)?;
    std::os::unix::fs::chown(&target, Some(like.uid()), Some(like.gid()))?;
    fs::set_permissions(&target, like.permissions())
}
