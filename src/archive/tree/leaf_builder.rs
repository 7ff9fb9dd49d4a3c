//! Builds a leaf from items.

use std::collections::HashMap;

use borg_repository::{Chunk, FileType, Item, ItemPath};

use super::leaf::Leaf;
use super::limits::{LONGEST_PATH, holdable, showable, target};
use super::path_hash::{PathHash, PathHasher};
use super::paths::{is_within, names, split};
use super::records::{
    ChunkRecord, DirectoryRecord, ExtraRecord, Fact, HolesRecord, ItemRecord, Kind, NO_DIRECTORY, Owner,
    RawRecord, Text, XattrRecord, class, flag,
};

/// The number of chunks on a page of a list: some 48 KiB.
pub const CHUNKS: usize = 1024;

/// Builds a leaf. The chunks of an item come before it.
#[derive(Default)]
pub struct LeafBuilder {
    leaf: Leaf,
    /// The numbers of directories, by the directory above and their name.
    numbers: HashMap<(u32, Box<[u8]>), u32>,
    last_directory: Option<(Box<[u8]>, u32)>,
    owners: HashMap<[Option<Box<[u8]>>; 2], u32>,
    /// The last page of chunks, which is not full yet.
    page: Vec<ChunkRecord>,
    /// Pages that are full, until they are taken.
    full: Vec<Vec<ChunkRecord>>,
    /// The first chunk, the end so far and the zeros of the item that comes next.
    first: u64,
    end: u64,
    zeros: u64,
}

/// What the items of a leaf are in numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Items that are shown.
    pub shown: u64,
    /// The bytes of all files.
    pub bytes: u64,
    pub links: u64,
    pub damaged: u64,
    pub extras: u64,
    /// Two items have the same path.
    pub repeats: bool,
}

/// A leaf with what others need to know about it.
pub struct Built {
    pub leaf: Leaf,
    /// The rest of the list of chunks.
    pub pages: Vec<Vec<ChunkRecord>>,
    pub facts: Vec<Fact>,
    /// The links, by the hash of the path that they lead to.
    pub links: Vec<Fact>,
    pub counts: Counts,
}

impl LeafBuilder {
    /// The next chunk of the item that comes next. `None` if there are too many.
    pub fn chunk(&mut self, chunk: &Chunk, zeros: bool) -> Option<()> {
        self.end = self.end.checked_add(chunk.size.into())?;
        self.zeros += if zeros { u64::from(chunk.size) } else { 0 };
        self.page.push(ChunkRecord {
            end: self.end,
            id: chunk.id.0,
            stored: chunk.stored,
            zeros: zeros.into(),
        });
        self.leaf.chunks += 1;
        if self.page.len() == CHUNKS {
            self.leaf.page_ends.push(self.end);
            self.full.push(std::mem::take(&mut self.page));
        }
        u32::try_from(self.leaf.chunks).ok().map(drop)
    }

    /// The pages of chunks that are full.
    pub fn take_full(&mut self) -> Vec<Vec<ChunkRecord>> {
        std::mem::take(&mut self.full)
    }

    /// The number of items.
    pub fn len(&self) -> usize {
        self.leaf.items.len()
    }

    pub fn is_empty(&self) -> bool {
        self.leaf.items.is_empty()
    }

    /// Adds the item whose chunks came before. One that cannot be shown keeps its number.
    pub fn add(&mut self, item: &Item) {
        let number = self.leaf.items.len();
        let record = if item.part { None } else { self.record(item) };
        if !item.part {
            let path = item.raw.as_deref().unwrap_or(item.path.as_bytes());
            let leads_out_too =
                item.source.as_deref().is_some_and(|to| kind(item) != Some(Kind::Symlink) && leads_out(to));
            if leads_out(path) || leads_out_too {
                self.leaf.misplaced.add(path);
            }
            if record.is_none_or(|record| record.is(flag::NAMELESS)) {
                self.leaf.left_out.add(path);
            }
        }
        let left_out = ItemRecord { flags: flag::LEFT_OUT, directory: NO_DIRECTORY, ..ItemRecord::default() };
        let record = ItemRecord { chunks: self.first as u32, ..record.unwrap_or(left_out) };
        if self.zeros > 0 {
            self.leaf.holes.push(HolesRecord { bytes: self.zeros, item: number as u32, unused: 0 });
        }
        self.leaf.items.push(record);
        (self.first, self.end, self.zeros) = (self.leaf.chunks, 0, 0);
    }

