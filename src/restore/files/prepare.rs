//! Finds for each file which of its bytes lie on this machine, and asks for the others.

use std::fs::File;
use std::ops::Range;
use std::os::fd::AsFd;
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender};

use super::content::{Buffers, Content, Stream, each_batch, regular, which_are_right};
use super::file::{FileJob, Spot};
use super::plan::Plan;
use super::problems::pass;
use super::write::{Existing, Task};
use crate::archives::contents::{Contents, Piece};
use crate::archives::fetch::Asker;
use crate::archives::progress::Meter;
use crate::archives::workers::Failure;
use crate::error::Result;
use crate::restore::attributes::Attributes;
use crate::tools::inode::Inode;

/// Files from this size on are changed in place, where that is wanted, in bytes.
const LARGE: u64 = 1 << 20;

/// Where a chunk goes: a stretch of a file.
pub type Goal = (Arc<FileJob>, Range<u64>);

/// Takes tasks, and hands pieces and whole files on.
pub struct Preparer<'p> {
    pub plan: &'p Plan<'p>,
    pub meter: &'p Meter<'p>,
    pub failure: &'p Failure,
    /// `None` where the bytes come as streams.
    pub asker: Option<Asker<'p, Goal>>,
    /// Files that have all their bytes.
    pub written: Sender<Arc<FileJob>>,
}

