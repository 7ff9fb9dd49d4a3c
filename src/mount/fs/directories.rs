//! Entries of directories.

use nix::errno::Errno;

use super::{FileSystem, LAST, LATEST_INO, Place, ROOT, unreadable};
use crate::archive::tree::{Body, NodeId, Tree};
use crate::mount::attr::Attr;
use crate::mount::shown::LATEST;

/// The entries `.` and `..`, which come first.
const DOTS: u64 = 2;

/// An entry of a directory.
pub struct DirectoryEntry<'a> {
    pub name: &'a [u8],
    pub attr: Attr,
}

impl FileSystem {
    /// Passes the entries of a directory from number `from` on to `each`, with the number of the
    /// next one, until `each` returns false. The first two are `.` and `..`.
    pub fn entries(
        &self,
        ino: u64,
        from: u64,
        each: &mut dyn FnMut(DirectoryEntry<'_>, u64) -> bool,
    ) -> Result<(), Errno> {
        let place = self.place(ino).ok_or(Errno::ENOENT)?;
        let above = match place {
            Place::Latest | Place::Mark => return Err(Errno::ENOTDIR),
            Place::Top => ROOT,
            Place::In(n, node) => self.parent(n, node)?,
        };
        let dots: [(&[u8], u64); 2] = [(b".", ino), (b"..", above)];
        for (next, (name, ino)) in (1..).zip(dots).skip(from as usize) {
            if !each(DirectoryEntry { name, attr: self.attr(ino)? }, next) {
                return Ok(());
            }
        }
        match place {
            Place::In(n, node) => self.children(n, node, from, each),
            _ => self.directories(from, each),
        }
    }

    fn children(
        &self,
        n: usize,
        node: NodeId,
        from: u64,
        each: &mut dyn FnMut(DirectoryEntry<'_>, u64) -> bool,
    ) -> Result<(), Errno> {
        let loaded = self.loaded(n)?;
        let found = loaded.tree.node(node).map_err(unreadable)?.ok_or(Errno::ENOENT)?;
        if found.body != Body::Directory {
            return Err(Errno::ENOTDIR);
        }
        let children = loaded.tree.children_from(node, from.saturating_sub(DOTS)).map_err(unreadable)?;
        for child in children {
            let child = child.map_err(unreadable)?;
            let attr = self.node_attr(n, &loaded, child.node)?;
            if !each(DirectoryEntry { name: &child.name, attr }, child.next + DOTS) {
                return Ok(());
            }
        }
        Ok(())
    }

    /// The directories of all archives. Each has the number of its archive, because archives may
    /// come and go during the listing.
    fn directories(
        &self,
        from: u64,
        each: &mut dyn FnMut(DirectoryEntry<'_>, u64) -> bool,
    ) -> Result<(), Errno> {
        if from >= LAST {
            return Ok(());
        }
        if from <= 2 {
            self.looks.wait();
            self.forget_deleted();
        }
        for n in self.archives.shown(from.saturating_sub(2) as usize) {
            let slot = self.archives.slot(n).ok_or(Errno::ENOENT)?;
            let name = slot.archive.name.as_bytes();
            if !each(DirectoryEntry { name, attr: self.directory_attr(n)? }, n as u64 + 3) {
                return Ok(());
            }
        }
        if let Some((_, turns)) = self.archives.latest() {
            each(
                DirectoryEntry { name: LATEST.as_bytes(), attr: self.attr(LATEST_INO + u64::from(turns))? },
                LAST,
            );
        }
        Ok(())
    }

    fn parent(&self, n: usize, node: NodeId) -> Result<u64, Errno> {
        if node == Tree::ROOT {
            return Ok(ROOT);
        }
        let parent = self.loaded(n)?.tree.parent(node).map_err(unreadable)?.ok_or(Errno::ENOENT)?;
        Ok(self.ino(n, parent))
    }
}