    /// Adds a directory that the archive has no item for.
    pub fn add_made_up(&mut self, item: &Item) {
        self.add(item);
        if let Some(last) = self.leaf.items.last_mut() {
            last.flags |= flag::MADE_UP;
        }
    }

    /// `None` if the item cannot be shown: no file has its kind, its name is invalid, or a text is too
    /// long.
    fn record(&mut self, item: &Item) -> Option<ItemRecord> {
        let path = item.path.as_bytes();
        if item.raw.as_deref().unwrap_or(path).len() > LONGEST_PATH {
            return None;
        }
        let kind = kind(item)?;
        let (above, name) = split(path);
        let is_nameless = showable(name).is_none();
        showable(if kind == Kind::Directory { path } else { above })?;
        if path.is_empty() && kind != Kind::Directory {
            return None;
        }
        i64::try_from(item.size).ok()?;
        let text = match (&item.source, kind) {
            (_, Kind::Symlink) => self.keep(target(item)?)?,
            (Some(source), Kind::File | Kind::Special) if source.len() <= LONGEST_PATH => {
                self.keep(source)?
            }
            (Some(_), Kind::File | Kind::Special) => return None,
            _ => Text::NONE,
        };
        let is_link = kind != Kind::Symlink && text != Text::NONE;
        let (directory, name) = match path {
            b"" => (NO_DIRECTORY, Text::NONE),
            _ => (self.directory(above)?, self.keep(name)?),
        };
        let owner = self.owner(item.user.as_deref(), item.group.as_deref())?;
        let extra = self.extra(item)?;
        if let Some(raw) = &item.raw {
            let path = self.keep(raw)?;
            self.leaf.raws.push(RawRecord { path, item: self.leaf.items.len() as u32 });
        }
        let flags = kind as u32
            | if is_link { flag::LINK } else { 0 }
            | if is_nameless { flag::NAMELESS } else { 0 }
            | if item.damaged { flag::DAMAGED } else { 0 };
        Some(ItemRecord {
            mtime: item.mtime,
            atime: item.atime.unwrap_or(item.mtime),
            ctime: item.ctime.unwrap_or(item.mtime),
            size: if kind == Kind::Special { item.rdev } else { item.size },
            mode: item.mode,
            uid: item.uid,
            gid: item.gid,
            owner,
            directory,
            name,
            text,
            extra,
            flags,
            chunks: 0,
        })
    }

    /// The number of the directory with this path. Those above it are added, too.
    fn directory(&mut self, path: &[u8]) -> Option<u32> {
        if let Some((last, number)) = &self.last_directory
            && **last == *path
        {
            return Some(*number);
        }
        if self.leaf.directories.is_empty() {
            self.leaf.directories.push(DirectoryRecord::default());
        }
        let (mut number, rest) = self.nearest(path);
        for name in names(rest) {
            number = match self.numbers.get(&(number, Box::from(name))) {
                Some(known) => *known,
                None => self.add_directory(number, name)?,
            };
        }
        self.last_directory = Some((path.into(), number));
        Some(number)
    }

