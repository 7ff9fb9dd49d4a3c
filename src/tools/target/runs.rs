//! Finds the differences between two ranges of bytes.

use std::ops::Range;

/// Writes are aligned to this size in bytes: a page, so that nothing must be read in order to write
/// it.
pub const BLOCK: usize = 4096;
/// The shortest hole, in bytes: for less, punching costs more than it saves.
const LEAST_HOLE: usize = 64 << 10;

/// A range of bytes to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ByteRun {
    /// Relative to the compared range.
    pub range: Range<usize>,
    /// It consists of zeros, and is long enough for a hole.
    pub zeros: bool,
}

/// The blocks in which `new`, at `at` of the target, differs from `old`, which has the same length.
/// Neighbours are joined, zeros are separate.
pub fn runs(old: &[u8], new: &[u8], at: u64) -> Vec<ByteRun> {
    runs_where(new, at, |block| old[block.clone()] != new[block])
}

/// The blocks of `new` that are not zeros, for a target that consists of zeros.
pub fn runs_on_blank(new: &[u8], at: u64) -> Vec<ByteRun> {
    runs_where(new, at, |block| !is_zero(&new[block]))
}

/// All of `new`.
pub fn all(new: &[u8], at: u64) -> Vec<ByteRun> {
    runs_where(new, at, |_| true)
}

fn runs_where(new: &[u8], at: u64, wanted: impl Fn(Range<usize>) -> bool) -> Vec<ByteRun> {
    let mut runs: Vec<ByteRun> = Vec::new();
    for block in blocks(new.len(), at) {
        if !wanted(block.clone()) {
            continue;
        }
        let zeros = is_zero(&new[block.clone()]);
        match runs.last_mut() {
            Some(last) if last.range.end == block.start && last.zeros == zeros => last.range.end = block.end,
            _ => runs.push(ByteRun { range: block, zeros }),
        }
    }
    joined(runs)
}

/// Zeros that are too short for a hole count as other bytes.
fn joined(runs: Vec<ByteRun>) -> Vec<ByteRun> {
    let mut joined: Vec<ByteRun> = Vec::new();
    for run in runs {
        let zeros = run.zeros && run.range.len() >= LEAST_HOLE;
        match joined.last_mut() {
            Some(last) if last.range.end == run.range.start && last.zeros == zeros => {
                last.range.end = run.range.end;
            }
            _ => joined.push(ByteRun { zeros, ..run }),
        }
    }
    joined
}

/// The blocks in a range of `length` bytes at `at`. The first and the last may be shorter.
fn blocks(length: usize, at: u64) -> impl Iterator<Item = Range<usize>> {
    let first = BLOCK - (at % BLOCK as u64) as usize;
    let mut start = 0;
    std::iter::from_fn(move || {
        let end = if start == 0 { first } else { start + BLOCK }.min(length);
        let block = start..end;
        start = end;
        (!block.is_empty()).then_some(block)
    })
}

pub fn is_zero(bytes: &[u8]) -> bool {
    // Comparing the bytes with themselves, shifted by one, is a single memcmp.
    bytes.first().is_none_or(|first| *first == 0)
        && bytes.get(1..).is_none_or(|rest| *rest == bytes[..rest.len()])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn writing_the_runs_makes_the_old_bytes_the_new_ones_and_touches_no_block_that_is_right(
            at in 0u64..10_000,
            length in 0usize..300_000,
            flips in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 0..12),
            holes in proptest::collection::vec((any::<proptest::sample::Index>(), 0usize..150_000), 0..3),
        ) {
            let mut old = vec![7; length];
            let mut new = old.clone();
            for (index, byte) in flips.iter().filter(|_| length > 0) {
                new[index.index(length)] = *byte;
            }
            for (index, long) in holes.iter().filter(|_| length > 0) {
                let start = index.index(length);
                new[start..length.min(start + long)].fill(0);
            }
            let runs = runs(&old, &new, at);
            let blank: Vec<_> = runs_on_blank(&new, at);
            for run in &runs {
                prop_assert!(run.zeros == (is_zero(&new[run.range.clone()]) && run.range.len() >= LEAST_HOLE));
                for block in blocks(length, at).filter(|b| run.range.contains(&b.start)) {
                    prop_assert!(old[block.clone()] != new[block]);
                }
                old[run.range.clone()].copy_from_slice(&new[run.range.clone()]);
            }
            prop_assert!(old == new);
            let mut zeros = vec![0; length];
            for run in blank {
                zeros[run.range.clone()].copy_from_slice(&new[run.range]);
            }
            prop_assert!(zeros == new);
        }
    }

    #[test]
    fn blocks_stand_where_the_target_has_its_pages() {
        let blocks_of = |length, at| blocks(length, at).collect::<Vec<_>>();
        assert_eq!(blocks_of(5000, 4095), [0..1, 1..4097, 4097..5000]);
        assert_eq!(blocks_of(4097, 8192), [0..4096, 4096..4097]);
        assert!(blocks_of(0, 3).is_empty());
        assert_eq!(runs(&[0; 9000], &[0; 9000], 1), []);
    }

    #[test]
    fn short_zeros_are_written_and_long_ones_are_a_hole() {
        let mut new = vec![1; LEAST_HOLE * 4];
        new[BLOCK..2 * BLOCK].fill(0);
        new[LEAST_HOLE..2 * LEAST_HOLE].fill(0);
        let runs: Vec<_> = all(&new, 0).into_iter().map(|run| (run.range, run.zeros)).collect();
        let hole = LEAST_HOLE..2 * LEAST_HOLE;
        assert_eq!(runs, [(0..hole.start, false), (hole.clone(), true), (hole.end..new.len(), false)]);
    }
}
