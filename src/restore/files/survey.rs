//! What is in the directory already: which of it is right, and what is in the way. Nothing is written.

use std::collections::{HashMap, HashSet};
use std::ffi::CStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use crossbeam_channel::{Sender, bounded};
use rustix::fs::FileType;

use super::deletions::{Collector, Deletion, is_mount};
use super::look::{Batch, Looker};
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
use crate::restore::conflicts::Conflicts;
use crate::tools::directory::{Directory, c_name};

/// Directories are entered no deeper: each takes a descriptor.
pub const DEEPEST: usize = 1000;
/// Memory for the stack of that, in bytes; it is taken as it is used.
pub const STACK: usize = 64 << 20;
/// Files that are looked at side by side: a disk answers several reads at once.
const READERS: usize = 8;
/// Batches of files that wait for a look.
const QUEUE: usize = 32;

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
        let (batches, queue) = bounded(QUEUE);
        let looker = Looker::new(plan, &meter, &failure);
        let mut survey = std::thread::scope(|scope| {
            for _ in 0..READERS {
                let queue = queue.clone();
                scope.spawn(|| failure.note(looker.work(queue)));
            }
            drop(queue);
            let mut surveyor = Surveyor {
                plan,
                looker: &looker,
                failure: &failure,
                batches: Some(batches),
                survey: Survey::default(),
                collector: plan.request.delete.as_ref().map(Collector::new),
                deletes: false,
            };
            let walk = move || {
                let walked = surveyor.walk();
                // So that the others end.
                surveyor.batches = None;
                failure_or(walked, surveyor)
            };
            let walker = std::thread::Builder::new().stack_size(STACK).spawn_scoped(scope, walk);
            let walker = walker.map_err(|e| Error::failed("cannot start a thread").because(e))?;
            walker.join().unwrap_or_else(|_| Err(Error::failed("the thread that looks panicked")))
        })?;
        let (mut conflicts, missing) = looker.into_found();
        failure.into_result()?;
        conflicts.append(std::mem::take(&mut survey.conflicts));
        survey.conflicts = conflicts;
        survey.missing.append(missing);
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

/// Walks through the archive and the directory, and hands on what is no directory.
struct Surveyor<'s> {
    plan: &'s Plan<'s>,
    looker: &'s Looker<'s>,
    failure: &'s Failure,
    batches: Option<Sender<Batch>>,
    survey: Survey,
    collector: Option<Collector<'s>>,
    /// No mount was crossed since the directory that was chosen.
    deletes: bool,
}

impl Surveyor<'_> {
    fn walk(&mut self) -> Result<()> {
        let plan = self.plan;
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
        let plan = self.plan;
        let children = scope.children(plan.tree(), node)?;
        let verdicts: Verdicts = match parent {
            Some(_) => children.iter().map(|_| AtomicU8::new(0)).collect(),
            None => Arc::new([]),
        };
        if let Some(parent) = &parent {
            self.survey.verdicts.insert(node, Arc::clone(&verdicts));
            if let Some(collector) = self.collector.as_mut().filter(|_| scope.is_all() && self.deletes) {
                let names: HashSet<&[u8]> = children.iter().map(|child| &*child.name).collect();
                collector.collect(&parent.directory, path, &names)?;
            }
        }
        let new = || Batch::new(parent.clone(), Arc::clone(&verdicts), seeds);
        let mut batch = new();
        for (n, child) in children.iter().enumerate() {
            if self.failure.ended()? {
                return Ok(());
            }
            let Ok(name) = c_name(&child.name) else { continue };
            let Some(found) = plan.tree().node(child.node)? else { continue };
            match found.body {
                Body::Directory => {
                    self.child(&parent, child, scope, &join(path, &child.name), seeds, depth)?;
                }
                body => {
                    let content = match body {
                        Body::File(content) => plan.wanted(content)?,
                        _ => None,
                    };
                    let has_links = found.nlink > 1;
                    let met = has_links.then(|| self.looker.meet(parent.as_deref(), &name, child.node));
                    if batch.add(n, name, child.node, content, met) {
                        self.hand_on(std::mem::replace(&mut batch, new()))?;
                    }
                }
            }
        }
        self.hand_on(batch)
    }

    fn hand_on(&self, batch: Batch) -> Result<()> {
        match &self.batches {
            _ if batch.is_empty() => {}
            // What is not there takes no look.
            _ if batch.is_new() => self.looker.look_at(batch, &mut Default::default())?,
            Some(batches) => {
                // Where nobody takes it any more, that is because of an error, which is told.
                let _ = batches.send(batch);
            }
            None => {}
        }
        Ok(())
    }

    fn child(
        &mut self,
        parent: &Option<Arc<Parent>>,
        child: &Child<'_>,
        scope: &Scope,
        path: &[u8],
        seeds: &Beside,
        depth: usize,
    ) -> Result<()> {
        let plan = self.plan;
        let Ok(name) = c_name(&child.name) else { return Ok(()) };
        let stat = parent.as_ref().and_then(|parent| parent.directory.stat(&name).ok().flatten());
        let there = stat.as_ref().map(|stat| FileType::from_raw_mode(stat.st_mode));
        let below = match (there, parent) {
            (Some(FileType::Directory), Some(parent)) => open(&parent.directory, &name, path),
            (Some(_), _) if !plan.request.overwrite => {
                self.survey.conflicts.add(path);
                None
            }
            _ => None,
        };
        if below.is_none() && child.scope.is_all() {
            self.survey.missing.made += 1;
        }
        if depth == DEEPEST {
            return Ok(());
        }
        let seeds = plan.seeds.enter(seeds, &name, path);
        let deletes = self.deletes;
        if let (true, Some(parent), Some(stat)) = (scope.is_all(), parent, &stat) {
            self.deletes &= !is_mount(&parent.directory, &name, stat);
        }
        self.directory(below, child.node, path, child.scope, &seeds, depth + 1)?;
        self.deletes = deletes;
        Ok(())
    }
}

fn open(directory: &Directory, name: &CStr, path: &[u8]) -> Option<Arc<Parent>> {
    Some(Arc::new(Parent::new(directory.child(name).ok()?, path)))
}