    /// The directory above `path` that the last one is in, too, and the rest of the path.
    fn nearest<'p>(&self, path: &'p [u8]) -> (u32, &'p [u8]) {
        let Some((last, mut number)) = self.last_directory.as_ref().map(|(last, number)| (&**last, *number))
        else {
            return (0, path);
        };
        let mut above = last;
        while !is_within(path, above) {
            above = split(above).0;
            number = self.leaf.directories[number as usize].parent;
        }
        (number, &path[above.len()..])
    }

    fn add_directory(&mut self, parent: u32, name: &[u8]) -> Option<u32> {
        let number = self.leaf.directories.len() as u32;
        let text = self.keep(name)?;
        self.leaf.directories.push(DirectoryRecord { name: text, parent, ..DirectoryRecord::default() });
        self.numbers.insert((parent, name.into()), number);
        Some(number)
    }

    /// The number of this pair of owner and group: a few own all files.
    fn owner(&mut self, user: Option<&[u8]>, group: Option<&[u8]>) -> Option<u32> {
        if let Some(last) = self.leaf.items.last().and_then(|item| self.leaf.owners.get(item.owner as usize))
            && (self.leaf.text_if_any(last.user), self.leaf.text_if_any(last.group)) == (user, group)
        {
            return self.leaf.items.last().map(|item| item.owner);
        }
        let key = [user.map(Into::into), group.map(Into::into)];
        if let Some(number) = self.owners.get(&key) {
            return Some(*number);
        }
        let owner = Owner { user: self.keep_if_any(user)?, group: self.keep_if_any(group)? };
        let number = self.leaf.owners.len() as u32;
        self.leaf.owners.push(owner);
        self.owners.insert(key, number);
        Some(number)
    }

    fn extra(&mut self, item: &Item) -> Option<u32> {
        let xattrs = holdable(&item.xattrs);
        if xattrs.len() < item.xattrs.len() {
            self.leaf.unheld.add(item.path.as_bytes());
        }
        let has_acl = item.acl_access.is_some() || item.acl_default.is_some();
        if xattrs.is_empty() && !has_acl && item.flags == 0 {
            return Some(0);
        }
        let first = u32::try_from(self.leaf.xattrs.len()).ok()?;
        for (name, value) in &xattrs {
            let record = XattrRecord { name: self.keep(name)?, value: self.keep(value)? };
            self.leaf.xattrs.push(record);
        }
        let acl_access = self.keep_if_any(item.acl_access.as_deref())?;
        let acl_default = self.keep_if_any(item.acl_default.as_deref())?;
        let count = xattrs.len() as u32;
        self.leaf.extras.push(ExtraRecord { acl_access, acl_default, first, count, flags: item.flags });
        u32::try_from(self.leaf.extras.len()).ok()
    }

    fn keep(&mut self, text: &[u8]) -> Option<Text> {
        let at = Text::at(self.leaf.texts.len(), text.len())?;
        self.leaf.texts.extend_from_slice(text);
        Some(at)
    }

    fn keep_if_any(&mut self, text: Option<&[u8]>) -> Option<Text> {
        text.map_or(Some(Text::NONE), |text| self.keep(text))
    }

    /// The leaf; `rest` is what follows its items in the piece of metadata.
    pub fn finish(mut self, rest: &[u8], hasher: &PathHasher) -> Built {
        let leaf = &mut self.leaf;
        leaf.rest = rest.to_vec();
        if let Some(last) = self.page.last() {
            leaf.page_ends.push(last.end);
            self.full.push(self.page);
        }
        let is_listed = |item: &ItemRecord| !item.is(flag::LEFT_OUT) && item.directory != NO_DIRECTORY;
        let mut names: Vec<u32> =
            (0..).zip(&leaf.items).filter(|(_, item)| is_listed(item)).map(|(n, _)| n).collect();
        // A stable sort: items of one name stay in their order.
        names.sort_by(|a, b| key(leaf, *a).cmp(&key(leaf, *b)));
        set_ranges(&names, leaf);
        set_hashes(leaf, hasher);
        leaf.names = names;
        Built::of(self.leaf, self.full, hasher)
    }
}

