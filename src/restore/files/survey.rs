//! What is in the directory already: which of it is right, and what is in the way. Nothing is written.

use std::collections::{HashMap, HashSet};
use std::ffi::CString;
use std::fs::File;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use crossbeam_channel::{Receiver, Sender, bounded};
use parking_lot::Mutex;
use rustix::fs::{FileType, Stat};

use super::content::{Buffers, Wanted, regular};
use super::deletions::{Collector, Deletion};
use super::estimate::Missing;
use super::file::is_unfinished;
use super::parent::{Parent, join};
use super::plan::Plan;
use super::scope::{Child, Scope};
use super::seeds::Beside;
use crate::archive::tree::{Body, NodeId, Tree};
use crate::archives::batches;
use crate::archives::progress::{Meter, Step};
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

/// What a look at a file that is there came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Verdict {
    /// It has to be looked at when it is written.
    Unknown,
    Right,
    /// It has the right bytes, but other attributes.
    Attributes,
    /// It has the right bytes, but is one with a file that it should not be one with.
    Shared,
    /// It is the same file as another name of it in the archive, as it should be.
    Linked,
    Differs,
}

impl Verdict {
    fn of(number: u8) -> Self {
        use Verdict::{Attributes, Differs, Linked, Right, Shared, Unknown};
        [Unknown, Right, Attributes, Shared, Linked, Differs].get(number as usize).copied().unwrap_or(Unknown)
    }
}

/// Verdicts on what is chosen in a directory, in the order of [`Scope::children`].
type Verdicts = Arc<[AtomicU8]>;

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
        let shared = Shared { plan, meter: &meter, conflicts: Mutex::default(), missing: Mutex::default() };
        let mut survey = std::thread::scope(|scope| {
            for _ in 0..READERS {
                let queue = queue.clone();
                scope.spawn(|| failure.note(shared.work(queue, &failure)));
            }
            drop(queue);
            let mut surveyor = Surveyor {
                shared: &shared,
                failure: &failure,
                looks: Some(looks),
                survey: Survey::default(),
                collector: plan.request.delete.as_ref().map(Collector::new),
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
        let mut conflicts = shared.conflicts.into_inner();
        conflicts.append(std::mem::take(&mut survey.conflicts));
        survey.conflicts = conflicts;
        survey.missing.append(shared.missing.into_inner());
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
    shared: &'s Shared<'s>,
    failure: &'s Failure,
    looks: Option<Sender<Look>>,
    survey: Survey,
    collector: Option<Collector<'s>>,
    /// Which node a file of several names was first seen as.
    inodes: HashMap<(u64, u64), NodeId>,
}

/// A file that is to be looked at.
struct Look {
    parent: Arc<Parent>,
    name: CString,
    wanted: Wanted,
    attributes: Attributes,
    verdicts: Verdicts,
    n: usize,
    /// It is one with a file that it should not be one with.
    is_shared: bool,
}

impl Surveyor<'_> {
    fn walk(&mut self) -> Result<()> {
        let plan = self.shared.plan;
        let root = match plan.is_new {
            true => None,
            false => {
                let opened = plan.root.below(std::iter::empty());
                let opened =
                    opened.map_err(|e| Error::failed("cannot look into the directory").because(e))?;
                Some(Arc::new(Parent::new(opened, b"")))
            }
        };
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
        let plan = self.shared.plan;
        let children = scope.children(plan.tree(), node);
        let verdicts: Verdicts = match parent {
            Some(_) => children.iter().map(|_| AtomicU8::new(0)).collect(),
            None => Arc::new([]),
        };
        if let Some(parent) = &parent {
            self.survey.verdicts.insert(node, Arc::clone(&verdicts));
            if let Some(collector) = self.collector.as_mut().filter(|_| scope.is_all()) {
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
                        self.directory(below, child.node, &at, child.scope, &seeds, depth + 1)?;
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
        let plan = self.shared.plan;
        let Some(Body::File(content)) = plan.tree().node(child.node).map(|node| node.body) else {
            return Ok(());
        };
        let Some(wanted) = plan.wanted(content) else { return Ok(()) };
        if plan.request.dry_run {
            let candidates = plan.seeds.candidates(seeds, name, wanted.size);
            self.survey.missing.add_file(&plan.content, wanted, &candidates)?;
        }
        self.shared.meter.add(wanted.size);
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
        let plan = self.shared.plan;
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
            self.shared.meter.add(wanted.size);
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

/// What those who look have in common.
struct Shared<'s> {
    plan: &'s Plan<'s>,
    meter: &'s Meter<'s>,
    conflicts: Mutex<Conflicts>,
    missing: Mutex<Missing>,
}

impl Shared<'_> {
    fn work(&self, queue: Receiver<Look>, failure: &Failure) -> Result<()> {
        let mut buffers = Buffers::default();
        while let Ok(first) = queue.recv() {
            if failure.ended()? {
                return Ok(());
            }
            self.judge(batches::share(first, &queue), &mut buffers)?;
        }
        Ok(())
    }

    fn judge(&self, looks: Vec<Look>, buffers: &mut Buffers) -> Result<()> {
        let opened: Vec<(Look, Option<File>)> = looks
            .into_iter()
            .map(|look| {
                let file = regular(look.parent.directory.open_file(&look.name));
                (look, file)
            })
            .collect();
        let readable: Vec<(&File, Wanted)> =
            opened.iter().filter_map(|(look, file)| Some((file.as_ref()?, look.wanted))).collect();
        let mut same = self.plan.content.are_same(&readable, buffers)?.into_iter();
        for (look, file) in &opened {
            let is_same = file.is_some() && same.next().unwrap_or(false);
            let verdict = match file {
                Some(file) if is_same => judge_attributes(look, file),
                _ => Verdict::Differs,
            };
            look.verdicts[look.n].store(verdict as u8, Ordering::Relaxed);
            self.meter.add(look.wanted.size);
            if verdict != Verdict::Differs {
                continue;
            }
            if !self.plan.request.overwrite {
                self.conflicts.lock().add(&look.parent.path_of(&look.name));
            } else if let Some(file) = file {
                self.missing.lock().add_replaced(&self.plan.content, look.wanted, file)?;
            }
        }
        Ok(())
    }
}

/// Of a file that has the right bytes.
fn judge_attributes(look: &Look, file: &File) -> Verdict {
    let inode = Inode::Open(file.as_fd());
    let Ok(stat) = inode.stat() else { return Verdict::Differs };
    let differ = look.attributes.differ_from(inode, &stat).unwrap_or(true);
    match () {
        () if look.is_shared || differ && stat.st_nlink > 1 => Verdict::Shared,
        () if differ => Verdict::Attributes,
        () => Verdict::Right,
    }
}
