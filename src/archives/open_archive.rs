//! An archive that is open for reading.

use std::path::PathBuf;
use std::sync::Arc;

use super::cache::{Cache, Limits};
use super::chunks::Chunks;
use super::contents::Contents;
use super::damage::{self, Damaged, REPAIRED};
use super::load;
use super::native::NativeCatalog;
use super::open::{Archives, Options, Source};
use super::reader::Reader;
use super::storage::Remembered;
use super::streamed::Streamed;
use crate::archive::choice::Wanted;
use crate::archive::datasets::Datasets;
use crate::archive::filter::ArchiveFilter;
use crate::archive::name::Archive;
use crate::archive::naming;
use crate::archive::tree::{Body, NodeId, Tree, View};
use crate::archive::volumes;
use crate::error::{Error, Kind, Result};
use crate::tools::borg::Borg;
use borg_repository::ItemPath;

/// The longest dataset list that is read, in bytes. A dataset takes about 400.
const MANIFEST: u64 = 16 << 20;

/// An archive, its tree, and the source of its bytes.
pub struct OpenArchive {
    pub archive: Archive,
    pub tree: Arc<Tree>,
    archives: Archives,
}

/// What a path in an archive is.
pub enum Found {
    /// A regular file, such as a volume's image.
    Image(Image),
    Directory(ItemPath),
    /// A link, a device, a FIFO, a socket.
    Other(ItemPath),
}

/// A regular file in an archive.
pub struct Image {
    pub archive: Archive,
    /// As the archive spells it.
    pub path: ItemPath,
    /// In bytes.
    pub size: u64,
    pub bytes: Bytes,
}

/// Where the bytes of an image come from.
pub enum Bytes {
    Chunks(Chunks),
    Stream(Streamed),
}

impl OpenArchive {
    /// Opens the archive in order to `doing` ("verify it"). Dropping it ends the processes that serve its bytes.
    ///
    /// # Errors
    /// When the repository or the archive cannot be read, or there is no such archive.
    pub fn open(borg: &Borg, wanted: &Wanted, source: Source, doing: &'static str) -> Result<Self> {
        let filter = ArchiveFilter { consider_checkpoints: true, ..ArchiveFilter::default() };
        let remembered = Remembered::catalogs(borg.catalog_limit());
        let archives =
            Archives::open(borg, Options { source, filter, remembered, doing, ..Options::default() })?;
        let archive = archives.resolve(wanted, &archives.list()?)?;
        let tree = archives.tree(&archive, &View::default())?;
        Ok(OpenArchive { archive, tree, archives })
    }

    /// The native reader; `None` if only borg can read the repository.
    pub fn native(&self) -> Option<&Arc<NativeCatalog>> {
        self.archives.native()
    }

    /// Whether its repository is on this machine.
    pub fn is_local(&self) -> bool {
        self.archives.is_local()
    }

    /// The bytes of its files by chunks; `None` if only borg can read the repository.
    pub fn contents(&self) -> Option<Contents> {
        self.native().map(|native| Contents::new(Arc::clone(native), &self.archive, &self.tree))
    }

    /// A reader of its files that uses this much memory, in bytes.
    ///
    /// # Errors
    /// When there is not enough memory.
    pub fn reader(&self, memory: u64) -> Result<Reader> {
        let cache = Cache::new(&Limits { memory, scratch: 0, dir: PathBuf::new() })?;
        Ok(load::reader(&**self.archives.catalog(), &self.archive, &self.tree, Arc::new(cache), 0))
    }

    /// The number of files that are missing because they could not be read, as far as this machine
    /// knows.
    ///
    /// # Errors
    /// When the repository cannot be read.
    pub fn unread(&self) -> Result<u64> {
        Ok(self.archives.catalog().origin(&self.archive)?.unread)
    }

    /// Finds `wanted`, as [`naming::candidates`] takes it, in the archive.
    ///
    /// # Errors
    /// [`Kind::NotFound`] when it is not there.
    pub fn find(&self, wanted: &[u8]) -> Result<Found> {
        let (node, path) = self.locate(wanted)?;
        self.at(node, path, false)
    }

    /// The same, but what `borg check --repair` changed is found, too: the chunks that it missed are lost.
    ///
    /// # Errors
    /// As [`OpenArchive::find`].
    pub fn find_to_salvage(&self, wanted: &[u8]) -> Result<Found> {
        let (node, path) = self.locate(wanted)?;
        self.at(node, path, true)
    }

