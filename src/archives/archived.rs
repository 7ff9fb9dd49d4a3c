//! An archive that was opened to take something out of it.

use std::sync::Arc;

use borg_repository::ItemPath;
use serde::{Deserialize, Serialize};

use super::chunks::Chunks;
use super::damage::{self, Damaged, REPAIRED};
use super::native::NativeCatalog;
use super::open::{self, CATALOGS, Source};
use super::source::Catalog;
use super::streamed::Streamed;
use super::streams::{BorgCatalog, Limits};
use crate::archive::choice::Wanted;
use crate::archive::datasets::Datasets;
use crate::archive::filter::ArchiveFilter;
use crate::archive::name::Archive;
use crate::archive::naming;
use crate::archive::tree::{Body, NodeId, Tree, TreeBuilder, View};
use crate::archive::volumes;
use crate::error::{Error, Kind, Result};
use crate::folders;
use crate::tools::borg::Borg;

/// No list of datasets is longer, in bytes: some 400 a dataset.
const MANIFEST: u64 = 16 << 20;

/// An archive, its files, and what gives their bytes.
pub struct Archived {
    pub archive: Archive,
    pub tree: Arc<Tree>,
    /// `None`: only borg can read the repository.
    pub native: Option<Arc<NativeCatalog>>,
    catalog: Arc<dyn Catalog>,
}

/// What a path in an archive is.
pub enum Found {
    /// A regular file, such as a volume's image.
    Image(Image),
    Folder(ItemPath),
    /// A link, a device, a FIFO, a socket.
    Other(ItemPath),
}

/// Where what a word of a person's names is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Place {
    Archive,
    /// In a volume of the archive, `/` first.
    Volume {
        volume: Vec<u8>,
        path: Vec<u8>,
    },
}

/// `a:/b:/c` as a volume and a path in it, in each way.
fn splits(said: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let colons = memchr::memmem::find_iter(said, b":/").filter(|at| *at > 0);
    colons.map(|at| (&said[..at], &said[at + 1..]))
}

/// A regular file of an archive.
pub struct Image {
    pub archive: Archive,
    /// As the archive has it.
    pub path: ItemPath,
    /// Bytes.
    pub size: u64,
    pub bytes: Bytes,
}

/// What gives an image's bytes.
pub enum Bytes {
    Chunks(Chunks),
    Stream(Streamed),
}

impl Archived {
    /// Opens the archive. Whoever gives it bytes ends when it is dropped.
    ///
    /// # Errors
    /// When the repository or the archive cannot be read, or there is no such archive.
    pub fn open(borg: &Borg, wanted: &Wanted, source: Source) -> Result<Self> {
        let filter = ArchiveFilter { consider_checkpoints: true, ..ArchiveFilter::default() };
        let limits = Limits::default();
        let saved = folders::cache_dir().ok().map(|dir| dir.join(CATALOGS));
        let native = open::native(borg, source, filter.clone(), &limits)?;
        let native = native.map(|catalog| Arc::new(catalog.saving_in(saved)));
        let catalog: Arc<dyn Catalog> = match &native {
            Some(native) => native.clone(),
            None => Arc::new(BorgCatalog::new(borg.clone(), filter, limits)),
        };
        let archives = catalog.archives()?;
        let archive = open::choose(wanted, &*catalog, &archives, borg)?;
        let view = View::default();
        let tree = match catalog.remembered(&archive, &view) {
            Some(tree) => Arc::new(tree),
            None => {
                let mut builder = TreeBuilder::new(view.clone(), archive.start_ns());
                catalog.items(&archive, &mut |item| builder.add(item))?;
                let tree = Arc::new(builder.finish());
                catalog.remember(&archive, &view, &tree);
                tree
            }
        };
        Ok(Archived { archive, tree, native, catalog })
    }

    /// What `said` (as [`naming::candidates`] takes it) is in the archive.
    ///
    /// # Errors
    /// [`Kind::NotFound`] when it is not there.
    pub fn find(&self, said: &[u8]) -> Result<Found> {
        let candidates = naming::candidates(said)?;
        let found = candidates.into_iter().find_map(|path| Some((self.tree.find(&path)?, path)));
        let name = &self.archive.name;
        let (node, path) = found.ok_or_else(|| {
            Error::new(Kind::NotFound, format!("there is no {} in the archive {name}", said.escape_ascii()))
                .hint(format!("`borg-offsite-backup list ::{name}` shows what is"))
        })?;
        self.at(node, path)
    }

