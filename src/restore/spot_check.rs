//! What ZFS says to be unchanged is believed, but looked at here and there: in other places each time.

use std::ops::Range;

use ring::rand::{SecureRandom, SystemRandom};

use crate::archive::ranges::{self, common};
use crate::archives::chunks::Chunks;
use crate::error::{Error, Result};
use crate::process::interrupt;
use crate::tools::target::buffer::Buffer;
use crate::tools::target::open::Target;
use crate::tools::target::runs::is_zero;

/// One byte of so many is looked at, ...
const PART: u64 = 200;
/// ... in so many places at least, and at most.
const LEAST: usize = 16;
const MOST: usize = 256;
/// Of a place that has no chunk, so much; also where the bytes come as a stream.
const LENGTH: u64 = 256 << 10;
/// How often a place is sought for one that is found.
const TRIES: usize = 8;

/// What a look at the chunks came to.
pub struct Looked {
    /// Bytes of the target.
    pub read: u64,
    /// The first stretch that is not what the archive has.
    pub wrong: Option<Range<u64>>,
}

/// Holds chunks of `target` that have nothing in common with `may_differ`, [merged](ranges::merge),
/// against their ids.
///
/// # Errors
/// When the target cannot be read, and on a signal.
pub fn look(chunks: &Chunks, target: &Target, may_differ: &[Range<u64>]) -> Result<Looked> {
    let (size, mut buffer) = (target.size(), Buffer::default());
    let mut looked = Looked { read: 0, wrong: None };
    let mut places = 0;
    for at in offsets(size)? {
        if places >= MOST || places >= LEAST && looked.read >= size / PART {
            break;
        }
        interrupt::check()?;
        let Some(piece) = chunks.meeting(&(at..at + 1)).next().transpose()? else { continue };
        let range = match piece.chunk {
            Some(_) => piece.range,
            None => at..piece.range.end.min(at + LENGTH),
        };
        if !common(may_differ, &range).is_empty() {
            continue;
        }
        places += 1;
        let bytes = target.read(&mut buffer, &range)?;
        looked.read += bytes.len() as u64;
        let is_right = match piece.chunk {
            Some(chunk) => chunks.matches(&[(chunk, bytes)]) == [true],
            None => is_zero(bytes),
        };
        if !is_right {
            looked.wrong = Some(range);
            break;
        }
    }
    Ok(looked)
}

/// Places of a target of `size` bytes at which a stream is to be held against it, sorted and apart from each
/// other and from `may_differ`.
///
/// # Errors
/// When there are no random numbers.
pub fn places(size: u64, may_differ: &[Range<u64>]) -> Result<Vec<Range<u64>>> {
    let wanted = ((size / PART / LENGTH) as usize).clamp(LEAST, MOST);
    let ranges = offsets(size)?.map(|at| at..size.min(at + LENGTH));
    let unchanged = ranges.filter(|range| common(may_differ, range).is_empty());
    Ok(ranges::merge(unchanged.take(wanted).collect()))
}

/// Random bytes of `size`.
fn offsets(size: u64) -> Result<impl Iterator<Item = u64>> {
    let mut random = vec![0; 8 * MOST * TRIES];
    SystemRandom::new().fill(&mut random).map_err(|_| Error::failed("cannot get random numbers"))?;
    let numbers: Vec<u64> = random
        .chunks_exact(8)
        .map(|eight| eight.iter().fold(0, |n, byte| n << 8 | u64::from(*byte)))
        .collect();
    Ok(numbers.into_iter().filter_map(move |n| n.checked_rem(size)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_places_are_others_each_time_and_few_and_none_is_where_something_may_differ() {
        let size = 1 << 30;
        let may_differ = [0..size / 4, size / 2..size / 2 + 1];
        let one = places(size, &may_differ).unwrap();
        assert!(one.len() > LEAST / 2 && one.len() <= MOST);
        assert!(one.iter().all(|range| common(&may_differ, range).is_empty() && range.end <= size));
        assert_ne!(one, places(size, &may_differ).unwrap());
        let all = std::iter::once(0..size).collect::<Vec<_>>();
        assert!(places(size, &all).unwrap().is_empty());
        assert!(places(0, &[]).unwrap().is_empty());
    }
}