impl Preparer<'_> {
    /// # Errors
    /// When the archive cannot be read, the file system fails, and on a signal.
    pub fn run(self, tasks: Receiver<Task>) -> Result<()> {
        let mut buffers = Buffers::default();
        while let Ok(task) = tasks.recv() {
            if self.failure.ended()? {
                return Ok(());
            }
            self.prepare(task, &mut buffers)?;
        }
        Ok(())
    }

    fn prepare(&self, task: Task, buffers: &mut Buffers) -> Result<()> {
        match task.existing {
            Existing::Nothing => self.fill(task, Spot::New, None, buffers),
            Existing::Unfinished => self.fill(task, Spot::Begun, None, buffers),
            Existing::Other => self.fill(task, Spot::Beside, None, buffers),
            Existing::Right => {
                self.repair(&task);
                Ok(())
            }
            Existing::File { is_shared } => {
                let path = task.parent.path_of(&task.name);
                let opened = task.parent.directory.open_file(&task.name);
                let opened = opened.and_then(|file| Ok((file.metadata()?, file)));
                let Some((meta, old)) = pass(&self.plan.problems, &path, 1, "read", opened)? else {
                    return Ok(());
                };
                let is_same = meta.len() == task.wanted.size
                    && self.plan.content.are_same(&[(&old, task.wanted)], buffers)? == [true];
                let links = std::os::unix::fs::MetadataExt::nlink(&meta);
                if is_same && !is_shared {
                    let inode = Inode::Open(old.as_fd());
                    let stat = pass(&self.plan.problems, &path, 1, "look at", inode.stat())?;
                    let Some(stat) = stat else { return Ok(()) };
                    if !task.attributes.differ_from(inode, &stat).unwrap_or(true) {
                        self.plan.tally.right.add(1);
                        self.meter.add(task.wanted.size);
                        return Ok(());
                    }
                    if links == 1 {
                        self.repair(&task);
                        return Ok(());
                    }
                }
                let in_place = self.plan.request.in_place && links == 1 && task.wanted.size >= LARGE;
                let spot = if in_place { Spot::InPlace } else { Spot::Beside };
                self.fill(task, spot, regular(Ok(old)), buffers)
            }
        }
    }

    /// Gives a file with the right bytes its attributes.
    fn repair(&self, task: &Task) {
        self.meter.add(task.wanted.size);
        let path = task.parent.path_of(&task.name);
        let refusal = match task.parent.directory.open_file(&task.name) {
            Ok(file) => give(&file, &task.attributes),
            Err(e) => Some(("attributes", e)),
        };
        match refusal {
            None => self.plan.tally.repaired.add(1),
            Some((what, e)) => {
                self.plan.problems.incomplete(&path, format!("cannot give it its {what}: {e}"));
            }
        }
    }

    /// Makes a file of `task`. `old` may have some of its bytes.
    fn fill(&self, task: Task, spot: Spot, old: Option<File>, buffers: &mut Buffers) -> Result<()> {
        let Task { parent, name, wanted, attributes, seeds, .. } = task;
        let mut near = self.plan.seeds.candidates(&seeds, &name, wanted.size);
        if spot != Spot::InPlace {
            near.splice(0..0, old.map(Arc::new));
        }
        let job = Arc::new(FileJob::new(parent, name, wanted, attributes, spot));
        let filled = match &self.plan.content {
            Content::Stream(stream) => self.fill_from_stream(&job, stream)?,
            Content::Chunks(contents) => self.fill_from_chunks(&job, contents, &near, buffers)?,
        };
        if filled.is_none() {
            job.fail();
        }
        self.release(&job);
        Ok(())
    }

    /// `None` where the file cannot be written.
    fn fill_from_stream(&self, job: &Arc<FileJob>, stream: &Stream) -> Result<Option<()>> {
        let path = job.path();
        let opened = pass(&self.plan.problems, &path, 1, "write", job.output())?;
        let Some(output) = opened else { return Ok(None) };
        let mut written = Some(0);
        stream.each(job.wanted, |at, bytes| {
            self.meter.add(bytes.len() as u64);
            self.plan.tally.fetched.add(bytes.len() as u64);
            written = pass(&self.plan.problems, &path, 1, "write", output.write(bytes, at))?;
            self.plan.tally.written.add(written.unwrap_or(0));
            Ok(written.is_some())
        })?;
        Ok(written.map(drop))
    }

    /// `None` where the file cannot be written.
    fn fill_from_chunks(
        &self,
        job: &Arc<FileJob>,
        contents: &Contents,
        near: &[Arc<File>],
        buffers: &mut Buffers,
    ) -> Result<Option<()>> {
        let path = job.path();
        let mut pieces = contents.pieces(job.wanted.item, job.wanted.size);
        let first = pieces.next().transpose()?;
        let is_one = pieces.next().is_none();
        drop(pieces);
        if let Some(piece @ Piece { chunk: Some(_), .. }) = first.filter(|_| is_one && near.is_empty())
            && !matches!(job.spot(), Spot::Begun | Spot::InPlace)
        {
            // It is made by whoever has its bytes.
            self.ask(job, piece);
            return Ok(Some(()));
        }
        let opened = pass(&self.plan.problems, &path, 1, "write", job.output())?;
        let Some(output) = opened else { return Ok(None) };
        let shares = near.first().filter(|_| job.spot() == Spot::Beside && job.wanted.size >= LARGE);
        let near = match shares.is_some_and(|old| !output.has_bytes() && output.share_blocks(old)) {
            // Its bytes are there now, where nobody else changes them.
            true => &near[1..],
            false => near,
        };
        let mut is_written = true;
        each_batch(contents, job.wanted, |mut batch| {
            if self.failure.ended()? {
                return Ok(false);
            }
            if output.has_bytes() {
                self.keep_right(contents, &output.file, &mut batch, buffers);
            } else {
                batch.retain(|piece| piece.chunk.is_some() || self.count(piece));
            }
            for file in near {
                is_written &= self.copy_right(contents, job, file, &mut batch, buffers)?;
            }
            for piece in batch {
                match piece.chunk {
                    Some(_) => self.ask(job, piece),
                    None => {
                        let zeroed = output.zero(&piece.range);
                        is_written &= pass(&self.plan.problems, &path, 1, "write", zeroed)?.is_some();
                        self.meter.add(piece.length());
                    }
                }
            }
            Ok(is_written)
        })?;
        Ok(is_written.then_some(()))
    }

    /// Nothing is to be done about it: always false.
    fn count(&self, piece: &Piece) -> bool {
        self.meter.add(piece.length());
        false
    }

    /// Takes the pieces away that the file itself has.
    fn keep_right(&self, contents: &Contents, file: &File, batch: &mut Vec<Piece>, buffers: &mut Buffers) {
        let mut right = which_are_right(contents, file, batch, buffers).into_iter();
        batch.retain(|piece| {
            let is_right = right.next().unwrap_or(false);
            if is_right {
                self.count(piece);
            }
            !is_right
        });
    }

    /// Takes the pieces away that `file` has, and writes them: what is written is what was hashed. Whether they could be
    /// written.
    fn copy_right(
        &self,
        contents: &Contents,
        job: &Arc<FileJob>,
        file: &File,
        batch: &mut Vec<Piece>,
        buffers: &mut Buffers,
    ) -> Result<bool> {
        if !batch.iter().any(|piece| piece.chunk.is_some()) {
            return Ok(true);
        }
        let path = job.path();
        let right = which_are_right(contents, file, batch, buffers);
        let mut left = Vec::new();
        for (n, (piece, is_right)) in std::mem::take(batch).into_iter().zip(right).enumerate() {
            if !is_right || piece.chunk.is_none() {
                left.push(piece);
                continue;
            }
            let written = job.output().and_then(|output| output.write(buffers.get(n), piece.range.start));
            match pass(&self.plan.problems, &path, 1, "write", written)? {
                Some(bytes) => self.plan.tally.written.add(bytes),
                None => return Ok(false),
            }
            self.plan.tally.local.add(piece.length());
            self.count(&piece);
        }
        *batch = left;
        Ok(true)
    }

    fn ask(&self, job: &Arc<FileJob>, piece: Piece) {
        if let (Some(chunk), Some(asker)) = (piece.chunk, &self.asker) {
            job.expect(1);
            asker.want(&chunk, (Arc::clone(job), piece.range));
        }
    }

    /// Nothing more is asked for.
    fn release(&self, job: &Arc<FileJob>) {
        if job.is_last() {
            let _ = self.written.send(Arc::clone(job));
        }
    }
}

fn give(file: &File, attributes: &Attributes) -> Option<crate::restore::attributes::Refusal> {
    attributes.give_to(Inode::Open(file.as_fd())).into_iter().next()
}
