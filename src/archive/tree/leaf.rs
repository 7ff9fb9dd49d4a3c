//! A leaf: the items that one piece of an archive's metadata holds, in flat arrays.

use std::sync::Arc;

use zerocopy::IntoBytes;

use super::meta::{Extra, Meta};
use super::pages::Page;
use super::path_hash::{PathHash, PathHasher};
use super::paths::join;
use super::records::{
    DirectoryRecord, ExtraRecord, HolesRecord, ItemRecord, Kind, NO_DIRECTORY, Owner, RawRecord, Text,
    XattrRecord, flag, pack, records, unpack,
};
use crate::archive::left_out::LeftOut;

/// The number of arrays of a leaf.
const SECTIONS: usize = 18;

/// Items that follow each other in an archive.
#[derive(Default)]
pub struct Leaf {
    /// All that the archive lists, in its order.
    pub items: Vec<ItemRecord>,
    /// The directories of these items, and all above them.
    pub directories: Vec<DirectoryRecord>,
    /// The numbers of the items that are shown, by directory and name; of one name in the order of the
    /// archive.
    pub names: Vec<u32>,
    pub owners: Vec<Owner>,
    pub extras: Vec<ExtraRecord>,
    pub xattrs: Vec<XattrRecord>,
    /// For the items that are spelled in an unusual way; sorted.
    pub raws: Vec<RawRecord>,
    /// For the items that have zeros; sorted.
    pub holes: Vec<HolesRecord>,
    /// The `end` of the last chunk on each page of the list of chunks.
    pub page_ends: Vec<u64>,
    /// The number of chunks.
    pub chunks: u64,
    pub texts: Vec<u8>,
    /// The beginning of the next item: the rest of the piece of metadata.
    pub rest: Vec<u8>,
    pub left_out: LeftOut,
    pub unheld: LeftOut,
    pub misplaced: LeftOut,
    /// The names of users and groups by number.
    names_of_owners: Vec<[Option<Arc<[u8]>>; 2]>,
}

impl Page for Leaf {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let sections = unpack::<SECTIONS>(bytes)?;
        let [
            items,
            directories,
            names,
            owners,
            extras,
            xattrs,
            raws,
            holes,
            ends,
            chunks,
            texts,
            rest,
            lists @ ..,
        ] = sections;
        let [left_out, left_names, unheld, unheld_names, misplaced, misplaced_names] = lists;
        let mut leaf = Leaf {
            items: records(items)?,
            directories: records(directories)?,
            names: records(names)?,
            owners: records(owners)?,
            extras: records(extras)?,
            xattrs: records(xattrs)?,
            raws: records(raws)?,
            holes: records(holes)?,
            page_ends: records(ends)?,
            chunks: u64::from_ne_bytes(chunks.try_into().ok()?),
            texts: texts.to_vec(),
            rest: rest.to_vec(),
            left_out: LeftOut::of_sections(left_out, left_names)?,
            unheld: LeftOut::of_sections(unheld, unheld_names)?,
            misplaced: LeftOut::of_sections(misplaced, misplaced_names)?,
            names_of_owners: Vec::new(),
        };
        leaf.name_owners();
        Some(leaf)
    }

    fn bytes(&self) -> usize {
        size_of_val(&*self.items)
            + size_of_val(&*self.directories)
            + size_of_val(&*self.names)
            + size_of_val(&*self.extras)
            + size_of_val(&*self.xattrs)
            + size_of_val(&*self.page_ends)
            + self.texts.len()
            + self.rest.len()
    }
}

impl Leaf {
    pub fn to_bytes(&self) -> Vec<u8> {
        let [left_out, left_names] = self.left_out.sections();
        let [unheld, unheld_names] = self.unheld.sections();
        let [misplaced, misplaced_names] = self.misplaced.sections();
        let sections: [&[u8]; SECTIONS] = [
            self.items.as_bytes(),
            self.directories.as_bytes(),
            self.names.as_bytes(),
            self.owners.as_bytes(),
            self.extras.as_bytes(),
            self.xattrs.as_bytes(),
            self.raws.as_bytes(),
            self.holes.as_bytes(),
            self.page_ends.as_bytes(),
            self.chunks.as_bytes(),
            &self.texts,
            &self.rest,
            left_out,
            left_names,
            unheld,
            unheld_names,
            misplaced,
            misplaced_names,
        ];
        pack(&sections)
    }

    fn name_owners(&mut self) {
        let name = |text| self.text_if_any(text).map(Arc::from);
        self.names_of_owners =
            self.owners.iter().map(|owner| [name(owner.user), name(owner.group)]).collect();
    }

    pub fn text(&self, text: Text) -> &[u8] {
        self.text_if_any(text).unwrap_or_default()
    }

