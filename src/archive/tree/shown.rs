//! What of an archive is shown, and under which names.

use std::collections::BTreeSet;

use super::assembly::{Assembly, Found};
use super::meta::Meta;
use super::node::{Body, Node, NodeId, ROOT};
use super::path_hash::PathHash;
use super::paths::split;
use super::records::{Kind, flag};
use super::stripped::Stripped;
use super::view::View;
use crate::error::Result;

/// Where the entries of a directory are.
pub enum Listing {
    /// Runs with the number of the directory in each: no two entries have the same name.
    Runs(Vec<(u32, u32)>),
    /// The entries themselves, sorted.
    Names(Vec<(Box<[u8]>, NodeId)>),
}

/// A view of an archive.
pub struct Shown {
    pub view: View,
    /// Nothing that the view selects is in the archive.
    is_empty: bool,
    stripped: Option<Stripped>,
}

impl Shown {
    /// `archive` as `view` shows it. Paths that are not in the archive select nothing.
    ///
    /// # Errors
    /// When the archive cannot be read.
    pub fn of(archive: &Assembly, view: &View) -> Result<Self> {
        let mut paths = Vec::new();
        for path in &view.paths {
            let (directory, name) = split(path.as_bytes());
            let directory = archive.hasher().of(directory);
            if path.is_root() || !archive.named(directory, name)?.is_empty() {
                paths.push(path.clone());
            }
        }
        let is_empty = paths.is_empty() && !view.paths.is_empty();
        let view = View { paths, strip_components: view.strip_components };
        let stripped = match view.strip_components {
            0 => None,
            _ => Some(Stripped::of(archive, &view)?),
        };
        Ok(Shown { view, is_empty, stripped })
    }

    /// Whether no two entries of a directory can have the same name.
    pub fn is_simple(&self, archive: &Assembly) -> bool {
        self.view.strip_components == 0 && !archive.totals.repeats
    }

    /// The directories of the archive that a visible directory stands for. `None` if the node is no
    /// directory.
    pub fn directory(&self, archive: &Assembly, id: NodeId) -> Result<Option<Vec<PathHash>>> {
        let found = match id.checked_sub(1) {
            None => None,
            Some(number) => match archive.item(number)?.filter(|found| found.item().is_directory()) {
                Some(found) => Some(found),
                None => return Ok(None),
            },
        };
        let Some(stripped) = &self.stripped else {
            let hash = found.map_or(PathHash::ROOT, |found| found.hash(archive.hasher()));
            return Ok(Some(vec![hash]));
        };
        let visible = match &found {
            None => Some(Vec::new()),
            Some(found) => self.visible(found),
        };
        Ok(visible.map(|visible| stripped.join(&visible, archive.hasher())))
    }

    /// Whether something with this path in the archive is visible.
    pub fn shows(&self, path: &[u8], is_directory: bool) -> bool {
        !self.is_empty && (self.view.selects(path) || is_directory && self.view.is_above(path))
    }

    /// Whether an item is visible under its own name.
    pub fn shows_item(&self, found: &Found) -> bool {
        if found.item().is(flag::NAMELESS) {
            return false;
        }
        if self.view.is_whole() && !self.is_empty {
            return true;
        }
        let path = found.path();
        self.shows(&path, found.item().is_directory())
            && self.view.stripped(&path).is_some_and(|visible| !visible.is_empty())
    }

    /// The visible path of a node, which must not be the root.
    pub fn visible(&self, found: &Found) -> Option<Vec<u8>> {
        self.view.stripped(&found.path()).map(<[u8]>::to_vec)
    }

    /// The node of the directory that `paths` are shown as.
    pub fn directory_node(&self, archive: &Assembly, paths: &[PathHash]) -> Result<Option<NodeId>> {
        let mut last = None;
        for path in paths {
            if let Some(number) = archive.directory(*path)?
                && let Some(found) = archive.item(number)?
            {
                last = last.max(Some((!found.item().is(flag::MADE_UP), number)));
            }
        }
        Ok(last.map(|(_, number)| number + 1))
    }

