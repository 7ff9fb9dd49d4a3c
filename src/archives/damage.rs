//! The lost bytes of a file, and the reason.

use std::ops::Range;

use borg_repository::{ChunkLists, ItemPath};
use serde::Serialize;
use serde::ser::SerializeSeq;

use crate::archive::ranges;
use crate::error::Error;

pub const REPAIRED: &str = "`borg check --repair` put zeros in the place of chunks that were lost";
/// The most ranges that are kept for a file.
const MOST_RANGES: usize = 10_000;
/// The most ranges and files that a message names.
const SHOWN: usize = 20;

/// A file that lost bytes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Damaged {
    #[serde(serialize_with = "text")]
    pub path: ItemPath,
    /// Sorted, without overlaps.
    #[serde(serialize_with = "pairs")]
    pub ranges: Vec<Range<u64>>,
    pub why: String,
}

impl Damaged {
    /// For people.
    pub fn message(&self) -> String {
        let ranges: Vec<String> = self.ranges.iter().take(SHOWN).map(in_bytes).collect();
        let more = match self.ranges.len().saturating_sub(SHOWN) {
            0 => String::new(),
            more => format!(" and {more} more ranges"),
        };
        format!("{} {}{more}: {}", self.path, ranges.join(", "), self.why)
    }
}

fn in_bytes(range: &Range<u64>) -> String {
    format!("bytes {} to {} ({})", range.start, range.end, size(range.end - range.start))
}

/// `1.5 MB`
fn size(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.1} GB", bytes as f64 / 1e9),
    }
}

/// Adds a hint to `error` for each of the first files.
pub fn named(error: Error, damaged: &[Damaged]) -> Error {
    let error = damaged
        .iter()
        .take(SHOWN)
        .fold(error, |error, file| error.hint(format!("damaged: {}", file.message())));
    match damaged.len().saturating_sub(SHOWN) {
        0 => error,
        more => error.hint(format!("and {more} more files")),
    }
}

/// The ranges that `borg check --repair` filled with zeros.
pub fn repaired(lists: &ChunkLists) -> Vec<Range<u64>> {
    let mut at = 0;
    let mut ranges = Vec::new();
    for (n, chunk) in lists.chunks.iter().enumerate() {
        let end = at + u64::from(chunk.size);
        if lists.healthy.get(n).is_none_or(|healthy| healthy.id != chunk.id) {
            ranges.push(at..end);
        }
        at = end;
    }
    ranges::merge(ranges)
}

fn text<S: serde::Serializer>(path: &ItemPath, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(path)
}

fn pairs<S: serde::Serializer>(ranges: &[Range<u64>], serializer: S) -> Result<S::Ok, S::Error> {
    let mut list = serializer.serialize_seq(None)?;
    ranges
        .iter()
        .take(MOST_RANGES)
        .try_for_each(|range| list.serialize_element(&[range.start, range.end]))?;
    list.end()
}

#[cfg(test)]
mod tests {
    use super::*;
    use borg_repository::{Chunk, Id};

    #[test]
    fn after_a_repair_the_chunks_that_were_exchanged_are_the_damage() {
        let chunk = |id: u8, size| Chunk { id: Id([id; 32]), size, stored: 1 };
        let chunks = vec![chunk(1, 10), chunk(0, 20), chunk(0, 5), chunk(4, 7)];
        let healthy = vec![chunk(1, 10), chunk(2, 20), chunk(3, 5), chunk(4, 7)];
        assert_eq!(repaired(&ChunkLists { chunks, healthy }), vec![10..35; 1]);
    }

    #[test]
    fn it_is_told_in_bytes_and_as_pairs() {
        let path = ItemPath::new(b"a/b").unwrap();
        let file = Damaged { path, ranges: vec![0..10, 2000..4000], why: "gone".into() };
        assert_eq!(file.message(), "a/b bytes 0 to 10 (10 B), bytes 2000 to 4000 (2.0 kB): gone");
        let json = serde_json::to_value(&file).unwrap();
        assert_eq!(
            json,
            serde_json::json!({"path": "a/b", "ranges": [[0, 10], [2000, 4000]], "why": "gone"})
        );
    }
}
