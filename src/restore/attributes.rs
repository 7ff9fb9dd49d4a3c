//! Owner, mode, times, extended attributes, ACLs and flags of a file, as the archive has them.

use std::io;
use std::os::fd::AsFd;

use borg_repository::{ItemPath, Xattr};
use rustix::fs::{FileType, Stat};
use rustix::io::Errno;

use crate::archive::tree::{NodeId, Tree};
use crate::error::{Error, Result};
use crate::tools::acl;
use crate::tools::inode::Inode;
use crate::tools::owners::{Owners, Ownership};
use crate::tools::target::open::Target;

const ACL_ACCESS: &[u8] = b"system.posix_acl_access";
const ACL_DEFAULT: &[u8] = b"system.posix_acl_default";
/// Extended attributes of these namespaces are the user's and not the system's: those that the archive does not have
/// are removed.
const OURS: [&[u8]; 3] = [b"user.", b"trusted.", b"security.capability"];
/// Only root may set those of these.
const ROOTS: [&[u8]; 2] = [b"trusted.", b"security."];
const SETUID: u32 = 0o6000;

/// Whose attributes are given, and to whom.
pub struct Rules {
    owners: Owners,
    is_root: bool,
}

impl Rules {
    /// Owners by number where `numeric_ids`, else by name.
    pub fn new(numeric_ids: bool) -> Self {
        let owners = Owners::new(Ownership { numeric_ids, ..Ownership::default() });
        Rules { owners, is_root: rustix::process::geteuid().is_root() }
    }
}

/// What a file has besides its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attributes {
    /// Of this machine; `None`: whoever is not root gives nothing away.
    owner: Option<(u32, u32)>,
    /// Without the file type.
    mode: u32,
    /// Nanoseconds since 1970.
    atime: i64,
    mtime: i64,
    xattrs: Vec<Xattr>,
    /// As the kernel has them.
    acl_access: Option<Vec<u8>>,
    acl_default: Option<Vec<u8>>,
    flags: u32,
    kind: FileType,
    is_root: bool,
}

/// What something may have that the archive does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Past {
    /// Nothing: it was just made.
    Fresh,
    /// An ACL, from the directory that it was just made in.
    Inherits,
    /// Anything: it was there.
    Unknown,
}

impl Past {
    /// Of what is made in `directory`.
    pub fn in_directory(directory: Inode<'_>) -> Past {
        match directory.xattr(ACL_DEFAULT) {
            Ok(None) => Past::Fresh,
            _ => Past::Inherits,
        }
    }
}