/// The directory and the name of an item.
fn key(leaf: &Leaf, number: u32) -> (u32, &[u8]) {
    let item = &leaf.items[number as usize];
    (item.directory, leaf.text(item.name))
}

impl Built {
    /// What others need to know about `leaf`. `pages` are the pages of its chunks that are not written
    /// yet.
    pub fn of(leaf: Leaf, pages: Vec<Vec<ChunkRecord>>, hasher: &PathHasher) -> Self {
        let repeats = leaf.names.windows(2).any(|pair| key(&leaf, pair[0]) == key(&leaf, pair[1]));
        let mut counts = Counts { repeats, ..Counts::default() };
        leaf.items.iter().for_each(|item| counts.add(item));
        Built { facts: facts(&leaf, hasher), links: links(&leaf, hasher), leaf, pages, counts }
    }
}

impl Counts {
    fn add(&mut self, record: &ItemRecord) {
        if record.is(flag::LEFT_OUT | flag::NAMELESS) {
            return;
        }
        self.shown += 1;
        self.links += u64::from(record.is(flag::LINK));
        self.damaged += u64::from(record.is(flag::DAMAGED));
        self.extras += u64::from(record.extra > 0);
        if record.kind() == Kind::File && !record.is(flag::LINK) {
            self.bytes = self.bytes.saturating_add(record.size);
        }
    }
}

fn facts(leaf: &Leaf, hasher: &PathHasher) -> Vec<Fact> {
    let known = leaf.directories.iter().enumerate().map(|(number, record)| {
        let class = if record.count > 0 { class::ENTRIES } else { class::ABOVE };
        let fact = Fact::new(record.hash, class, number);
        Fact { entries: record.count, directories: record.directories, ..fact }
    });
    let is_directory = |item: &ItemRecord| item.is_directory() && !item.is(flag::LEFT_OUT);
    let listed = leaf.items.iter().enumerate().filter(|(_, item)| is_directory(item));
    let listed = listed.map(|(number, item)| Fact::new(leaf.hash(item, hasher), class::ITEM, number));
    known.chain(listed).collect()
}

fn links(leaf: &Leaf, hasher: &PathHasher) -> Vec<Fact> {
    let links = leaf.items.iter().enumerate().filter(|(_, item)| item.is(flag::LINK));
    let hash = |item: &ItemRecord| {
        let to = leaf.text(item.text);
        ItemPath::new(to).map_or_else(|| hasher.of(to), |path| hasher.of(path.as_bytes()))
    };
    links.map(|(number, item)| Fact::new(hash(item), class::ITEM, number)).collect()
}

/// Gives each directory its range in `names`.
fn set_ranges(names: &[u32], leaf: &mut Leaf) {
    for (at, number) in (0..).zip(names) {
        let item = leaf.items[*number as usize];
        let directory = &mut leaf.directories[item.directory as usize];
        if directory.count == 0 {
            directory.first = at;
        }
        directory.count += 1;
        directory.directories += u32::from(item.is_directory());
    }
}

fn set_hashes(leaf: &mut Leaf, hasher: &PathHasher) {
    for number in 1..leaf.directories.len() {
        let DirectoryRecord { parent, name, .. } = leaf.directories[number];
        let parent: PathHash = leaf.directories[parent as usize].hash;
        leaf.directories[number].hash = hasher.child(parent, leaf.text(name));
    }
}

fn kind(item: &Item) -> Option<Kind> {
    Some(match FileType::from_mode(item.mode)? {
        FileType::Directory => Kind::Directory,
        FileType::File => Kind::File,
        FileType::Symlink => Kind::Symlink,
        _ => Kind::Special,
    })
}

/// Whether a path in the archive leads out of it.
fn leads_out(path: &[u8]) -> bool {
    path.first() == Some(&b'/') || path.split(|byte| *byte == b'/').any(|name| name == b"..")
}