    /// The entry with this name in a visible directory.
    pub fn entry(&self, archive: &Assembly, directory: &[PathHash], name: &[u8]) -> Result<Option<NodeId>> {
        let (mut last, mut last_is_directory) = (None, false);
        for directory in directory {
            for number in archive.named(*directory, name)? {
                let Some(found) = archive.item(number)? else { continue };
                if Some(number) < last || !self.shows_item(&found) {
                    continue;
                }
                if found.item().is(flag::LINK) && archive.master(number)?.is_none() {
                    continue;
                }
                (last, last_is_directory) = (Some(number), found.item().is_directory());
            }
        }
        let Some(last) = last else { return Ok(None) };
        match last_is_directory {
            true if self.is_simple(archive) => Ok(Some(last + 1)),
            true => {
                let children = directory.iter().map(|above| archive.hasher().child(*above, name));
                self.directory_node(archive, &children.collect::<Vec<_>>())
            }
            false => Ok(self.resolve(archive, last)?.map(|number| number + 1)),
        }
    }

    /// The item itself, or the master if it is a hard link.
    pub fn resolve(&self, archive: &Assembly, number: u32) -> Result<Option<u32>> {
        let is_link = archive.item(number)?.is_some_and(|found| found.item().is(flag::LINK));
        if is_link { archive.master(number) } else { Ok(Some(number)) }
    }

    pub fn node(&self, archive: &Assembly, id: NodeId) -> Result<Option<Node>> {
        let Some(number) = id.checked_sub(1) else { return self.root(archive).map(Some) };
        let Some(found) = archive.item(number)? else { return Ok(None) };
        let item = found.item();
        let meta = found.leaf.meta(item);
        let body = match item.kind() {
            Kind::Directory => Body::Directory,
            Kind::File => Body::File(number),
            Kind::Symlink => Body::Symlink(found.leaf.text(item.text).into()),
            Kind::Special => Body::Special,
        };
        let nlink = match body {
            Body::Directory => 2 + self.directories_in(archive, id, Some(&found))?,
            _ => self.names_of(archive, number, &found)?,
        };
        let size = if item.kind() == Kind::File { item.size } else { 0 };
        Ok(Some(Node { meta, body, nlink, size, holes: found.leaf.holes(found.at) }))
    }

    pub fn root(&self, archive: &Assembly) -> Result<Node> {
        let nlink = 2 + self.directories_in(archive, ROOT, None)?;
        let listed = match self.stripped {
            None => {
                archive.directory(PathHash::ROOT)?.map(|number| archive.item(number)).transpose()?.flatten()
            }
            Some(_) => None,
        };
        let made = archive.totals.made;
        let meta = match listed {
            Some(found) => found.leaf.meta(found.item()),
            None => Meta {
                mode: libc::S_IFDIR | 0o755,
                mtime: made,
                atime: made,
                ctime: made,
                made_up: self.stripped.as_ref().is_some_and(|stripped| !stripped.are_open()),
                ..Meta::default()
            },
        };
        Ok(Node { meta, body: Body::Directory, nlink, size: 0, holes: 0 })
    }

    /// The number of visible directories in a directory; `None` is the root.
    pub fn directories_in(&self, archive: &Assembly, id: NodeId, found: Option<&Found>) -> Result<u32> {
        if self.is_simple(archive) && !self.filters(found) {
            return archive
                .directories_in(found.map_or(PathHash::ROOT, |found| found.hash(archive.hasher())));
        }
        let nodes = match self.listing(archive, id)? {
            Listing::Names(names) => names.into_iter().map(|(_, node)| node).collect(),
            Listing::Runs(runs) => directories_of(archive, &runs)?,
        };
        let mut directories = 0;
        for node in nodes {
            let found = archive.item(node - 1)?;
            let is_shown = |found: &Found| found.item().is_directory() && self.shows_item(found);
            directories += u32::from(found.as_ref().is_some_and(is_shown));
        }
        Ok(directories)
    }

