//! Takes the chunks that were asked for, and writes them where they belong.

use std::ops::Range;
use std::sync::Arc;

use crossbeam_channel::Sender;

use super::file::FileJob;
use super::plan::Plan;
use super::prepare::Goal;
use super::problems::pass;
use crate::archives::fetch::{Landed, Taker};
use crate::archives::progress::Meter;
use crate::archives::workers::Failure;
use crate::error::Result;

/// Takes chunks that come, and hands files on that have all their bytes.
pub struct Fetcher<'f> {
    pub plan: &'f Plan<'f>,
    pub meter: &'f Meter<'f>,
    pub failure: &'f Failure,
    pub taker: Taker<'f, Goal>,
    pub written: Sender<Arc<FileJob>>,
}

impl Fetcher<'_> {
    /// # Errors
    /// When the repository cannot be read, the file system fails, and on a signal.
    pub fn run(self) -> Result<()> {
        loop {
            let landed = self.taker.take()?;
            if landed.is_empty() || self.failure.ended()? {
                return Ok(());
            }
            for Landed { chunk, bytes, notes } in landed {
                if bytes.is_ok() {
                    self.plan.tally.fetched_chunks.add(1);
                    self.plan.tally.fetched.add(chunk.stored.into());
                }
                let bytes = bytes.map_err(|why| why.chain());
                for (job, range) in notes {
                    match &bytes {
                        Ok(bytes) => self.write(&job, bytes, range.start)?,
                        Err(why) => self.lose(&job, range, why)?,
                    }
                    self.meter.add(chunk.size.into());
                    if job.is_last() {
                        // Where nobody takes it any more, that is because of an error, which is told.
                        let _ = self.written.send(job);
                    }
                }
            }
        }
    }

    fn write(&self, job: &FileJob, bytes: &[u8], at: u64) -> Result<()> {
        if job.has_failed() {
            return Ok(());
        }
        let written = job.output().and_then(|output| output.write(bytes, at));
        match written {
            Ok(written) => self.plan.tally.written.add(written),
            // A file of several pieces is counted once.
            Err(e) if job.fail() => {
                pass::<()>(&self.plan.problems, &job.path(), 1, "write", Err(e))?;
            }
            Err(_) => {}
        }
        Ok(())
    }

    fn lose(&self, job: &FileJob, range: Range<u64>, why: &str) -> Result<()> {
        if self.plan.request.salvage && !job.has_failed() {
            let zeroed = job.output().and_then(|output| output.zero(&range));
            if let Err(e) = zeroed
                && job.fail()
            {
                pass::<()>(&self.plan.problems, &job.path(), 1, "write", Err(e))?;
            }
        }
        job.lose(range, why);
        Ok(())
    }
}
