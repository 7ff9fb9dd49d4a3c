//! Looks at what is there under names of the archive: is it what the archive has?

use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::fs::File;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crossbeam_channel::{Receiver, Sender, bounded};
use parking_lot::Mutex;
use rustix::fs::{FileType, Stat};

use super::content::{Buffers, SMALL, Wanted, regular};
use super::file::is_unfinished;
use super::missing::Missing;
use super::parent::Parent;
use super::plan::Plan;
use super::same::{differ, is_same_special};
use super::seeds::Beside;
use super::verdict::{Verdict, Verdicts};
use crate::archive::tree::{Body, NodeId};
use crate::archives::progress::Meter;
use crate::archives::workers::{self, Failure};
use crate::error::Result;
use crate::restore::attributes::{Attributes, mtime};
use crate::restore::conflicts::Conflicts;
use crate::tools::inode::Inode;

/// So many names are looked at by one thread in a row...
const NAMES: usize = 64;
/// ... or so many bytes, so that the others have something to do.
const BYTES: u64 = 1 << 20;

/// Names of one directory that are looked at together.
pub struct Batch {
    /// `None` if the directory is not there.
    parent: Option<Arc<Parent>>,
    verdicts: Verdicts,
    seeds: Beside,
    names: Vec<Name>,
    bytes: u64,
}

/// A name of the archive that is no directory.
struct Name {
    /// The number of its verdict.
    n: usize,
    name: CString,
    node: NodeId,
    /// `None` if it is no file.
    content: Option<Wanted>,
    /// What is there, if that is known already.
    met: Option<Met>,
}

/// What is there under a name.
#[derive(Clone, Copy)]
pub struct Met {
    /// `None` if there is nothing.
    stat: Option<Stat>,
    /// The node as which the same file was seen before, under another name.
    first: Option<NodeId>,
}

impl Batch {
    pub fn new(parent: Option<Arc<Parent>>, verdicts: Verdicts, seeds: &Beside) -> Self {
        Batch { parent, verdicts, seeds: seeds.clone(), names: Vec::new(), bytes: 0 }
    }

    /// Returns whether it is full.
    pub fn add(
        &mut self,
        n: usize,
        name: CString,
        node: NodeId,
        content: Option<Wanted>,
        met: Option<Met>,
    ) -> bool {
        self.bytes += content.map_or(0, |wanted| wanted.size);
        self.names.push(Name { n, name, node, content, met });
        self.names.len() >= NAMES || self.bytes >= BYTES
    }

    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Nothing of it is there.
    pub fn is_new(&self) -> bool {
        self.parent.is_none()
    }
}

/// A file whose bytes are to be looked at.
struct Look<'b> {
    name: &'b Name,
    wanted: Wanted,
    attributes: Attributes,
    /// It is one with a file that it should not be one with.
    is_shared: bool,
}

/// What those who look have in common.
pub struct Looker<'s> {
    plan: &'s Plan<'s>,
    meter: &'s Meter<'s>,
    failure: &'s Failure,
    /// Which node a file of several names was first seen as.
    inodes: Mutex<HashMap<(u64, u64), NodeId>>,
    found: Mutex<Found>,
    /// Memory for large files: as many are read side by side as can be hashed.
    large: (Sender<Buffers>, Receiver<Buffers>),
}

/// What is in the way, and what is missing.
#[derive(Default)]
struct Found {
    conflicts: Conflicts,
    missing: Missing,
}

impl<'s> Looker<'s> {
    pub fn new(plan: &'s Plan<'s>, meter: &'s Meter<'s>, failure: &'s Failure) -> Self {
        let large = bounded(workers::count());
        while large.0.try_send(Buffers::default()).is_ok() {}
        Looker { plan, meter, failure, inodes: Mutex::default(), found: Mutex::default(), large }
    }

    pub fn into_found(self) -> (Conflicts, Missing) {
        let Found { conflicts, missing } = self.found.into_inner();
        (conflicts, missing)
    }

    /// Looks at names until there are no more.
    ///
    /// # Errors
    /// When the archive cannot be read, and on a signal.
    pub fn work(&self, queue: Receiver<Batch>) -> Result<()> {
        let mut buffers = Buffers::default();
        while let Ok(batch) = queue.recv() {
            self.look_at(batch, &mut buffers)?;
        }
        Ok(())
    }

    /// Looks at the names of one batch.
    ///
    /// # Errors
    /// As [`Looker::work`].
    pub fn look_at(&self, batch: Batch, buffers: &mut Buffers) -> Result<()> {
        let mut found = Found::default();
        let mut looks = Vec::new();
        for name in &batch.names {
            if self.failure.ended()? {
                return Ok(());
            }
            let met = name.met.unwrap_or_else(|| self.meet(batch.parent.as_deref(), &name.name, name.node));
            match (&batch.parent, met.stat) {
                (Some(parent), Some(stat)) if is_directory(&stat) => {
                    found.conflicts.add_clash(&parent.path_of(&name.name));
                }
                (Some(parent), Some(stat)) => {
                    looks.extend(self.existing(parent, name, &stat, met.first, &batch, &mut found)?);
                }
                (_, _) => {
                    found.missing.made += 1;
                    self.missing(name, &batch.seeds, &mut found.missing)?;
                }
            }
        }
        if let Some(parent) = &batch.parent {
            self.judge(parent, looks, &batch.verdicts, buffers, &mut found)?;
        }
        let mut all = self.found.lock();
        all.conflicts.append(found.conflicts);
        all.missing.append(found.missing);
        Ok(())
    }