    /// Whether only some entries of a directory are visible; `None` is the root.
    pub fn filters(&self, directory: Option<&Found>) -> bool {
        let path = || directory.map(Found::path).unwrap_or_default();
        self.is_empty || !self.view.paths.is_empty() && !self.view.selects(&path())
    }

    /// The number of visible names of an item.
    pub fn names_of(&self, archive: &Assembly, number: u32, found: &Found) -> Result<u32> {
        let links = archive.links_to(number)?;
        if self.view.is_whole() && !archive.totals.repeats && !found.item().is(flag::NAMELESS) {
            return Ok(1 + links.len() as u32);
        }
        let mut names = u32::from(self.is_shown(archive, number, found)?);
        for link in links {
            if let Some(found) = archive.item(link)? {
                names += u32::from(self.is_shown(archive, link, &found)?);
            }
        }
        Ok(names)
    }

    /// Whether the item's own name is visible.
    pub fn is_shown(&self, archive: &Assembly, number: u32, found: &Found) -> Result<bool> {
        if !self.shows_item(found) {
            return Ok(false);
        }
        if self.is_simple(archive) {
            return Ok(true);
        }
        let name = found.leaf.name(found.item());
        let directories = match &self.stripped {
            None => vec![found.directory_hash()],
            Some(stripped) => {
                let visible = self.visible(found).unwrap_or_default();
                stripped.join(split(&visible).0, archive.hasher())
            }
        };
        let mut last = None;
        for directory in directories {
            for other in archive.named(directory, name)? {
                let Some(found) = archive.item(other)? else { continue };
                let is_lost = found.item().is(flag::LINK) && archive.master(other)?.is_none();
                if !is_lost && self.shows_item(&found) {
                    last = last.max(Some(other));
                }
            }
        }
        Ok(last == Some(number))
    }

    pub fn listing(&self, archive: &Assembly, id: NodeId) -> Result<Listing> {
        let Some(directory) = self.directory(archive, id)? else { return Ok(Listing::Names(Vec::new())) };
        if self.is_simple(archive) {
            return archive.entries(directory[0]).map(Listing::Runs);
        }
        let mut names: BTreeSet<Box<[u8]>> = BTreeSet::new();
        for path in &directory {
            for (run, number) in archive.entries(*path)? {
                let leaf = archive.leaf(run as usize)?;
                let items = leaf.entries(number as usize).iter().filter_map(|at| leaf.item(*at as usize));
                names.extend(items.map(|item| leaf.name(item).into()));
            }
        }
        let mut nodes = Vec::with_capacity(names.len());
        for name in names {
            if let Some(node) = self.entry(archive, &directory, &name)? {
                nodes.push((name, node));
            }
        }
        Ok(Listing::Names(nodes))
    }

    /// The directory that a node is in; that of the root is the root.
    pub fn parent(&self, archive: &Assembly, id: NodeId) -> Result<Option<NodeId>> {
        let Some(number) = id.checked_sub(1) else { return Ok(Some(ROOT)) };
        let Some(found) = archive.item(number)? else { return Ok(None) };
        let paths = match &self.stripped {
            None => vec![found.directory_hash()],
            Some(stripped) => {
                let visible = self.visible(&found).unwrap_or_default();
                match split(&visible).0 {
                    b"" => return Ok(Some(ROOT)),
                    above => stripped.join(above, archive.hasher()),
                }
            }
        };
        match paths[..] {
            [PathHash::ROOT] => Ok(Some(ROOT)),
            _ => self.directory_node(archive, &paths),
        }
    }
}

/// The nodes of directories in a listing.
fn directories_of(archive: &Assembly, runs: &[(u32, u32)]) -> Result<Vec<NodeId>> {
    let mut nodes = Vec::new();
    for (run, directory) in runs {
        let leaf = archive.leaf(*run as usize)?;
        let start = archive.items_of(*run as usize).start;
        let entries = leaf.entries(*directory as usize).iter();
        let is_directory = |at: &&u32| leaf.item(**at as usize).is_some_and(|item| item.is_directory());
        nodes.extend(entries.filter(is_directory).map(|at| start + at + 1));
    }
    Ok(nodes)
}