    /// Whether there is anything at `said`, be it damaged.
    fn has(&self, said: &[u8]) -> Option<NodeId> {
        naming::candidates(said).ok()?.into_iter().find_map(|path| self.tree.find(&path))
    }

    /// What each of `words` names: the archive is asked first, and only what it does not have may be
    /// `VOLUME:/PATH`.
    ///
    /// # Errors
    /// [`Kind::NotFound`] when it is neither.
    pub fn places(&self, words: &[Vec<u8>]) -> Result<Vec<Place>> {
        words.iter().map(|said| self.place(said)).collect()
    }

    fn place(&self, said: &[u8]) -> Result<Place> {
        if self.has(said).is_some() {
            return Ok(Place::Archive);
        }
        let is_file = |volume: &[u8]| {
            let node = self.has(volume).and_then(|node| self.tree.node(node));
            matches!(node.map(|node| node.body), Some(Body::File(_)))
        };
        for (volume, path) in splits(said) {
            if is_file(volume) {
                return Ok(Place::Volume { volume: volume.to_vec(), path: path.to_vec() });
            }
        }
        match splits(said).next() {
            // It says which volumes there are.
            Some((volume, path)) => Ok(Place::Volume { volume: volume.to_vec(), path: path.to_vec() }),
            None => self.find(said).map(|_| Place::Archive),
        }
    }

    /// What the archive says of its ZFS datasets; `None` when it says nothing.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn datasets(&self) -> Result<Option<Datasets>> {
        match self.find(&volumes::path_of(volumes::DATASET_LIST.as_bytes())) {
            Ok(Found::Image(file)) => Datasets::from_json(&file.read(MANIFEST)?).map(Some),
            Err(e) if e.kind() != Kind::NotFound => Err(e),
            _ => Ok(None),
        }
    }

    fn at(&self, node: NodeId, path: ItemPath) -> Result<Found> {
        let content = match self.tree.node(node).map(|node| node.body) {
            Some(Body::File(content)) => content,
            Some(Body::Directory { .. }) => return Ok(Found::Folder(path)),
            _ => return Ok(Found::Other(path)),
        };
        let listed = self.tree.content(content);
        let listed = listed.ok_or_else(|| Error::failed(format!("{path} has no bytes in the archive")))?;
        let (archive, size) = (self.archive.clone(), listed.size);
        let chunks = |native| Chunks::new(Arc::clone(native), &archive, listed.item, size);
        if listed.damaged {
            let ranges = self.native.as_ref().map(|native| chunks(native).repaired()).transpose()?;
            return Err(self.repaired(Damaged {
                path,
                ranges: ranges.unwrap_or_default(),
                why: REPAIRED.into(),
            }));
        }
        let bytes = match &self.native {
            Some(native) => Bytes::Chunks(chunks(native)),
            None => Bytes::Stream(Streamed::new(&*self.catalog, &archive, &self.tree, content, size)?),
        };
        Ok(Found::Image(Image { archive, path, size, bytes }))
    }
}

impl Archived {
    fn repaired(&self, file: Damaged) -> Error {
        let told = Error::new(
            Kind::Damaged,
            format!("{} is damaged in the archive {}", file.path, self.archive.name),
        );
        damage::named(told.because(REPAIRED), &[file])
            .hint("take it from another archive; `borg-offsite-backup extract` gives it as it is")
    }
}

impl Drop for Archived {
    fn drop(&mut self) {
        self.catalog.shut_down();
    }
}

impl Image {
    /// All its bytes, if they are not more than `most`.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_in_a_volume_may_begin_at_each_colon() {
        let split = |said: &'static str| splits(said.as_bytes()).collect::<Vec<_>>();
        assert_eq!(split("v:/a:/b"), [(&b"v"[..], &b"/a:/b"[..]), (b"v:/a", b"/b")]);
        assert_eq!(split("tank/v:/"), [(&b"tank/v"[..], &b"/"[..])]);
        for no in ["tank/v", "tank:v", ":/x"] {
            assert!(split(no).is_empty(), "{no}");
        }
    }
}
