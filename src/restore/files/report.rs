//! What came of a restore, and the way to it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};

use super::content::Content;
use super::delete;
use super::fetch::Fetcher;
use super::file::FileJob;
use super::finish::Finish;
use super::plan::Plan;
use super::prepare::Preparer;
use super::problems::Problem;
use super::survey::{STACK, Survey};
use super::write::{Rest, Task, Writer};
use super::{commit, links};
use crate::archives::damage::Damaged;
use crate::archives::fetch::Flights;
use crate::archives::progress::{Meter, Step};
use crate::archives::workers::{self, Failure};
use crate::error::{Error, Kind, Result};

/// Files that wait to be prepared.
const TASKS: usize = 256;
/// Chunks that are on their way: enough for a connection with a long round trip.
const COMING: usize = 1024;

/// What came of it: entries, or bytes where it says so.
#[derive(Debug, serde::Serialize)]
pub struct Report {
    /// Files, directories, links and whatever else there is.
    pub entries: u64,
    /// Of all files.
    pub bytes: u64,
    pub made: u64,
    pub replaced: u64,
    /// Were right already.
    pub right: u64,
    /// Had the right bytes, and got their attributes.
    pub repaired: u64,
    pub deleted: u64,
    /// Chunks.
    pub fetched_chunks: u64,
    /// Bytes, as they are stored.
    pub fetched: u64,
    /// Bytes that lay on this machine.
    pub local: u64,
    /// Bytes.
    pub written: u64,
    /// Did not come.
    pub missing: u64,
    /// Came without something that they should have.
    pub warnings: u64,
    /// Entries that are no directories.
    #[serde(skip)]
    pub files: u64,
    #[serde(skip)]
    pub problems: Vec<Problem>,
    #[serde(skip)]
    pub damaged: Vec<Damaged>,
    #[serde(skip)]
    pub damaged_files: u64,
    #[serde(rename = "seconds", serialize_with = "seconds")]
    pub took: Duration,
}

fn seconds<S: serde::Serializer>(took: &Duration, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    serializer.serialize_f64(took.as_secs_f64())
}

impl Plan<'_> {
    /// Restores what `survey` found to be missing or different.
    ///
    /// # Errors
    /// When the archive cannot be read or the file system fails; the same restore, begun again, goes on.
    pub fn run(self, survey: &Survey) -> Result<Report> {
        let begun = Instant::now();
        let plan = &self;
        let meter = plan.meter(Step::Restore);
        let rest = files(plan, survey, &meter)?;
        links::make(plan, &rest)?;
        delete::delete(plan, &survey.deletions)?;
        Finish { plan, survey, rest: &rest }.run()?;
        let left_out = plan.archived.tree.left_out();
        if plan.request.paths.is_empty() && !left_out.is_empty() {
            plan.problems.missing(b".", left_out.count(), format!("no directory can have {left_out}"));
        }
        Ok(self.report(begun))
    }

    fn report(self, begun: Instant) -> Report {
        let (tally, kept) = (self.tally, self.problems.into_inner());
        Report {
            entries: self.size.entries,
            bytes: self.size.bytes,
            made: tally.made.get(),
            replaced: tally.replaced.get(),
            right: tally.right.get(),
            repaired: tally.repaired.get(),
            deleted: tally.deleted.get(),
            fetched_chunks: tally.fetched_chunks.get(),
            fetched: tally.fetched.get(),
            local: tally.local.get(),
            written: tally.written.get(),
            missing: kept.missing,
            warnings: kept.incomplete,
            files: self.size.files,
            problems: kept.problems,
            damaged: kept.damaged,
            damaged_files: kept.damaged_files,
            took: begun.elapsed(),
        }
    }
}

/// Writes all files: one thread walks, others find what lies here, others take what comes, and one makes files whole.
fn files(plan: &Plan<'_>, survey: &Survey, meter: &Meter<'_>) -> Result<Rest> {
    let failure = Failure::default();
    let (tasks, queue): (Sender<Task>, Receiver<Task>) = bounded(TASKS);
    let flights = Flights::default();
    let mut ends = match &plan.content {
        Content::Chunks(contents) => Some(flights.ends(contents, COMING)),
        Content::Stream(_) => None,
    };
    let (written, whole): (Sender<Arc<FileJob>>, Receiver<Arc<FileJob>>) = bounded(commit::together());
    let rest = std::thread::scope(|scope| {
        let failure = &failure;
        for _ in 0..workers::count() {
            let (queue, (asker, taker)) = (queue.clone(), ends.clone().unzip());
            let preparer = Preparer { plan, meter, failure, asker, written: written.clone() };
            scope.spawn(move || failure.note(preparer.run(queue)));
            if let Some(taker) = taker {
                let fetcher = Fetcher { plan, meter, failure, taker, written: written.clone() };
                scope.spawn(move || failure.note(fetcher.run()));
            }
        }
        scope.spawn(move || failure.note(commit::commit(plan, &whole)));
        drop((queue, ends.take(), written));
        let mut writer =
            Writer { plan, survey, tasks, meter, failure, rest: Rest::default(), inodes: HashMap::new() };
        let walk = move || {
            let walked = writer.walk();
            walked.map(|()| writer.rest)
        };
        let walker = std::thread::Builder::new().stack_size(STACK).spawn_scoped(scope, walk);
        let walker = walker.map_err(|e| Error::failed("cannot start a thread").because(e))?;
        walker.join().unwrap_or_else(|_| Err(Error::failed("the thread that writes panicked")))
    });
    let rest = match rest {
        Ok(rest) => rest,
        Err(error) => {
            failure.note(Err(error));
            Rest::default()
        }
    };
    failure.into_result().map_err(goes_on)?;
    Ok(rest)
}

fn goes_on(error: Error) -> Error {
    match error.kind() {
        Kind::Usage => error,
        _ => error.hint("what was restored stays; the same command, called again, goes on"),
    }
}