    pub fn text_if_any(&self, text: Text) -> Option<&[u8]> {
        self.texts.get(text.range()?)
    }

    pub fn item(&self, number: usize) -> Option<&ItemRecord> {
        self.items.get(number)
    }

    pub fn name(&self, item: &ItemRecord) -> &[u8] {
        self.text(item.name)
    }

    /// The hash of the path of the item's directory; that of the root if it is in none.
    pub fn directory_hash(&self, item: &ItemRecord) -> PathHash {
        self.directories.get(item.directory as usize).map_or(PathHash::ROOT, |directory| directory.hash)
    }

    /// The hash of the item's path.
    pub fn hash(&self, item: &ItemRecord, hasher: &PathHasher) -> PathHash {
        match item.directory {
            NO_DIRECTORY => PathHash::ROOT,
            _ => hasher.child(self.directory_hash(item), self.name(item)),
        }
    }

    /// The numbers of a directory and all above it, up to the root.
    pub fn chain(&self, directory: usize) -> impl Iterator<Item = usize> + '_ {
        let above = |number: &usize| {
            let parent = self.directories.get(*number)?.parent as usize;
            // So that it ends, whatever a file says.
            (parent < *number).then_some(parent)
        };
        std::iter::successors(self.directories.get(directory).map(|_| directory), above)
    }

    /// The path of directory number `directory`.
    pub fn directory_path(&self, directory: usize) -> Vec<u8> {
        let names: Vec<&[u8]> =
            self.chain(directory).map(|number| self.text(self.directories[number].name)).collect();
        let below_root = names.iter().rev().skip(1).copied().collect::<Vec<_>>();
        below_root.join(&b'/')
    }

    /// The path of the item without what is unusual in its spelling.
    pub fn path(&self, item: &ItemRecord) -> Vec<u8> {
        match item.directory {
            NO_DIRECTORY => Vec::new(),
            directory => join(&self.directory_path(directory as usize), self.name(item)),
        }
    }

    /// The spelling of the item's path if it is unusual.
    pub fn raw(&self, number: usize) -> Option<&[u8]> {
        let at = self.raws.binary_search_by_key(&(number as u32), |raw| raw.item).ok()?;
        Some(self.text(self.raws[at].path))
    }

    /// The numbers of the items in directory number `directory`.
    pub fn entries(&self, directory: usize) -> &[u32] {
        let Some(directory) = self.directories.get(directory) else { return &[] };
        let names = self.names.get(directory.first as usize..);
        names.and_then(|names| names.get(..directory.count as usize)).unwrap_or_default()
    }

    /// The numbers of the items in directory number `directory` that have this name.
    pub fn named(&self, directory: usize, name: &[u8]) -> &[u32] {
        let entries = self.entries(directory);
        let name_of = |number: &u32| self.item(*number as usize).map_or(&[][..], |item| self.name(item));
        let start = entries.partition_point(|number| name_of(number) < name);
        let length = entries[start..].partition_point(|number| name_of(number) == name);
        &entries[start..start + length]
    }

    pub fn meta(&self, item: &ItemRecord) -> Meta {
        let [user, group] = self.names_of_owners.get(item.owner as usize).cloned().unwrap_or_default();
        Meta {
            mode: item.mode,
            uid: item.uid,
            gid: item.gid,
            user,
            group,
            mtime: item.mtime,
            atime: item.atime,
            ctime: item.ctime,
            rdev: if item.kind() == Kind::Special { item.size } else { 0 },
            made_up: item.is(flag::MADE_UP),
        }
    }

    pub fn extra(&self, item: &ItemRecord) -> Option<Extra> {
        let record = self.extras.get(item.extra.checked_sub(1)? as usize)?;
        let xattrs = self.xattrs.get(record.first as usize..)?.get(..record.count as usize)?;
        let owned = |text| self.text_if_any(text).map(Into::into);
        Some(Extra {
            xattrs: xattrs.iter().map(|x| (self.text(x.name).into(), self.text(x.value).into())).collect(),
            acl_access: owned(record.acl_access),
            acl_default: owned(record.acl_default),
            flags: record.flags,
        })
    }

    /// The bytes of the item that are in chunks of zeros.
    pub fn holes(&self, number: usize) -> u64 {
        let at = self.holes.binary_search_by_key(&(number as u32), |holes| holes.item);
        at.map_or(0, |at| self.holes[at].bytes)
    }

    /// Where the chunks of an item are in the list of the leaf.
    pub fn chunks(&self, number: usize) -> Option<std::ops::Range<u64>> {
        let end = match self.items.get(number + 1) {
            Some(next) => next.chunks.into(),
            None => self.chunks,
        };
        let start = u64::from(self.items.get(number)?.chunks);
        (start <= end).then_some(start..end)
    }
}
