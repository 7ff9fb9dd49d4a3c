//! Directories that a view strips from all paths.

use std::collections::BTreeSet;

use super::assembly::Assembly;
use super::path_hash::{PathHash, PathHasher};
use super::paths::{names, split};
use super::records::flag;
use super::view::View;
use crate::error::Result;

/// The directories whose names are stripped; the root is shown in their place.
pub struct Stripped {
    /// Their paths, in the order of the archive.
    directories: Vec<Vec<u8>>,
    are_open: bool,
}

impl Stripped {
    /// # Errors
    /// When the archive cannot be read.
    pub fn of(archive: &Assembly, view: &View) -> Result<Self> {
        let mut directories = vec![Vec::new()];
        for _ in 0..view.strip_components {
            let mut below = Vec::new();
            for directory in &directories {
                below.extend(directories_in(archive, directory)?);
            }
            below.retain(|path| view.selects(path) || view.is_above(path));
            directories = below;
        }
        // Those with something visible in them, and all above these.
        let mut used = BTreeSet::new();
        for directory in &directories {
            if archive.entries(archive.hasher().of(directory))?.is_empty() {
                continue;
            }
            let mut path = &directory[..];
            while !path.is_empty() && used.insert(path.to_vec()) {
                (path, _) = split(path);
            }
        }
        let root = archive.directory(PathHash::ROOT)?.map(|number| is_open(archive, number)).transpose()?;
        let mut are_open = root.unwrap_or(true);
        for path in used {
            let number = archive.directory(archive.hasher().of(&path))?;
            are_open &= number.map(|number| is_open(archive, number)).transpose()?.unwrap_or(false);
        }
        Ok(Stripped { directories, are_open })
    }

    /// The directories of the archive that the visible directory with this path stands for.
    pub fn join(&self, visible: &[u8], hasher: &PathHasher) -> Vec<PathHash> {
        let join = |directory: &Vec<u8>| {
            names(visible).fold(hasher.of(directory), |above, name| hasher.child(above, name))
        };
        self.directories.iter().map(join).collect()
    }

    /// Whether everybody could look into all of them, according to the archive.
    pub fn are_open(&self) -> bool {
        self.are_open
    }
}

fn is_open(archive: &Assembly, number: u32) -> Result<bool> {
    Ok(archive.item(number)?.is_some_and(|found| {
        let item = found.item();
        !item.is(flag::MADE_UP) && item.mode & 0o005 == 0o005
    }))
}

/// The paths of the directories in a directory.
fn directories_in(archive: &Assembly, path: &[u8]) -> Result<BTreeSet<Vec<u8>>> {
    let mut directories = BTreeSet::new();
    for (run, number) in archive.entries(archive.hasher().of(path))? {
        let leaf = archive.leaf(run as usize)?;
        let items = leaf.entries(number as usize).iter().filter_map(|at| leaf.item(*at as usize));
        directories.extend(items.filter(|item| item.is_directory()).map(|item| leaf.path(item)));
    }
    Ok(directories)
}
