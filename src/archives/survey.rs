//! Compares a target with the chunks of an image without fetching any.

use std::ops::Range;

use super::batches;
use super::chunks::{Piece, Pieces};
use super::progress::{Counts, add};
use super::workers::Failure;
use crate::archive::ranges::{common, length};
use crate::error::Result;
use crate::tools::target::buffer::Buffer;
use crate::tools::target::open::Target;
use crate::tools::target::runs::is_zero;

/// Which parts of the target are compared.
pub struct Survey<'a> {
    /// `None` if the target does not exist yet.
    pub target: Option<&'a Target>,
    /// [Merged](crate::archive::ranges::merge); everything else is equal. `None` if nothing is
    /// known.
    pub may_differ: Option<&'a [Range<u64>]>,
    /// Everything counts as different.
    pub full: bool,
    pub counts: &'a Counts,
}

/// How the target compares with a piece of the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Right,
    /// It differs, or only the bytes of the chunk can tell.
    Differs,
}

impl Survey<'_> {
    /// Compares pieces until there are no more, and passes each to `each`. Any number of threads
    /// may call this to share the work.
    ///
    /// # Errors
    /// When the target cannot be read, after a signal, and the errors of `each`.
    pub fn run(
        &self,
        pieces: &Pieces<'_>,
        failure: &Failure,
        each: &(dyn Fn(Piece, Verdict) -> Result<()> + Sync),
    ) -> Result<()> {
        let mut buffers: [Buffer; batches::CHUNKS] = Default::default();
        loop {
            let batch = pieces.take()?;
            if batch.is_empty() || failure.ended()? {
                return Ok(());
            }
            for (piece, verdict) in self.judge(pieces, batch, &mut buffers)? {
                if verdict == Verdict::Right {
                    add(&self.counts.right, piece.range.end - piece.range.start);
                }
                each(piece, verdict)?;
            }
        }
    }

    fn judge(
        &self,
        pieces: &Pieces<'_>,
        batch: Vec<Piece>,
        buffers: &mut [Buffer],
    ) -> Result<Vec<(Piece, Verdict)>> {
        let mut verdicts = Vec::with_capacity(batch.len());
        // Which buffer holds the bytes of which piece.
        let mut read = Vec::new();
        for (n, piece) in batch.iter().enumerate() {
            let verdict = self.judge_unhashed(piece, &mut buffers[n])?;
            verdicts.push(verdict.unwrap_or(Verdict::Differs));
            if let (None, Some(chunk)) = (verdict, piece.chunk) {
                read.push((n, chunk));
            }
        }
        let listed: Vec<_> = read.iter().map(|(n, chunk)| (*chunk, &*buffers[*n])).collect();
        for ((n, _), right) in read.iter().zip(pieces.chunks().matches(&listed)) {
            if right {
                verdicts[*n] = Verdict::Right;
            }
        }
        Ok(batch.into_iter().zip(verdicts).collect())
    }

    /// `None` if the hash must decide: then `buffer` holds the target's bytes.
    fn judge_unhashed(&self, piece: &Piece, buffer: &mut Buffer) -> Result<Option<Verdict>> {
        let open = spans(self.may_differ, &piece.range);
        if open.is_empty() {
            return Ok(Some(Verdict::Right));
        }
        let Some(target) = self.target.filter(|target| !target.is_blank()) else {
            let zeros = piece.chunk.is_none() && !self.full;
            return Ok(Some(if zeros { Verdict::Right } else { Verdict::Differs }));
        };
        let outside = piece.range.end > target.size();
        if self.full
            || outside
            || piece.chunk.is_some() && length(&open) < piece.range.end - piece.range.start
        {
            return Ok(Some(Verdict::Differs));
        }
        add(&self.counts.read, length(&open));
        if piece.chunk.is_none() {
            for span in &open {
                if !is_zero(target.read(buffer, span)?) {
                    return Ok(Some(Verdict::Differs));
                }
            }
            return Ok(Some(Verdict::Right));
        }
        target.read(buffer, &piece.range)?;
        Ok(None)
    }
}

/// The part of `range` that may differ.
pub fn spans(may_differ: Option<&[Range<u64>]>, range: &Range<u64>) -> Vec<Range<u64>> {
    match may_differ {
        Some(ranges) => common(ranges, range),
        None => vec![range.clone()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tools::target::place::Place;
    use borg_repository::{Chunk, Id};

    /// The verdict on a piece without its hash, if the target has these bytes; and how many bytes
    /// were read.
    fn judged(
        bytes: &[u8],
        may_differ: Option<&[Range<u64>]>,
        full: bool,
        range: Range<u64>,
        zeros: bool,
    ) -> (Option<Verdict>, u64) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("target");
        std::fs::write(&path, bytes).unwrap();
        let target = Place::at(&path).unwrap().open_to_read().unwrap();
        let counts = Counts::default();
        let survey = Survey { target: Some(&target), may_differ, full, counts: &counts };
        let chunk = Chunk { id: Id([1; 32]), size: 1, stored: 1 };
        let piece = Piece { range, chunk: (!zeros).then_some(chunk) };
        let verdict = survey.judge_unhashed(&piece, &mut Buffer::default()).unwrap();
        (verdict, crate::archives::progress::of(&counts.read))
    }

    #[test]
    fn what_is_proven_to_be_right_is_not_read_and_what_is_not_is() {
        let bytes = [vec![0; 100], vec![1; 100]].concat();
        let some = [50..60, 150..160];
        let right = Some(Verdict::Right);
        let differs = Some(Verdict::Differs);
        assert_eq!(judged(&bytes, Some(&some), false, 60..150, false), (right, 0));
        assert_eq!(judged(&bytes, Some(&some), false, 0..100, true), (right, 10));
        assert_eq!(judged(&bytes, Some(&some), false, 100..200, true), (differs, 10));
        // Only a whole chunk has a hash; a part needs the bytes themselves.
        assert_eq!(judged(&bytes, Some(&some), false, 100..200, false), (differs, 0));
        assert_eq!(judged(&bytes, Some(&some), false, 150..160, false), (None, 10));
        assert_eq!(judged(&bytes, None, false, 0..100, false), (None, 100));
    }

    #[test]
    fn nothing_is_right_when_all_is_to_be_written_or_beyond_the_end() {
        let bytes = vec![0; 100];
        assert_eq!(judged(&bytes, None, true, 0..100, true), (Some(Verdict::Differs), 0));
        assert_eq!(judged(&bytes, None, false, 50..101, true), (Some(Verdict::Differs), 0));
        assert_eq!(judged(&bytes, None, false, 50..100, true), (Some(Verdict::Right), 50));
    }
}
