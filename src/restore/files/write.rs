//! The walk that writes: directories, links and devices are made on the way, files are handed on.

use std::collections::{HashMap, HashSet};
use std::ffi::{CStr, CString};
use std::io::{self, ErrorKind};
use std::os::fd::AsFd;
use std::sync::Arc;

use crossbeam_channel::Sender;
use rustix::fs::{FileType, Stat};

use super::content::Wanted;
use super::file::{is_unfinished, temporary};
use super::parent::{Parent, join};
use super::plan::Plan;
use super::problems::pass;
use super::same::is_same_special;
use super::scope::{Child, Scope};
use super::seeds::Beside;
use super::survey::{DEEPEST, Survey};
use super::verdict::Verdict;
use crate::archive::tree::{Body, ContentId, Node, NodeId, Tree};
use crate::archives::damage::REPAIRED;
use crate::archives::progress::Meter;
use crate::archives::workers::Failure;
use crate::error::{Error, Result};
use crate::restore::attributes::{Attributes, Past};
use crate::tools::directory::{Directory, c_name};
use crate::tools::inode::Inode;

/// A file that is to be written.
pub struct Task {
    pub parent: Arc<Parent>,
    pub name: CString,
    pub wanted: Wanted,
    pub attributes: Attributes,
    pub existing: Existing,
    pub seeds: Beside,
}

/// What is there under a file's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    Nothing,
    /// A file that another restore has begun.
    Unfinished,
    /// A file, which may be right; and whether it is one with a file that it should not be one with.
    File {
        is_shared: bool,
    },
    /// A file with the right bytes that gets its attributes.
    Right,
    /// Neither a file nor a directory.
    Other,
}

/// A name of the archive, and what is there.
struct At<'a> {
    parent: &'a Arc<Parent>,
    name: CString,
    path: Vec<u8>,
    child: &'a Child<'a>,
    stat: Option<Stat>,
}

/// Another name of a file.
pub struct Link {
    pub node: NodeId,
    /// Where it is to be.
    pub path: Vec<u8>,
    /// What is there may be replaced.
    pub replaces: bool,
}

/// What the walk leaves to be done.
#[derive(Default)]
pub struct Rest {
    /// The first name of each node that has several.
    pub masters: HashMap<NodeId, Vec<u8>>,
    pub links: Vec<Link>,
    /// Directories that were made.
    pub made: HashSet<NodeId>,
}

/// Walks through the archive and writes.
pub struct Writer<'w> {
    pub plan: &'w Plan<'w>,
    pub survey: &'w Survey,
    pub tasks: Sender<Task>,
    pub meter: &'w Meter<'w>,
    pub failure: &'w Failure,
    pub rest: Rest,
    /// Which node a file of several names was first seen as.
    pub inodes: HashMap<(u64, u64), NodeId>,
}

