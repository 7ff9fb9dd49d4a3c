//! What is restored, and where to.

use std::io::{self, ErrorKind};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use borg_repository::ItemPath;
use rustix::fs::{fstat, stat};

use super::content::{Content, Wanted};
use super::deletions::Protection;
use super::problems::Problems;
use super::scope::{Scope, Size};
use super::seeds::Seeds;
use super::tally::Tally;
use crate::archive::name::is_checkpoint;
use crate::archive::tree::{ContentId, NodeId, Tree};
use crate::archive::volumes;
use crate::archives::open_archive::OpenArchive;
use crate::archives::progress::{Meter, Monitor, Step};
use crate::error::{Error, Result};
use crate::restore::attributes::{Attributes, Rules};
use crate::tools::directory::Directory;

/// What the user asks for.
pub struct Request<'a> {
    /// As the archive has them; directories with all that is in them. Everything where there is none.
    pub paths: &'a [ItemPath],
    /// The directory; it is made where only itself is missing.
    pub to: &'a Path,
    /// Files that are there are replaced.
    pub overwrite: bool,
    /// What the archive does not have is deleted, but for what this protects.
    pub delete: Option<Protection>,
    /// Owners by number, not by name.
    pub numeric_ids: bool,
    /// What has the size and the time of the archive's is right.
    pub trust_times: bool,
    /// Large files are changed where they are.
    pub in_place: bool,
    /// Zeros are written in the place of what is lost.
    pub salvage: bool,
    /// Nothing is written.
    pub dry_run: bool,
    /// Files and directories that may have the archive's bytes.
    pub seeds: &'a [PathBuf],
}

/// A request, and what it takes to carry it out.
pub struct Plan<'a> {
    pub request: Request<'a>,
    pub archived: &'a OpenArchive,
    pub(super) scope: Scope,
    pub(super) size: Size,
    pub(super) rules: Rules,
    pub(super) content: Content,
    pub(super) root: Directory,
    /// There was no such directory: it was made, or, where nothing is written, `root` is the one above.
    pub(super) is_new: bool,
    pub(super) seeds: Seeds,
    pub(super) tally: Tally,
    pub(super) problems: Problems,
    pub(super) monitor: Monitor<'a>,
}

impl<'a> Plan<'a> {
    /// Opens the directory.
    ///
    /// # Errors
    /// When it cannot be made or is none, another restore works in it, the archive would lead out of it, or something is to be deleted that must
    /// not be.
    pub fn new(request: Request<'a>, archived: &'a OpenArchive, monitor: Monitor<'a>) -> Result<Self> {
        let scope = Scope::new(request.paths);
        refuse_misplaced(archived, request.paths)?;
        let (root, is_new) = open(request.to, request.dry_run)?;
        refuse_volumes(&scope, archived, &root, is_new)?;
        if request.delete.is_some() {
            refuse_to_delete(&request, archived, &root)?;
        }
        let content = Content::of(archived, request.salvage)?;
        let seeds = match content {
            Content::Chunks(_) => Seeds::open(request.seeds, &root, archived.is_local())?,
            Content::Stream(_) => Seeds::default(),
        };
        Ok(Plan {
            size: scope.size(&archived.tree)?,
            rules: Rules::new(request.numeric_ids),
            tally: Tally::default(),
            problems: Problems::default(),
            request,
            archived,
            scope,
            content,
            root,
            is_new,
            seeds,
            monitor,
        })
    }

    pub(super) fn tree(&self) -> &'a Tree {
        &self.archived.tree
    }

    pub(super) fn meter(&self, step: Step) -> Meter<'a> {
        Meter::new(step, self.size.bytes, self.monitor)
    }

    pub(super) fn wanted(&self, content: ContentId) -> Result<Option<Wanted>> {
        let listed = self.tree().content(content)?;
        Ok(listed.map(|listed| Wanted { content, item: listed.item, size: listed.size }))
    }

    pub(super) fn attributes(&self, node: NodeId) -> Result<Option<Attributes>> {
        Attributes::of(self.tree(), node, &self.rules)
    }
}

