//! Attributes of files and directories.

use std::time::Duration;

use nix::errno::Errno;

use super::{FOR_A_MOMENT, FOR_EVER, FileSystem, unreadable};
use crate::archive::tree::{Body, NodeId, Tree};
use crate::mount::attr::Attr;
use crate::mount::loaded::LoadedArchive;

impl FileSystem {
    /// The attributes of something that is not in an archive.
    pub(super) fn plain(&self, ino: u64, mode: u32, nlink: u32, size: u64, time: i64) -> Attr {
        let rules = &self.presentation.owners.rules;
        Attr {
            ino,
            size,
            data: size,
            mode: mode & !rules.umask,
            nlink,
            uid: rules.uid.unwrap_or(0),
            gid: rules.gid.unwrap_or(0),
            rdev: 0,
            atime: time,
            mtime: time,
            ctime: time,
            lifetime: FOR_A_MOMENT,
        }
    }

    /// The attributes of an archive's directory. They are not those of the archive's root, because
    /// listing all archives must not load them. Once the archive is loaded, its own mode protects
    /// it from other users. Until then the kernel must ask every time, or it would let users in by
    /// the cached mode.
    pub(super) fn directory_attr(&self, n: usize) -> Result<Attr, Errno> {
        let slot = self.archives.slot(n).ok_or(Errno::ENOENT)?;
        if let Some(attr) = slot.root.get().filter(|_| self.presentation.for_everyone) {
            return Ok(Attr { lifetime: FOR_A_MOMENT, ..attr.clone() });
        }
        let time = slot.archive.start_ns();
        let attr = self.plain(self.ino(n, Tree::ROOT), libc::S_IFDIR | 0o755, 2, 0, time);
        let lifetime = if self.presentation.for_everyone { Duration::ZERO } else { FOR_A_MOMENT };
        Ok(Attr { lifetime, ..attr })
    }

    pub(super) fn node_attr(&self, n: usize, loaded: &LoadedArchive, id: NodeId) -> Result<Attr, Errno> {
        let node = loaded.tree.node(id).map_err(unreadable)?.ok_or(Errno::ENOENT)?;
        let meta = node.meta;
        let (size, data) = match node.body {
            Body::File(_) => (node.size, node.size.saturating_sub(node.holes)),
            Body::Symlink(target) => {
                let size = self.link_target(loaded, id, &target)?.len() as u64;
                (size, size)
            }
            _ => (0, 0),
        };
        if meta.made_up && self.presentation.for_everyone {
            // Nobody knows what the directory protected.
            let attr = self.plain(self.ino(n, id), libc::S_IFDIR | 0o700, node.nlink, size, meta.mtime);
            let own = self.presentation.owners.rules.uid.unwrap_or(nix::unistd::geteuid().as_raw());
            return Ok(Attr { uid: own, lifetime: FOR_EVER, ..attr });
        }
        Ok(Attr {
            ino: self.ino(n, id),
            size,
            data,
            mode: meta.mode & !self.presentation.owners.rules.umask,
            nlink: node.nlink,
            uid: self.presentation.owners.uid(meta.user.as_deref(), meta.uid),
            gid: self.presentation.owners.gid(meta.group.as_deref(), meta.gid),
            rdev: meta.rdev,
            atime: meta.atime,
            mtime: meta.mtime,
            ctime: meta.ctime,
            lifetime: FOR_EVER,
        })
    }
}