impl Writer<'_> {
    /// # Errors
    /// When the file system fails, and on a signal.
    pub fn walk(&mut self) -> Result<()> {
        let plan = self.plan;
        let root = plan.root.below(std::iter::empty());
        let root = root.map_err(|e| Error::failed("cannot open the directory").because(e))?;
        let parent = Arc::new(Parent::new(root, b""));
        self.directory(&parent, plan.is_new, Tree::ROOT, &plan.scope, &plan.seeds.roots(), 0)
    }

    fn directory(
        &mut self,
        parent: &Arc<Parent>,
        is_new: bool,
        node: NodeId,
        scope: &Scope,
        seeds: &Beside,
        depth: usize,
    ) -> Result<()> {
        let plan = self.plan;
        for (n, child) in scope.children(plan.tree(), node)?.iter().enumerate() {
            if self.failure.ended()? {
                return Ok(());
            }
            let path = join(parent.path(), &child.name);
            let Some(name) = pass(&plan.problems, &path, 1, "make", c_name(&child.name))? else { continue };
            let Some(found) = plan.tree().node(child.node)? else { continue };
            let is_directory = found.body == Body::Directory;
            let verdict = if is_new { Verdict::Unknown } else { self.survey.verdict(node, n) };
            // Where something was, the survey has refused what must not be replaced.
            let replaces = plan.request.overwrite || verdict != Verdict::Unknown;
            if !is_directory && found.nlink > 1 && self.is_another_name(child.node, &path, replaces) {
                continue;
            }
            if verdict == Verdict::Right && !is_directory {
                self.count_right(child.node)?;
                continue;
            }
            let stat = match is_new {
                true => None,
                false => match pass(&plan.problems, &path, 1, "look at", parent.directory.stat(&name))? {
                    Some(stat) => stat,
                    None => continue,
                },
            };
            let at = At { parent, name, path, child, stat };
            match found.body {
                Body::Directory => self.enter(&at, seeds, depth)?,
                Body::File(content) => self.file(at, content, verdict, seeds)?,
                _ => self.special(&at, &found)?,
            }
        }
        Ok(())
    }

    /// Whether the node has another name already. Then this one becomes a link to it at the end.
    fn is_another_name(&mut self, node: NodeId, path: &[u8], replaces: bool) -> bool {
        let is_another = self.rest.masters.contains_key(&node);
        match is_another {
            true => self.rest.links.push(Link { node, path: path.to_vec(), replaces }),
            false => drop(self.rest.masters.insert(node, path.to_vec())),
        }
        is_another
    }

    fn count_right(&self, node: NodeId) -> Result<()> {
        self.plan.tally.right.add(1);
        if let Some(Body::File(content)) = self.plan.tree().node(node)?.map(|node| node.body) {
            self.meter.add(self.plan.tree().content(content)?.map_or(0, |content| content.size));
        }
        Ok(())
    }

    fn enter(&mut self, at: &At<'_>, seeds: &Beside, depth: usize) -> Result<()> {
        let plan = self.plan;
        let At { parent, name, path, child, .. } = at;
        let opened = self.open_or_make(&parent.directory, name, at.stat);
        let opened = match depth < DEEPEST {
            true => opened,
            false => Err(io::Error::other(format!("it is deeper than {DEEPEST} directories"))),
        };
        let entries = match &opened {
            Ok(_) => 0,
            Err(_) => count(plan.tree(), child)?,
        };
        let Some((directory, is_new)) = pass(&plan.problems, path, entries, "restore", opened)? else {
            return Ok(());
        };
        if is_new {
            self.rest.made.insert(child.node);
            plan.tally.made.add(u64::from(child.scope.is_all()));
        } else if child.scope.is_all() {
            plan.tally.right.add(1);
        }
        let seeds = plan.seeds.enter(seeds, name, path);
        let parent = Arc::new(Parent::new(directory, path));
        self.directory(&parent, is_new, child.node, child.scope, &seeds, depth + 1)
    }

    /// The directory, and whether it was made.
    fn open_or_make(
        &self,
        parent: &Directory,
        name: &CStr,
        stat: Option<Stat>,
    ) -> io::Result<(Directory, bool)> {
        let kind = stat.map(|stat| FileType::from_raw_mode(stat.st_mode));
        match kind {
            Some(FileType::Directory) => return Ok((parent.child_to_change(name)?, false)),
            Some(_) if !self.plan.request.overwrite => return Err(ErrorKind::AlreadyExists.into()),
            Some(_) => parent.remove(name)?,
            None => {}
        }
        let made = parent.make_directory(name);
        let is_there = matches!(&made, Err(e) if e.kind() == ErrorKind::AlreadyExists);
        if !is_there {
            made?;
        }
        Ok((parent.child_to_change(name)?, !is_there))
    }

    fn file(&mut self, at: At<'_>, content: ContentId, verdict: Verdict, seeds: &Beside) -> Result<()> {
        let plan = self.plan;
        let At { parent, name, path, child, stat } = at;
        let (Some(wanted), Some(attributes)) = (plan.wanted(content)?, plan.attributes(child.node)?) else {
            return Ok(());
        };
        let existing = match self.existing(child.node, stat, verdict) {
            Ok(existing) => existing,
            Err(e) => {
                pass::<()>(&plan.problems, &path, 1, "restore", Err(e))?;
                return Ok(());
            }
        };
        if plan.tree().content(content)?.is_some_and(|content| content.damaged) && !plan.request.salvage {
            plan.problems.missing(&path, 1, "it is damaged in the archive");
            plan.problems.damaged(&path, Vec::new(), REPAIRED);
            return Ok(());
        }
        let (parent, seeds) = (Arc::clone(parent), seeds.clone());
        let task = Task { parent, name, wanted, attributes, existing, seeds };
        // Where nobody takes it any more, that is because of an error, which is told.
        let _ = self.tasks.send(task);
        Ok(())
    }

    fn existing(&mut self, node: NodeId, stat: Option<Stat>, verdict: Verdict) -> io::Result<Existing> {
        let Some(stat) = stat else { return Ok(Existing::Nothing) };
        let kind = FileType::from_raw_mode(stat.st_mode);
        if is_unfinished(&stat) {
            return Ok(Existing::Unfinished);
        }
        match verdict {
            Verdict::Attributes => return Ok(Existing::Right),
            Verdict::Shared => return Ok(Existing::File { is_shared: true }),
            _ => {}
        }
        if kind == FileType::Directory || !self.plan.request.overwrite {
            return Err(ErrorKind::AlreadyExists.into());
        }
        if kind != FileType::RegularFile {
            return Ok(Existing::Other);
        }
        let other = match stat.st_nlink > 1 {
            true => self.inodes.insert((stat.st_dev, stat.st_ino), node),
            false => None,
        };
        Ok(Existing::File { is_shared: other.is_some_and(|other| other != node) })
    }

    fn special(&mut self, at: &At<'_>, found: &Node) -> Result<()> {
        let plan = self.plan;
        let At { parent, name, path, child, .. } = at;
        let Some(attributes) = plan.attributes(child.node)? else { return Ok(()) };
        let directory = &parent.directory;
        let made = match at.stat {
            None => make(directory, name, found).map(|()| parent.past),
            Some(stat) if is_same_special(directory, name, &stat, found) => Ok(Past::Unknown),
            Some(_) if !plan.request.overwrite => Err(ErrorKind::AlreadyExists.into()),
            Some(_) => replace(directory, name, found).map(|()| parent.past),
        };
        let is_there = matches!(made, Ok(Past::Unknown));
        let Some(past) = pass(&plan.problems, path, 1, "make", made)? else { return Ok(()) };
        let given = give(directory, name, &attributes, found.meta.mode, past);
        let counter = if is_there { &plan.tally.repaired } else { &plan.tally.made };
        counter.add(1);
        if let Err((what, e)) = given {
            plan.problems.incomplete(path, format!("cannot give it its {what}: {e}"));
        }
        Ok(())
    }
}

