//! Contents of files, and their extended attributes.

use std::ops::Range;

use nix::errno::Errno;

use super::{FileSystem, Place, unreadable};
use crate::archive::tree::{Body, Content, ContentId, Extra, LARGEST_XATTR, NodeId, Tree};
use crate::archives::source::{FRAME, ReadError};
use crate::mount::loaded::LoadedArchive;
use crate::tools::acl;
use borg_repository::Xattr;

impl FileSystem {
    /// Checks whether the file can be read.
    ///
    /// # Errors
    /// EIO if borg put zeros for lost chunks into the file, unless such files are allowed.
    pub fn open(&self, ino: u64) -> Result<(), Errno> {
        let Some(Place::In(n, node)) = self.place(ino) else { return Err(Errno::EISDIR) };
        let loaded = self.loaded(n)?;
        let (_, content) = content(&loaded, node)?;
        if content.damaged && !self.presentation.allow_damaged_files {
            tracing::warn!(
                "{}: chunks of it are lost and were replaced by zeros; -o allow_damaged_files opens it",
                path(&loaded, content.item)
            );
            return Err(Errno::EIO);
        }
        if content.size > FRAME << 32 {
            return Err(Errno::EFBIG);
        }
        Ok(())
    }

    /// Up to `size` bytes at `offset` if they are in the cache.
    pub fn read_cached(&self, ino: u64, offset: u64, size: u32) -> Option<Vec<u8>> {
        let Some(Place::In(n, node)) = self.place(ino) else { return None };
        let loaded = self.loaded.get(n)?;
        let (id, content) = content(&loaded, node).ok()?;
        let span = span(offset, size, content.size);
        if span.is_empty() { Some(Vec::new()) } else { loaded.reader.cached(id, span) }
    }

    /// Up to `size` bytes at `offset`; fewer only at the end of the file.
    ///
    /// # Errors
    /// EIO if any of the bytes cannot be read; the log has the reason.
    pub fn read(&self, ino: u64, offset: u64, size: u32) -> Result<Vec<u8>, Errno> {
        let Some(Place::In(n, node)) = self.place(ino) else { return Err(Errno::EISDIR) };
        let loaded = self.loaded(n)?;
        let (id, content) = content(&loaded, node)?;
        let span = span(offset, size, content.size);
        if span.is_empty() {
            return Ok(Vec::new());
        }
        loaded.reader.read(id, span).map_err(|e| {
            if e != ReadError::Ending {
                let name = self.archives.slot(n).map(|slot| slot.archive.name.clone()).unwrap_or_default();
                let (archive, path) = (name.as_bytes().escape_ascii(), path(&loaded, id));
                tracing::error!("{archive}: cannot read {path} at {offset}: {e}");
            }
            Errno::EIO
        })
    }

    /// SEEK_DATA and SEEK_HOLE. A source that does not know holes reports only data; every file
    /// ends with a hole.
    pub fn seek(&self, ino: u64, offset: u64, hole: bool) -> Result<u64, Errno> {
        let Some(Place::In(n, node)) = self.place(ino) else { return Err(Errno::EISDIR) };
        let loaded = self.loaded(n)?;
        let (id, content) = content(&loaded, node)?;
        if offset >= content.size {
            return Err(Errno::ENXIO);
        }
        match loaded.reader.seek(id, offset, content.size, hole).map_err(unreadable)? {
            Some(at) => Ok(at),
            None if hole => Ok(content.size),
            None => Err(Errno::ENXIO),
        }
    }

    /// Whether anything in the mount may have extended attributes or ACLs: false if it is one
    /// archive without any.
    pub fn may_have_xattrs(&self) -> bool {
        let only = self.loaded.get(0).filter(|_| self.single);
        only.is_none_or(|loaded| loaded.tree.has_extras())
    }

    pub fn xattr(&self, ino: u64, name: &[u8]) -> Result<Vec<u8>, Errno> {
        self.xattrs(ino)?.into_iter().find(|(n, _)| **n == *name).map(|(_, v)| v.into()).ok_or(Errno::ENODATA)
    }

    /// The names of all extended attributes, each followed by a NUL.
    pub fn xattr_names(&self, ino: u64) -> Result<Vec<u8>, Errno> {
        let names = self.xattrs(ino)?.into_iter().map(|(name, _)| name.into_vec());
        Ok(names.flat_map(|name| name.into_iter().chain([0])).collect())
    }

    fn xattrs(&self, ino: u64) -> Result<Vec<Xattr>, Errno> {
        let Some(Place::In(n, node)) = self.place(ino) else { return Ok(Vec::new()) };
        if node == Tree::ROOT && !self.single {
            return Ok(Vec::new());
        }
        let loaded = self.loaded(n)?;
        let Some(extra) = loaded.tree.extra(node).map_err(unreadable)? else {
            return Ok(Vec::new());
        };
        let Extra { xattrs, acl_access, acl_default, .. } = extra;
        let acl = |name: &[u8], text: &Option<Box<[u8]>>| {
            let value = acl::encode(text.as_ref()?, &self.presentation.owners)?;
            (value.len() <= LARGEST_XATTR).then_some(())?;
            Some((name.into(), value.into()))
        };
        let access = acl(b"system.posix_acl_access", &acl_access);
        let default = acl(b"system.posix_acl_default", &acl_default);
        Ok(xattrs.into_iter().chain(access).chain(default).collect())
    }
}

fn content(loaded: &LoadedArchive, node: NodeId) -> Result<(ContentId, Content), Errno> {
    let id = node.checked_sub(1).ok_or(Errno::EISDIR)?;
    if let Some(content) = loaded.tree.content(id).map_err(unreadable)? {
        return Ok((id, content));
    }
    match loaded.tree.node(node).map_err(unreadable)?.ok_or(Errno::ENOENT)?.body {
        Body::Directory => Err(Errno::EISDIR),
        _ => Err(Errno::EINVAL),
    }
}

/// The path of a file, for people.
fn path(loaded: &LoadedArchive, id: ContentId) -> String {
    let path = loaded.tree.path(id).ok().flatten().unwrap_or_default();
    path.escape_ascii().to_string()
}

/// The part of a read that lies within the file.
fn span(offset: u64, size: u32, end: u64) -> Range<u64> {
    let start = offset.min(end);
    start..start.saturating_add(u64::from(size)).min(end)
}
