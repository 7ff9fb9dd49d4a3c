//! What is in the directory already: which of it is right, and what is in the way. Nothing is written.

use std::collections::{HashMap, HashSet};
use std::ffi::CString;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use crossbeam_channel::{Sender, bounded};
use parking_lot::Mutex;
use rustix::fs::{FileType, Stat};

use super::deletions::{Collector, Deletion, is_mount};
use super::file::is_unfinished;
use super::look::{Look, Looker};
use super::missing::Missing;
use super::parent::{Parent, join};
use super::plan::Plan;
use super::scope::{Child, Scope};
use super::seeds::Beside;
use super::verdict::{Verdict, Verdicts};
use crate::archive::tree::{Body, NodeId, Tree};
use crate::archives::progress::Step;
use crate::archives::workers::Failure;
use crate::error::{Error, Result};
use crate::restore::attributes::{Attributes, mtime};
use crate::restore::conflicts::Conflicts;
use crate::tools::directory::{Directory, c_name};
use crate::tools::inode::Inode;

/// Directories are entered no deeper: each takes a descriptor.
pub const DEEPEST: usize = 1000;
/// Memory for the stack of that, in bytes; it is taken as it is used.
pub const STACK: usize = 64 << 20;
/// Files that are looked at side by side: a disk answers several reads at once.
const READERS: usize = 8;
/// Files that wait for a look.
const QUEUE: usize = 256;

/// What was found.
#[derive(Default)]
pub struct Survey {
    /// By directory; those that are not there are not here, either.
    verdicts: HashMap<NodeId, Verdicts>,
    pub conflicts: Conflicts,
    /// What the archive does not have, where that is to be deleted.
    pub deletions: Vec<Deletion>,
    /// What is to be fetched, as far as it was counted.
    pub(super) missing: Missing,
}

impl Survey {
    /// Looks at everything in the directory that the archive has, too.
    ///
    /// # Errors
    /// When the archive cannot be read, and on a signal.
    pub fn of(plan: &Plan<'_>) -> Result<Survey> {
        let meter = plan.meter(Step::Compare);
        let failure = Failure::default();
        let (looks, queue) = bounded(QUEUE);
        let looker = Looker { plan, meter: &meter, conflicts: Mutex::default(), missing: Mutex::default() };
        let mut survey = std::thread::scope(|scope| {
            for _ in 0..READERS {
                let queue = queue.clone();
                scope.spawn(|| failure.note(looker.work(queue, &failure)));
            }
            drop(queue);
            let mut surveyor = Surveyor {
                looker: &looker,
                failure: &failure,
                looks: Some(looks),
                survey: Survey::default(),
                collector: plan.request.delete.as_ref().map(Collector::new),
                deletes: false,
                inodes: HashMap::new(),
            };
            let walk = move || {
                let walked = surveyor.walk();
                // So that the others end.
                surveyor.looks = None;
                failure_or(walked, surveyor)
            };
            let walker = std::thread::Builder::new().stack_size(STACK).spawn_scoped(scope, walk);
            let walker = walker.map_err(|e| Error::failed("cannot start a thread").because(e))?;
            walker.join().unwrap_or_else(|_| Err(Error::failed("the thread that looks panicked")))
        })?;
        failure.into_result()?;
        let mut conflicts = looker.conflicts.into_inner();
        conflicts.append(std::mem::take(&mut survey.conflicts));
        survey.conflicts = conflicts;
        survey.missing.append(looker.missing.into_inner());
        Ok(survey)
    }

    /// The verdict on the child number `n` of a directory.
    pub fn verdict(&self, directory: NodeId, n: usize) -> Verdict {
        let verdicts = self.verdicts.get(&directory).and_then(|verdicts| verdicts.get(n));
        verdicts.map_or(Verdict::Unknown, |verdict| Verdict::of(verdict.load(Ordering::Relaxed)))
    }

    /// How many have one of these verdicts.
    pub fn count(&self, counted: &[Verdict]) -> u64 {
        let verdicts = self.verdicts.values().flat_map(|verdicts| verdicts.iter());
        let is_counted =
            |verdict: &&AtomicU8| counted.contains(&Verdict::of(verdict.load(Ordering::Relaxed)));
        verdicts.filter(is_counted).count() as u64
    }

    /// Whether the directory was there.
    pub fn knows(&self, directory: NodeId) -> bool {
        self.verdicts.contains_key(&directory)
    }
}

