//! Makes files whole: once their bytes are on the disk they get their mode, their time and their name.
//!
//! So a power cut never leaves a file that looks right and is not.

use std::collections::HashMap;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError};
use rustix::fs::{fstat, syncfs};

use super::file::FileJob;
use super::plan::Plan;
use super::problems::pass;
use crate::error::{Error, Result};
use crate::restore::attributes::Past;
use crate::tools::inode::Inode;

/// Files that are made whole together: each is open until then.
const TOGETHER: usize = 1024;
/// And so many at least, where few may be open.
const LEAST: usize = 32;
/// And so many bytes, ...
const BYTES: u64 = 1 << 30;
/// ... or after so long without another one.
const PAUSE: Duration = Duration::from_secs(10);

/// Takes files that have all their bytes, to the last.
///
/// # Errors
/// When the file system fails.
pub fn commit(plan: &Plan<'_>, written: &Receiver<Arc<FileJob>>) -> Result<()> {
    let together = together();
    let mut waiting: Vec<Arc<FileJob>> = Vec::new();
    let mut bytes = 0;
    loop {
        let next = written.recv_timeout(PAUSE);
        let is_end = matches!(next, Err(RecvTimeoutError::Disconnected));
        if let Ok(job) = &next
            && let Some(size) = complete(plan, job)?
        {
            bytes += size;
            waiting.push(Arc::clone(job));
        }
        if next.is_err() || waiting.len() >= together || bytes >= BYTES {
            settle(plan, std::mem::take(&mut waiting))?;
            bytes = 0;
        }
        if is_end {
            return Ok(());
        }
    }
}

/// How many files are made whole together: as many more may wait for it, and both shall be no more than half of what
/// this process may have open.
pub fn together() -> usize {
    let most = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let most = most.map_or(TOGETHER, |most| usize::try_from(most / 4).unwrap_or(TOGETHER));
    most.clamp(LEAST, TOGETHER)
}

/// The size of a file that is to be made whole; `None` where it came to nothing.
fn complete(plan: &Plan<'_>, job: &FileJob) -> Result<Option<u64>> {
    let lost = job.lost();
    if let Some(lost) = &lost {
        plan.problems.damaged(&job.path(), lost.ranges.clone(), &lost.why);
    }
    if job.has_failed() || lost.is_some() && !plan.request.salvage {
        job.discard();
        if !job.has_failed() {
            plan.problems.missing(&job.path(), 1, "it is damaged in the archive");
        }
        return Ok(None);
    }
    let completed = pass(&plan.problems, &job.path(), 1, "write", job.complete())?;
    let Some(refusals) = completed else {
        job.discard();
        return Ok(None);
    };
    for (what, e) in refusals {
        plan.problems.incomplete(&job.path(), format!("cannot give it its {what}: {e}"));
    }
    Ok(Some(job.wanted.size))
}

fn settle(plan: &Plan<'_>, jobs: Vec<Arc<FileJob>>) -> Result<()> {
    let mut devices = HashMap::new();
    for job in &jobs {
        if let Ok(output) = job.output()
            && let Ok(stat) = fstat(&output.file)
        {
            devices.entry(stat.st_dev).or_insert(&output.file);
        }
    }
    for file in devices.values() {
        syncfs(file).map_err(|e| Error::failed("not all that was written reached the disk").because(e))?;
    }
    for job in jobs {
        let path = job.path();
        let Some(output) = pass(&plan.problems, &path, 1, "write", job.output())? else { continue };
        let past = if output.has_bytes() { Past::Unknown } else { job.past() };
        for (what, e) in job.attributes.give_rest(Inode::Open(output.file.as_fd()), past) {
            plan.problems.incomplete(&path, format!("cannot give it its {what}: {e}"));
        }
        if pass(&plan.problems, &path, 1, "put in place", job.settle())?.is_none() {
            continue;
        }
        let counter = if job.replaces() { &plan.tally.replaced } else { &plan.tally.made };
        counter.add(1);
    }
    Ok(())
}
