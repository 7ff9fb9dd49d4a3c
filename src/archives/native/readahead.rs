//! Reads ahead: sequential reads get the next chunks before they ask for them; random reads get
//! only what they ask for.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use super::spans::{self, Span};
use crate::archive::tree::{ContentId, Tree};
use crate::archives::source::Keep;
use parking_lot::Mutex;

/// The most chunks ahead of a reader. A chunk usually has 2 MiB, at most 8.
const CHUNKS: usize = 20;
/// The most bytes ahead of a reader.
const BYTES: u64 = 20 << 20;
/// The chunks of a group, and their bytes unless one alone has more: so many are hashed side by side, and
/// all threads together do not have much in memory.
const GROUP: (usize, u64) = (4, 8 << 20);
/// Whoever read so many bytes in a row reads on to the end, and does not come back soon.
const LONG: u64 = 16 << 20;
/// A read that starts this close to the end of the last one continues it: the kernel's own
/// readahead arrives out of order.
const NEAR: u64 = 4 << 20;
/// How many files are followed at once.
const FOLLOWED: usize = 64;
/// How many places of a file are followed at once: a file system in an image is read in its tables,
/// directories and files by turns.
const HEADS: usize = 8;

/// Follows the readers of an archive's files, and requests what they may want next.
pub struct Readahead {
    tree: Arc<Tree>,
    readers: Mutex<HashMap<ContentId, Reading>>,
    /// Chunks cost little to get again: those of a long run are not kept on disk.
    is_local: bool,
}

/// The heads of a file, the last moved one at the end.
#[derive(Default)]
struct Reading(Vec<Head>);

/// A place in a file at which reads continue.
#[derive(Default)]
struct Head {
    /// The byte up to which it was read.
    end: u64,
    /// The bytes that were read in a row. Twice as many are read ahead.
    run: u64,
    /// All chunks before this byte were requested.
    asked: u64,
}

impl Readahead {
    pub fn new(tree: Arc<Tree>, is_local: bool) -> Self {
        Readahead { tree, readers: Mutex::default(), is_local }
    }

    /// A read of `span` begins. If it continues another, passes the chunks after it to `ask`, which returns
    /// false if it has enough to do. Returns where what is read is to be kept.
    pub fn follow(
        &self,
        content: ContentId,
        span: &Range<u64>,
        ask: &mut dyn FnMut(Vec<Span>, Keep) -> bool,
    ) -> Keep {
        let mut readers = self.readers.lock();
        if readers.len() >= FOLLOWED && !readers.contains_key(&content) {
            readers.clear();
        }
        let head = readers.entry(content).or_default().step(span);
        let keep = if self.is_local && head.run >= LONG { Keep::InMemory } else { Keep::OnDisk };
        let horizon = head.end + (2 * head.run).min(BYTES);
        if head.run == 0 || head.asked >= horizon {
            return keep;
        }
        let known = spans::ahead(&self.tree, content, head.end, CHUNKS);
        let near = known.iter().take_while(|next| next.start < horizon).count();
        let ends = near == known.len() && near < CHUNKS;
        let wanted = |next: &&Span| next.end > head.asked && next.chunk.is_some();
        let next: Vec<Span> = known.iter().take(near).filter(wanted).cloned().collect();
        for group in groups(&next, GROUP.0.min(near.div_ceil(2)), ends) {
            let Some(last) = group.last().filter(|_| ask(group.to_vec(), keep)) else { return keep };
            head.asked = last.end;
        }
        keep
    }
}

impl Reading {
    /// The head that a read of `span` moves; a new one if no head is near.
    fn step(&mut self, span: &Range<u64>) -> &mut Head {
        let Reading(heads) = self;
        let mut head = match heads.iter().position(|head| span.start.abs_diff(head.end) < NEAR) {
            Some(at) => heads.remove(at),
            None => Head { end: span.end, ..Head::default() },
        };
        head.run += span.end.saturating_sub(head.end).min(span.end - span.start);
        head.end = head.end.max(span.end);
        if heads.len() == HEADS {
            heads.remove(0);
        }
        heads.push(head);
        let last = heads.len() - 1;
        &mut heads[last]
    }
}

/// Divides `spans` into groups of `count`, or fewer if they have many bytes. The rest waits for
/// more spans, unless the content `ends`.
fn groups(spans: &[Span], count: usize, ends: bool) -> impl Iterator<Item = &[Span]> {
    let mut rest = spans;
    std::iter::from_fn(move || {
        if rest.is_empty() || rest.len() < count && !ends {
            return None;
        }
        let mut bytes = 0;
        let fits = |span: &&Span| {
            bytes += span.end - span.start;
            bytes <= GROUP.1
        };
        let length = rest.iter().take(count).take_while(fits).count().max(1);
        let (group, after) = rest.split_at(length);
        rest = after;
        Some(group)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spans(count: u64, size: u64) -> Vec<Span> {
        (0..count).map(|n| Span { chunk: None, start: n * size, end: (n + 1) * size }).collect()
    }

    fn lengths(spans: &[Span], count: usize, ends: bool) -> Vec<usize> {
        groups(spans, count, ends).map(<[Span]>::len).collect()
    }

    #[test]
    fn chunks_are_asked_for_in_groups_and_the_rest_at_the_end() {
        assert_eq!(lengths(&spans(11, 1 << 20), 4, false), [4, 4]);
        assert_eq!(lengths(&spans(11, 1 << 20), 4, true), [4, 4, 3]);
        assert_eq!(lengths(&spans(5, 3 << 20), 4, true), [2, 2, 1], "by bytes");
        assert_eq!(lengths(&spans(3, 20 << 20), 4, true), [1, 1, 1]);
        assert!(lengths(&[], 0, true).is_empty());
    }

    #[test]
    fn more_is_read_ahead_the_longer_reads_follow_each_other_and_nothing_for_one_that_jumps() {
        let mut reading = Reading::default();
        let mut run = |start: u64, length: u64| reading.step(&(start..start + length)).run;
        let runs: Vec<u64> = (0..4).map(|n| run(n << 20, 1 << 20)).collect();
        assert_eq!(runs, [0, 1 << 20, 2 << 20, 3 << 20]);
        assert_eq!(run(1 << 30, 4096), 0);
        assert_eq!(run(5 << 20, 4096), (3 << 20) + 4096, "the one from before goes on");
        assert_eq!(run(5 << 20, 4096), (3 << 20) + 4096, "what was read before is no way ahead");
    }

    #[test]
    fn the_head_that_has_not_moved_for_longest_makes_way() {
        let mut reading = Reading::default();
        for n in 0..HEADS as u64 {
            reading.step(&(n << 30..(n << 30) + 4096));
        }
        assert_eq!(reading.step(&(4096..8192)).run, 4096);
        reading.step(&(1 << 40..(1 << 40) + 1));
        assert_eq!(reading.0.len(), HEADS);
        assert_eq!(reading.step(&(8192..8200)).run, 4104, "it moved");
        assert_eq!(reading.step(&((1 << 30) + 4096..(1 << 30) + 8192)).run, 0, "it did not");
    }
}
