//! Takes the chunks that were asked for, and writes them where they belong.

use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender};

use super::content::Content;
use super::file::FileJob;
use super::plan::Plan;
use super::prepare::Coming;
use super::problems::pass;
use crate::archives::batches;
use crate::archives::progress::Meter;
use crate::archives::workers::Failure;
use crate::error::Result;

/// Takes pieces that come, and hands files on that have all their bytes.
pub struct Fetcher<'f> {
    pub plan: &'f Plan<'f>,
    pub meter: &'f Meter<'f>,
    pub failure: &'f Failure,
    pub written: Sender<Arc<FileJob>>,
}

impl Fetcher<'_> {
    /// # Errors
    /// When the repository cannot be read, the file system fails, and on a signal.
    pub fn run(self, coming: Receiver<Coming>) -> Result<()> {
        let Content::Chunks(contents) = &self.plan.content else { return Ok(()) };
        while let Ok(first) = coming.recv() {
            if self.failure.ended()? {
                return Ok(());
            }
            let batch = batches::share(first, &coming);
            let mut requests = Vec::with_capacity(batch.len());
            let mut pieces = Vec::with_capacity(batch.len());
            for Coming { job, piece, request } in batch {
                requests.push(request);
                pieces.push((job, piece));
            }
            let received = contents.receive_what_is_right(requests)?;
            for ((job, piece), bytes) in pieces.into_iter().zip(received) {
                match bytes {
                    Ok(bytes) => {
                        self.plan.tally.fetched_chunks.add(1);
                        self.plan.tally.fetched.add(piece.chunk.map_or(0, |chunk| chunk.stored.into()));
                        self.write(&job, &bytes, piece.range.start)?;
                    }
                    Err(why) => self.lose(&job, piece.range.clone(), &why.chain())?,
                }
                self.meter.add(piece.length());
                if job.is_last() {
                    // Where nobody takes it any more, that is because of an error, which is told.
                    let _ = self.written.send(job);
                }
            }
        }
        Ok(())
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

    fn lose(&self, job: &FileJob, range: std::ops::Range<u64>, why: &str) -> Result<()> {
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