/// The directory `path`, and whether it was missing. Then it is made, if something is to be written.
fn open(path: &Path, dry_run: bool) -> Result<(Directory, bool)> {
    let to_error = |e| Error::usage(format!("cannot restore to the directory {}", path.display())).because(e);
    let opened = match Directory::open(path) {
        Err(e) if e.kind() == ErrorKind::NotFound && dry_run => above(path).map(|above| (above, true)),
        Err(e) if e.kind() == ErrorKind::NotFound => {
            std::fs::create_dir(path).and_then(|()| Ok((Directory::open(path)?, true)))
        }
        opened => opened.map(|opened| (opened, false)),
    };
    opened.map_err(to_error)
}

fn above(path: &Path) -> io::Result<Directory> {
    let above = path.parent().filter(|above| !above.as_os_str().is_empty());
    Directory::open(above.unwrap_or(Path::new(".")))
}

/// Items of an archive that no backup makes, where they are in what is restored.
fn refuse_misplaced(archived: &OpenArchive, paths: &[ItemPath]) -> Result<()> {
    let misplaced = archived.tree.misplaced();
    let is_chosen = |name: &[u8]| {
        let name = ItemPath::new(name);
        // The names of some are no paths, or only the last name of one.
        name.is_none_or(|name| name.components().count() < 2 || paths.iter().any(|path| name.is_within(path)))
    };
    let concerns = paths.is_empty() || misplaced.has_more() || misplaced.first().any(is_chosen);
    if misplaced.is_empty() || !concerns {
        return Ok(());
    }
    Err(Error::failed(format!("the archive {} is not what a backup makes", archived.archive.name))
        .because(format!("{misplaced} would come to lie elsewhere than the path says"))
        .hint("nothing was written; `mount` shows what is in it"))
}

/// On a running system /dev/zvol has the devices of volumes. Files with their bytes would take their places, in memory.
fn refuse_volumes(scope: &Scope, archived: &OpenArchive, root: &Directory, is_new: bool) -> Result<()> {
    let Some(volumes) = ItemPath::new(volumes::DIRECTORY) else { return Ok(()) };
    if is_new || !is_root(root) || !scope.reaches(&volumes) || archived.tree.find(&volumes)?.is_none() {
        return Ok(());
    }
    let archive = &archived.archive.name;
    Err(Error::usage("volumes do not go into files of a running system; nothing was written")
        .hint(format!("restore each to its device: `restore ::{archive} VOLUME --to /dev/zvol/VOLUME`"))
        .hint("for all other files name PATHs, or another directory"))
}

/// Whether this is the root of the running system.
fn is_root(directory: &Directory) -> bool {
    let identity = |stat: rustix::fs::Stat| (stat.st_dev, stat.st_ino);
    match (stat("/"), fstat(directory.as_fd())) {
        (Ok(root), Ok(directory)) => identity(root) == identity(directory),
        _ => true,
    }
}

/// What makes `--delete` lose more than it should.
fn refuse_to_delete(request: &Request<'_>, archived: &OpenArchive, root: &Directory) -> Result<()> {
    let refuse = |why: &str| {
        Err(Error::usage("nothing was deleted or written")
            .because(why.to_owned())
            .hint("leave `--delete` out: then what the archive does not have stays"))
    };
    if is_root(root) && request.paths.is_empty() {
        return refuse(
            "`--delete` onto / needs a PATH: nobody wants all of a machine deleted that an archive lacks",
        );
    }
    let name = &archived.archive.name;
    if is_checkpoint(name) {
        return refuse(&format!("{name} is a checkpoint, so it lacks files that were never read"));
    }
    match archived.unread()? {
        0 => {}
        unread => {
            return refuse(&format!("{name} lacks {unread} files or directories that could not be read"));
        }
    }
    let left_out = archived.tree.left_out();
    if !left_out.is_empty() {
        return refuse(&format!("{name} has what no directory can show: {left_out}"));
    }
    Ok(())
}
