//! A source in memory: archives whose items and bytes the test knows.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use borg_offsite_backup::archive::name::Archive;
use borg_offsite_backup::archive::tree::{ContentId, Tree, View};
use borg_offsite_backup::archives::load;
use borg_offsite_backup::archives::reader::Frames;
use borg_offsite_backup::archives::source::{CacheSink, Catalog, ContentSource, FRAME, Layout, ReadError};
use borg_offsite_backup::error::{Error, Result};
use borg_offsite_backup::progress::Monitor;
use borg_repository::Item;
use borg_repository::ItemPath;

pub fn item(path: &[u8], mode: u32) -> Item {
    Item {
        number: 0,
        path: ItemPath::new(path).unwrap(),
        raw: None,
        mode,
        uid: 7,
        gid: 8,
        user: None,
        group: None,
        mtime: 1,
        atime: None,
        ctime: None,
        size: 0,
        rdev: 0,
        source: None,
        xattrs: Vec::new(),
        acl_access: None,
        acl_default: None,
        flags: 0,
        damaged: false,
        part: false,
    }
}

pub fn archive(name: &str, order: u32) -> Archive {
    Archive {
        name: name.into(),
        id: format!("{order:064x}"),
        start: format!("2026-01-01T00:{order:02}:00.0"),
    }
}

/// An archive, its items, and the bytes of its files by their path.
pub type ArchiveContents = (Archive, Vec<Item>, HashMap<Vec<u8>, Vec<u8>>);

#[derive(Default)]
pub struct MemoryCatalog {
    pub archives: Vec<ArchiveContents>,
    ended: Arc<AtomicBool>,
    pub fetched: Arc<AtomicU64>,
    /// How often the items of an archive were read.
    pub read: Arc<AtomicU64>,
}

impl MemoryCatalog {
    fn find(&self, wanted: &Archive) -> Option<&ArchiveContents> {
        self.archives.iter().find(|(a, ..)| a == wanted)
    }
}

impl Catalog for MemoryCatalog {
    fn archives(&self) -> Result<Vec<Archive>> {
        Ok(self.archives.iter().map(|(a, ..)| a.clone()).collect())
    }

    fn tree(&self, archive: &Archive, view: &View, monitor: &dyn Monitor) -> Result<Tree> {
        let (_, items, _) = self.find(archive).ok_or_else(|| Error::failed("no such archive"))?;
        self.read.fetch_add(1, Ordering::Relaxed);
        load::tree_of_items(archive, view, monitor, |each| {
            items.iter().cloned().for_each(each);
            Ok(())
        })
    }

    fn layout(&self, _archive: &Archive, number: u32, tree: &Arc<Tree>) -> Arc<dyn Layout> {
        Arc::new(Frames::new(Arc::clone(tree), number))
    }

    fn contents(
        &self,
        archive: &Archive,
        tree: Arc<Tree>,
        sink: Arc<dyn CacheSink>,
    ) -> Arc<dyn ContentSource> {
        let bytes = self.find(archive).map(|(_, _, bytes)| bytes.clone()).unwrap_or_default();
        let (ended, fetched) = (Arc::clone(&self.ended), Arc::clone(&self.fetched));
        Arc::new(MemorySource { tree, bytes, sink, ended, fetched })
    }

    fn shut_down(&self) {
        self.ended.store(true, Ordering::Release);
    }
}

struct MemorySource {
    tree: Arc<Tree>,
    bytes: HashMap<Vec<u8>, Vec<u8>>,
    sink: Arc<dyn CacheSink>,
    ended: Arc<AtomicBool>,
    fetched: Arc<AtomicU64>,
}

impl ContentSource for MemorySource {
    fn fetch(&self, id: ContentId, span: Range<u64>) -> std::result::Result<Vec<u8>, ReadError> {
        if self.ended.load(Ordering::Acquire) {
            return Err(ReadError::Ending);
        }
        self.fetched.fetch_add(1, Ordering::Relaxed);
        let content =
            self.tree.content(id).unwrap().ok_or_else(|| ReadError::Failed("no such content".into()))?;
        let all = &self.bytes[&self.tree.path(id).unwrap().unwrap()];
        if span.is_empty() || span.end > content.size {
            return Err(ReadError::Failed("not within the file".into()));
        }
        // It donates the frame after what was asked for, as a stream does that runs ahead.
        let next = span.end.next_multiple_of(FRAME);
        if next < content.size {
            self.sink.put(id, next, &all[next as usize..(next + FRAME).min(content.size) as usize]);
        }
        Ok(all[span.start as usize..span.end as usize].to_vec())
    }
}