fn failure_or(walked: Result<()>, surveyor: Surveyor<'_>) -> Result<Survey> {
    walked?;
    let deletions = surveyor.collector.map(|collector| collector.found).unwrap_or_default();
    Ok(Survey { deletions, ..surveyor.survey })
}

/// Walks through the archive and the directory.
struct Surveyor<'s> {
    looker: &'s Looker<'s>,
    failure: &'s Failure,
    looks: Option<Sender<Look>>,
    survey: Survey,
    collector: Option<Collector<'s>>,
    /// No mount was crossed since the directory that was chosen.
    deletes: bool,
    /// Which node a file of several names was first seen as.
    inodes: HashMap<(u64, u64), NodeId>,
}

impl Surveyor<'_> {
    fn walk(&mut self) -> Result<()> {
        let plan = self.looker.plan;
        let root = match plan.is_new {
            true => None,
            false => {
                let opened = plan.root.below(std::iter::empty());
                let opened =
                    opened.map_err(|e| Error::failed("cannot look into the directory").because(e))?;
                Some(Arc::new(Parent::new(opened, b"")))
            }
        };
        self.deletes = true;
        self.directory(root, Tree::ROOT, b"", &plan.scope, &plan.seeds.roots(), 0)
    }

    fn directory(
        &mut self,
        parent: Option<Arc<Parent>>,
        node: NodeId,
        path: &[u8],
        scope: &Scope,
        seeds: &Beside,
        depth: usize,
    ) -> Result<()> {
        let plan = self.looker.plan;
        let children = scope.children(plan.tree(), node);
        let verdicts: Verdicts = match parent {
            Some(_) => children.iter().map(|_| AtomicU8::new(0)).collect(),
            None => Arc::new([]),
        };
        if let Some(parent) = &parent {
            self.survey.verdicts.insert(node, Arc::clone(&verdicts));
            if let Some(collector) = self.collector.as_mut().filter(|_| scope.is_all() && self.deletes) {
                let names: HashSet<&[u8]> = children.iter().map(|child| child.name).collect();
                collector.collect(&parent.directory, path, &names)?;
            }
        }
        for (n, child) in children.iter().enumerate() {
            if self.failure.ended()? {
                return Ok(());
            }
            let Ok(name) = c_name(child.name) else { continue };
            let stat = parent.as_ref().and_then(|parent| parent.directory.stat(&name).ok().flatten());
            let there = stat.as_ref().map(|stat| FileType::from_raw_mode(stat.st_mode));
            let is_directory = plan.tree().node(child.node).map(|node| node.body);
            match (is_directory, there) {
                (Some(Body::Directory { .. }), there) => {
                    let at = join(path, child.name);
                    let below = match (there, &parent) {
                        (Some(FileType::Directory), Some(parent)) => open(&parent.directory, &name, &at),
                        (Some(_), _) if !plan.request.overwrite => {
                            self.survey.conflicts.add(&at);
                            None
                        }
                        _ => None,
                    };
                    if below.is_none() && child.scope.is_all() {
                        self.survey.missing.made += 1;
                    }
                    if depth < DEEPEST {
                        let seeds = plan.seeds.enter(seeds, &name, &at);
                        let deletes = self.deletes;
                        if let (true, Some(parent), Some(stat)) = (scope.is_all(), &parent, &stat) {
                            self.deletes &= !is_mount(&parent.directory, &name, stat);
                        }
                        self.directory(below, child.node, &at, child.scope, &seeds, depth + 1)?;
                        self.deletes = deletes;
                    }
                }
                (Some(_), Some(FileType::Directory)) => {
                    self.survey.conflicts.add_clash(&join(path, child.name));
                }
                (Some(Body::File(_)), None) => {
                    self.survey.missing.made += 1;
                    self.missing(child, &name, seeds)?;
                }
                (Some(_), None) => self.survey.missing.made += 1,
                (None, _) => {}
                (Some(_), Some(_)) => {
                    if let (Some(parent), Some(stat)) = (&parent, &stat) {
                        self.existing(parent, name, stat, child, &verdicts, n)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// A file that is not there.
    fn missing(&mut self, child: &Child<'_>, name: &CString, seeds: &Beside) -> Result<()> {
        let plan = self.looker.plan;
        let Some(Body::File(content)) = plan.tree().node(child.node).map(|node| node.body) else {
            return Ok(());
        };
        let Some(wanted) = plan.wanted(content) else { return Ok(()) };
        if plan.request.dry_run {
            let candidates = plan.seeds.candidates(seeds, name, wanted.size);
            self.survey.missing.add_file(&plan.content, wanted, &candidates)?;
        }
        self.looker.meter.add(wanted.size);
        Ok(())
    }

    /// Something is there, and neither it nor what the archive has is a directory.
    fn existing(
        &mut self,
        parent: &Arc<Parent>,
        name: CString,
        stat: &Stat,
        child: &Child<'_>,
        verdicts: &Verdicts,
        n: usize,
    ) -> Result<()> {
        let plan = self.looker.plan;
        let (Some(node), Some(attributes)) = (plan.tree().node(child.node), plan.attributes(child.node))
        else {
            return Ok(());
        };
        let set = |verdict: Verdict| verdicts[n].store(verdict as u8, Ordering::Relaxed);
        let Body::File(content) = node.body else {
            match is_same_special(&parent.directory, &name, stat, &node.body, node.meta.rdev, node.meta.mode)
            {
                true if differ(&parent.directory, &name, &attributes, stat) => set(Verdict::Attributes),
                true => set(Verdict::Right),
                false if !plan.request.overwrite => self.survey.conflicts.add(&parent.path_of(&name)),
                false => {}
            }
            return Ok(());
        };
        let Some(wanted) = plan.wanted(content) else { return Ok(()) };
        let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        let is_shared = match is_file && stat.st_nlink > 1 {
            true => match self.inodes.insert((stat.st_dev, stat.st_ino), child.node) {
                Some(other) if other == child.node => {
                    set(Verdict::Linked);
                    return Ok(());
                }
                other => other.is_some(),
            },
            false => false,
        };
        if is_file && is_unfinished(stat) {
            return self.missing(child, &name, &Beside::default());
        }
        let is_right_size = is_file && stat.st_size as u64 == wanted.size;
        if is_right_size && plan.request.trust_times && !is_shared && mtime(stat) == attributes.mtime() {
            let other = differ(&parent.directory, &name, &attributes, stat);
            set(if other { Verdict::Attributes } else { Verdict::Right });
            self.looker.meter.add(wanted.size);
            return Ok(());
        }
        let overwrite = plan.request.overwrite;
        if !is_right_size && !overwrite {
            self.survey.conflicts.add(&parent.path_of(&name));
            return Ok(());
        }
        if is_file && (!overwrite || plan.request.dry_run) {
            let (parent, verdicts) = (Arc::clone(parent), Arc::clone(verdicts));
            let look = Look { parent, name, wanted, attributes, verdicts, n, is_shared };
            if let Some(looks) = &self.looks {
                // Where nobody takes it any more, that is because of an error, which is told.
                let _ = looks.send(look);
            }
        }
        Ok(())
    }
}

fn open(directory: &Directory, name: &CString, path: &[u8]) -> Option<Arc<Parent>> {
    Some(Arc::new(Parent::new(directory.child(name).ok()?, path)))
}

/// Whether a link, a device or whatever else is what the archive has.
pub fn is_same_special(
    directory: &Directory,
    name: &CString,
    stat: &Stat,
    body: &Body<'_>,
    rdev: u64,
    mode: u32,
) -> bool {
    if FileType::from_raw_mode(stat.st_mode) != FileType::from_raw_mode(mode) {
        return false;
    }
    match body {
        Body::Symlink(target) => directory.read_link(name).is_ok_and(|here| here.as_bytes() == *target),
        Body::Special if is_device(mode) => stat.st_rdev == rdev,
        Body::Special => true,
        Body::File(_) | Body::Directory { .. } => false,
    }
}

fn is_device(mode: u32) -> bool {
    matches!(FileType::from_raw_mode(mode), FileType::BlockDevice | FileType::CharacterDevice)
}

/// Whether what is there has other attributes. What cannot be asked is taken to have.
fn differ(directory: &Directory, name: &CString, attributes: &Attributes, stat: &Stat) -> bool {
    if attributes.differ_from_stat(stat) {
        return true;
    }
    let place = directory.place(name);
    place.is_ok_and(|place| attributes.differ_from(Inode::Place(place.as_fd()), stat).unwrap_or(true))
}