    /// What is there under the name of `node`. Of a node with several names, they must be met in the
    /// archive's order, in which the first one becomes the file, and the others links to it.
    pub fn meet(&self, parent: Option<&Parent>, name: &CStr, node: NodeId) -> Met {
        let stat = parent.and_then(|parent| parent.directory.stat(name).ok().flatten());
        let shared = stat.filter(|stat| is_file(stat) && stat.st_nlink > 1);
        let first = shared.and_then(|stat| self.inodes.lock().insert((stat.st_dev, stat.st_ino), node));
        Met { stat, first }
    }

    /// A name that is not there.
    fn missing(&self, name: &Name, seeds: &Beside, missing: &mut Missing) -> Result<()> {
        let Some(wanted) = name.content else { return Ok(()) };
        if self.plan.request.dry_run {
            let candidates = self.plan.seeds.candidates(seeds, &name.name, wanted.size);
            missing.add_file(&self.plan.content, wanted, &candidates)?;
        }
        self.meter.add(wanted.size);
        Ok(())
    }

    /// Something is there that is no directory. Returns it if its bytes are to be looked at.
    fn existing<'b>(
        &self,
        parent: &Parent,
        name: &'b Name,
        stat: &Stat,
        first: Option<NodeId>,
        batch: &Batch,
        found: &mut Found,
    ) -> Result<Option<Look<'b>>> {
        let plan = self.plan;
        let (Some(node), Some(attributes)) = (plan.tree().node(name.node)?, plan.attributes(name.node)?)
        else {
            return Ok(None);
        };
        let set = |verdict: Verdict| batch.verdicts[name.n].store(verdict as u8, Ordering::Relaxed);
        let conflict = |found: &mut Found| found.conflicts.add(&parent.path_of(&name.name));
        let (directory, overwrite) = (&parent.directory, plan.request.overwrite);
        if !matches!(node.body, Body::File(_)) {
            match is_same_special(directory, &name.name, stat, &node) {
                true if differ(directory, &name.name, &attributes, stat) => set(Verdict::Attributes),
                true => set(Verdict::Right),
                false if !overwrite => conflict(found),
                false => {}
            }
            return Ok(None);
        }
        let Some(wanted) = name.content else { return Ok(None) };
        let is_file = is_file(stat);
        if first == Some(name.node) {
            set(Verdict::Linked);
            return Ok(None);
        }
        let is_shared = first.is_some();
        if is_file && is_unfinished(stat) {
            self.missing(name, &Beside::default(), &mut found.missing)?;
            return Ok(None);
        }
        let is_right_size = is_file && stat.st_size as u64 == wanted.size;
        if is_right_size && plan.request.trust_times && !is_shared && mtime(stat) == attributes.mtime() {
            let other = differ(directory, &name.name, &attributes, stat);
            set(if other { Verdict::Attributes } else { Verdict::Right });
            self.meter.add(wanted.size);
            return Ok(None);
        }
        if !is_right_size && !overwrite {
            conflict(found);
            return Ok(None);
        }
        let looks = is_file && (!overwrite || plan.request.dry_run);
        Ok(looks.then_some(Look { name, wanted, attributes, is_shared }))
    }

    fn judge(
        &self,
        parent: &Parent,
        looks: Vec<Look<'_>>,
        verdicts: &Verdicts,
        buffers: &mut Buffers,
        found: &mut Found,
    ) -> Result<()> {
        let open = |look: &Look<'_>| regular(parent.directory.open_file(&look.name.name));
        let files: Vec<Option<File>> = looks.iter().map(open).collect();
        let readable: Vec<(&File, Wanted)> =
            files.iter().zip(&looks).filter_map(|(file, look)| Some((file.as_ref()?, look.wanted))).collect();
        let is_large = looks.iter().any(|look| look.wanted.size > SMALL);
        let mut lent = if is_large { self.large.1.recv().ok() } else { None };
        let same = self.plan.content.are_same(&readable, lent.as_mut().unwrap_or(buffers));
        if let Some(lent) = lent {
            // There is room for what was taken out.
            let _ = self.large.0.try_send(lent);
        }
        let mut same = same?.into_iter();
        for (look, file) in looks.iter().zip(&files) {
            let is_same = file.is_some() && same.next().unwrap_or(false);
            let verdict = match file {
                Some(file) if is_same => judge_attributes(look, file),
                _ => Verdict::Differs,
            };
            verdicts[look.name.n].store(verdict as u8, Ordering::Relaxed);
            self.meter.add(look.wanted.size);
            if verdict != Verdict::Differs {
                continue;
            }
            if !self.plan.request.overwrite {
                found.conflicts.add(&parent.path_of(&look.name.name));
            } else if let Some(file) = file {
                found.missing.add_replaced(&self.plan.content, look.wanted, file)?;
            }
        }
        Ok(())
    }
}

fn is_file(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
}

fn is_directory(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
}

/// Of a file that has the right bytes.
fn judge_attributes(look: &Look<'_>, file: &File) -> Verdict {
    let inode = Inode::Open(file.as_fd());
    let Ok(stat) = inode.stat() else { return Verdict::Differs };
    let differ = look.attributes.differ_from(inode, &stat).unwrap_or(true);
    match () {
        () if look.is_shared || differ && stat.st_nlink > 1 => Verdict::Shared,
        () if differ => Verdict::Attributes,
        () => Verdict::Right,
    }
}