/// How many entries are chosen at and below a directory.
fn count(tree: &Tree, child: &Child<'_>) -> Result<u64> {
    let mut entries = u64::from(child.scope.is_all());
    let mut open = vec![(child.node, child.scope)];
    while let Some((directory, scope)) = open.pop() {
        for child in scope.children(tree, directory)? {
            entries += u64::from(child.scope.is_all());
            open.push((child.node, child.scope));
        }
    }
    Ok(entries)
}

fn make(directory: &Directory, name: &CStr, found: &Node) -> io::Result<()> {
    match &found.body {
        Body::Symlink(target) => directory.make_symlink(name, &CString::new(&**target)?),
        _ => directory.make_node(name, FileType::from_raw_mode(found.meta.mode), found.meta.rdev),
    }
}

/// In place of what has the name, which is no directory.
fn replace(directory: &Directory, name: &CStr, found: &Node) -> io::Result<()> {
    let temporary = temporary(name);
    if directory.stat(&temporary)?.is_some() {
        directory.remove(&temporary)?;
    }
    make(directory, &temporary, found)?;
    directory.rename(&temporary, name).inspect_err(|_| drop(directory.remove(&temporary)))
}

/// Of what was just made, or is what it should be.
fn give(
    directory: &Directory,
    name: &CStr,
    attributes: &Attributes,
    mode: u32,
    past: Past,
) -> Result<(), (&'static str, io::Error)> {
    let place = directory.place(name).map_err(|e| ("attributes", e))?;
    let inode = Inode::Place(place.as_fd());
    let stat = inode.stat().map_err(|e| ("attributes", e))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::from_raw_mode(mode) {
        return Err(("attributes", io::Error::other("something else was put in its place")));
    }
    if past == Past::Unknown && !attributes.differ_from(inode, &stat).unwrap_or(true) {
        return Ok(());
    }
    let mut refusals = attributes.give_owner(inode, past);
    refusals.extend(attributes.give_rest(inode, past));
    refusals.into_iter().next().map_or(Ok(()), Err)
}