    /// The path in the archive that `wanted` means.
    ///
    /// # Errors
    /// [`Kind::NotFound`] when it is not there.
    pub fn path(&self, wanted: &[u8]) -> Result<ItemPath> {
        Ok(self.locate(wanted)?.1)
    }

    fn locate(&self, wanted: &[u8]) -> Result<(NodeId, ItemPath)> {
        let found = self.first_of(naming::candidates(wanted)?)?;
        let name = &self.archive.name;
        found.ok_or_else(|| {
            Error::new(Kind::NotFound, format!("there is no {} in the archive {name}", wanted.escape_ascii()))
                .hint(format!("`borg-offsite-backup list ::{name}` shows what is"))
        })
    }

    /// The node that `wanted` names, even if it is damaged.
    ///
    /// # Errors
    /// When the archive cannot be read.
    pub fn has(&self, wanted: &[u8]) -> Result<Option<NodeId>> {
        let Ok(candidates) = naming::candidates(wanted) else { return Ok(None) };
        Ok(self.first_of(candidates)?.map(|(node, _)| node))
    }

    fn first_of(&self, candidates: impl IntoIterator<Item = ItemPath>) -> Result<Option<(NodeId, ItemPath)>> {
        for path in candidates {
            if let Some(node) = self.tree.find(&path)? {
                return Ok(Some((node, path)));
            }
        }
        Ok(None)
    }

    /// The dataset list in the archive; `None` if it has none.
    ///
    /// # Errors
    /// When the list cannot be read.
    pub fn datasets(&self) -> Result<Option<Datasets>> {
        match self.find(&volumes::path_of(volumes::DATASET_LIST.as_bytes())) {
            Ok(Found::Image(file)) => Datasets::from_json(&file.read(MANIFEST)?).map(Some),
            Err(e) if e.kind() != Kind::NotFound => Err(e),
            _ => Ok(None),
        }
    }

    fn at(&self, node: NodeId, path: ItemPath, salvage: bool) -> Result<Found> {
        let content = match self.tree.node(node)?.map(|node| node.body) {
            Some(Body::File(content)) => content,
            Some(Body::Directory) => return Ok(Found::Directory(path)),
            _ => return Ok(Found::Other(path)),
        };
        let listed = self.tree.content(content)?;
        let listed = listed.ok_or_else(|| Error::failed(format!("{path} has no bytes in the archive")))?;
        let (archive, size) = (self.archive.clone(), listed.size);
        let contents = match self.contents() {
            Some(contents) if listed.damaged && salvage => Some(contents.salvaging()?),
            contents => contents,
        };
        let chunks = contents.map(|contents| Chunks::new(Arc::new(contents), listed.item, size));
        if listed.damaged && !salvage {
            let ranges = chunks.map(|chunks| chunks.repaired()).transpose()?;
            return Err(self.repaired(Damaged {
                path,
                ranges: ranges.unwrap_or_default(),
                why: REPAIRED.into(),
            }));
        }
        let bytes = match chunks {
            Some(chunks) => Bytes::Chunks(chunks),
            None => {
                Bytes::Stream(Streamed::new(&**self.archives.catalog(), &archive, &self.tree, content, size)?)
            }
        };
        Ok(Found::Image(Image { archive, path, size, bytes }))
    }
}

impl OpenArchive {
    fn repaired(&self, file: Damaged) -> Error {
        let message = Error::new(
            Kind::Damaged,
            format!("{} is damaged in the archive {}", file.path, self.archive.name),
        );
        damage::named(message.because(REPAIRED), &[file]).hint(
            "take it from another archive; `restore --salvage` writes zeros in the place of what is lost",
        )
    }
}

impl Drop for OpenArchive {
    fn drop(&mut self) {
        self.archives.shut_down();
    }
}

impl Image {
    /// All its bytes. An image of more than `most` bytes is an error.
    fn read(&self, most: u64) -> Result<Vec<u8>> {
        if self.size > most {
            return Err(Error::failed(format!("{} is too long: {} bytes", self.name(), self.size)));
        }
        let mut all = Vec::new();
        match &self.bytes {
            Bytes::Chunks(chunks) => chunks.each(|bytes| all.extend(bytes))?,
            Bytes::Stream(stream) => stream.each(|_, bytes| {
                all.extend(bytes);
                Ok(())
            })?,
        }
        Ok(all)
    }

    /// `::ARCHIVE PATH`, for people.
    pub fn name(&self) -> String {
        format!("::{} {}", self.archive.name, self.path)
    }
}
