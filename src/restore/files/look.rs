//! Looks at files that are there: do they have the archive's bytes and attributes?

use std::ffi::CString;
use std::fs::File;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crossbeam_channel::Receiver;
use parking_lot::Mutex;

use super::content::{Buffers, Wanted, regular};
use super::missing::Missing;
use super::parent::Parent;
use super::plan::Plan;
use super::verdict::{Verdict, Verdicts};
use crate::archives::batches;
use crate::archives::progress::Meter;
use crate::archives::workers::Failure;
use crate::error::Result;
use crate::restore::attributes::Attributes;
use crate::restore::conflicts::Conflicts;
use crate::tools::inode::Inode;

/// A file that is to be looked at.
pub struct Look {
    pub parent: Arc<Parent>,
    pub name: CString,
    pub wanted: Wanted,
    pub attributes: Attributes,
    pub verdicts: Verdicts,
    /// The number of its verdict.
    pub n: usize,
    /// It is one with a file that it should not be one with.
    pub is_shared: bool,
}

/// What those who look have in common.
pub struct Looker<'s> {
    pub plan: &'s Plan<'s>,
    pub meter: &'s Meter<'s>,
    pub conflicts: Mutex<Conflicts>,
    pub missing: Mutex<Missing>,
}

impl Looker<'_> {
    /// Looks at files until there are no more.
    ///
    /// # Errors
    /// When the archive cannot be read, and on a signal.
    pub fn work(&self, queue: Receiver<Look>, failure: &Failure) -> Result<()> {
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