/// What a file system did not take, and why.
pub type Refusal = (&'static str, io::Error);

impl Attributes {
    /// Those of a node.
    ///
    /// # Errors
    /// When the archive cannot be read.
    pub fn of(tree: &Tree, node: NodeId, rules: &Rules) -> Result<Option<Self>> {
        let Some(meta) = tree.node(node)?.map(|node| node.meta) else { return Ok(None) };
        let extra = tree.extra(node)?.unwrap_or_default();
        let uid = rules.owners.uid(meta.user.as_deref(), meta.uid);
        let gid = rules.owners.gid(meta.group.as_deref(), meta.gid);
        let mut mode = meta.mode & 0o7777;
        if !rules.is_root && uid != rustix::process::geteuid().as_raw() {
            // It would run as another user than it did.
            mode &= !SETUID;
        }
        let encode = |text: Option<Box<[u8]>>| text.and_then(|text| acl::encode(&text, &rules.owners));
        Ok(Some(Attributes {
            owner: rules.is_root.then_some((uid, gid)),
            mode,
            atime: meta.atime,
            mtime: meta.mtime,
            xattrs: extra.xattrs,
            acl_access: encode(extra.acl_access),
            acl_default: encode(extra.acl_default),
            flags: extra.flags,
            kind: FileType::from_raw_mode(meta.mode),
            is_root: rules.is_root,
        }))
    }

    /// Gives `target` those of `path`, if the archive has such an item.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn give(tree: &Tree, path: &ItemPath, numeric_ids: bool, target: &Target) -> Result<()> {
        let Some(node) = tree.find(path)? else { return Ok(()) };
        let Some(attributes) = Attributes::of(tree, node, &Rules::new(numeric_ids))? else { return Ok(()) };
        match attributes.give_to(Inode::Open(target.file().as_fd())).into_iter().next() {
            None => Ok(()),
            Some((what, e)) => {
                Err(Error::failed(format!("cannot give {} its {what}", target.label())).because(e))
            }
        }
    }

    pub fn mtime(&self) -> i64 {
        self.mtime
    }

    /// Gives all of them to something that is complete.
    pub fn give_to(&self, inode: Inode<'_>) -> Vec<Refusal> {
        let mut refusals = self.give_owner(inode, Past::Unknown);
        refusals.extend(self.give_rest(inode, Past::Unknown));
        refusals
    }

    /// The first half: what may be given before the bytes are on the disk.
    pub fn give_owner(&self, inode: Inode<'_>, past: Past) -> Vec<Refusal> {
        let mut refusals = Vec::new();
        if let Some((uid, gid)) = self.owner
            && let Ok(stat) = inode.stat()
            && (stat.st_uid, stat.st_gid) != (uid, gid)
        {
            note(&mut refusals, "owner", inode.set_owner(uid, gid));
        }
        // A new owner takes capabilities away, so these come after it.
        note(&mut refusals, "extended attributes", self.give_xattrs(inode, past));
        refusals
    }

    /// The second half, after which it counts as restored.
    pub fn give_rest(&self, inode: Inode<'_>, past: Past) -> Vec<Refusal> {
        let mut refusals = Vec::new();
        if self.kind != FileType::Symlink {
            note(&mut refusals, "mode", inode.set_mode(self.mode));
            note(&mut refusals, "ACL", self.give_acls(inode, past));
        }
        note(&mut refusals, "times", inode.set_times(self.atime, self.mtime));
        if self.flags != 0 || past == Past::Unknown && inode.flags() != 0 {
            // Last: one of them forbids all changes.
            note(&mut refusals, "flags", inode.set_flags(self.flags));
        }
        refusals
    }

    fn give_xattrs(&self, inode: Inode<'_>, past: Past) -> io::Result<()> {
        let mut first = Ok(());
        for (name, value) in self.xattrs.iter().filter(|(name, _)| self.may_set(name)) {
            if past != Past::Unknown || inode.xattr(name)?.as_deref() != Some(&**value) {
                first = first.and(inode.set_xattr(name, value));
            }
        }
        if past == Past::Unknown {
            for name in self.surplus(inode)? {
                first = first.and(inode.remove_xattr(&name));
            }
        }
        first
    }

    fn may_set(&self, name: &[u8]) -> bool {
        self.is_root || !ROOTS.iter().any(|space| name.starts_with(space))
    }

    /// Names of extended attributes that the archive does not have.
    fn surplus(&self, inode: Inode<'_>) -> io::Result<Vec<Vec<u8>>> {
        let is_surplus = |name: &Vec<u8>| {
            OURS.iter().any(|space| name.starts_with(space))
                && self.may_set(name)
                && self.xattrs.iter().all(|(wanted, _)| **wanted != **name)
        };
        let names = inode.xattr_names()?.into_iter().map(std::ffi::CString::into_bytes);
        Ok(names.filter(is_surplus).collect())
    }

    /// Also takes away what it got from a default ACL of the directory that it was made in.
    fn give_acls(&self, inode: Inode<'_>, past: Past) -> io::Result<()> {
        let may_have = past != Past::Fresh;
        match &self.acl_access {
            Some(acl) => inode.set_xattr(ACL_ACCESS, acl)?,
            None if may_have => {
                inode.remove_xattr(ACL_ACCESS)?;
                // Until now the bits of the group were the ACL's mask.
                inode.set_mode(self.mode)?;
            }
            None => {}
        }
        match &self.acl_default {
            Some(acl) => inode.set_xattr(ACL_DEFAULT, acl),
            None if may_have && self.kind == FileType::Directory => inode.remove_xattr(ACL_DEFAULT),
            None => Ok(()),
        }
    }

    /// Whether what has `stat` has others.
    ///
    /// # Errors
    /// When it cannot be asked.
    pub fn differ_from(&self, inode: Inode<'_>, stat: &Stat) -> io::Result<bool> {
        if self.differ_from_stat(stat) || inode.flags() != self.flags {
            return Ok(true);
        }
        let is_other =
            |name: &[u8], value: Option<&[u8]>| io::Result::Ok(inode.xattr(name)?.as_deref() != value);
        for (name, value) in self.xattrs.iter().filter(|(name, _)| self.may_set(name)) {
            if is_other(name, Some(value))? {
                return Ok(true);
            }
        }
        let names = inode.xattr_names()?;
        let has = |name: &[u8]| names.iter().any(|known| known.as_bytes() == name);
        let acls = [(ACL_ACCESS, &self.acl_access), (ACL_DEFAULT, &self.acl_default)];
        for (name, acl) in acls {
            if (acl.is_some() || has(name)) && is_other(name, acl.as_deref())? {
                return Ok(true);
            }
        }
        Ok(!names.is_empty() && !self.surplus(inode)?.is_empty())
    }

    /// Whether it has only what stat(2) shows.
    pub fn are_plain(&self) -> bool {
        self.xattrs.is_empty() && self.acl_access.is_none() && self.acl_default.is_none() && self.flags == 0
    }

    /// As far as stat(2) shows it.
    pub fn differ_from_stat(&self, stat: &Stat) -> bool {
        let mode = self.kind != FileType::Symlink && stat.st_mode & 0o7777 != self.mode;
        let owner = self.owner.is_some_and(|owner| owner != (stat.st_uid, stat.st_gid));
        mode || owner || mtime(stat) != self.mtime
    }
}

/// When something was changed last, in nanoseconds since 1970.
pub fn mtime(stat: &Stat) -> i64 {
    stat.st_mtime.saturating_mul(1_000_000_000).saturating_add(stat.st_mtime_nsec as i64)
}

fn note(refusals: &mut Vec<Refusal>, what: &'static str, result: io::Result<()>) {
    if let Err(e) = result {
        refusals.push((what, e));
    }
}

/// Whether it was refused because of the file system, which would refuse it of any file.
pub fn is_unsupported(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::OPNOTSUPP.raw_os_error())
}

#[cfg(test)]
mod tests {
    use borg_repository::Item;

    use super::*;
    use crate::archive::tree::{TreeBuilder, View};
    use crate::tools::directory::Directory;

    fn attributes(item: Item) -> Attributes {
        let mut tree = TreeBuilder::new(View::default(), 0);
        let path = item.path.clone();
        tree.add(&item);
        let tree = tree.finish().unwrap();
        Attributes::of(&tree, tree.find(&path).unwrap().unwrap(), &Rules::new(true)).unwrap().unwrap()
    }

    fn file() -> Item {
        let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        let item = Item::new(ItemPath::new(b"f").unwrap(), libc::S_IFREG | 0o640);
        Item { uid, gid, mtime: 5_000_000_007, ..item }
    }

    #[test]
    fn what_was_given_does_not_differ_and_anything_else_does() {
        let dir = tempfile::tempdir_in("/var/tmp").unwrap();
        let xattr: Xattr = (b"user.a"[..].into(), b"1"[..].into());
        let acl = Some(b"user::rw-\nuser:65534:r--:65534\ngroup::r--\nmask::r--\nother::---\n"[..].into());
        let wanted = attributes(Item { xattrs: vec![xattr], acl_access: acl, flags: 1, ..file() });
        let directory = Directory::open(dir.path()).unwrap();
        std::fs::write(dir.path().join("f"), "x").unwrap();
        let opened = directory.open_file(c"f").unwrap();
        let inode = Inode::Open(opened.as_fd());
        let differ = |wanted: &Attributes| wanted.differ_from(inode, &inode.stat().unwrap()).unwrap();
        inode.set_xattr(b"user.old", b"x").unwrap();
        assert!(differ(&wanted));
        let refusals = wanted.give_to(inode);
        assert!(refusals.is_empty(), "{refusals:?}");
        assert!(!differ(&wanted));
        assert_eq!(inode.xattr(b"user.old").unwrap(), None);
        let changes: [&dyn Fn(); 6] = [
            &|| inode.set_xattr(b"user.b", b"").unwrap(),
            &|| inode.set_xattr(b"user.a", b"2").unwrap(),
            &|| inode.remove_xattr(ACL_ACCESS).unwrap(),
            &|| inode.set_flags(0).unwrap(),
            &|| inode.set_mode(0o600).unwrap(),
            &|| inode.set_times(0, 5).unwrap(),
        ];
        for (n, change) in changes.iter().enumerate() {
            change();
            assert!(differ(&wanted), "change {n}");
            assert!(wanted.give_to(inode).is_empty() && !differ(&wanted), "change {n}");
        }
        let plain = attributes(file());
        assert!(differ(&plain) && plain.give_to(inode).is_empty() && !differ(&plain));
        assert!(inode.xattr_names().unwrap().is_empty());
    }
}
