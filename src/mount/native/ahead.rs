//! Reading ahead: reads that follow each other get the next chunks before they ask; reads that jump
//! about get nothing that they did not ask for.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use crossbeam_channel::{Sender, bounded};

use super::Files;
use super::fetchers::{Group, TOGETHER};
use super::lists::Span;
use crate::archive::tree::ContentId;

/// Chunks ahead of a reader at most. Each has 2 MiB as a rule, 8 at most.
const CHUNKS: usize = 12;
/// Chunks that are fetched together have no more bytes than this, unless it is one.
const BYTES: u64 = 16 << 20;
/// Reads that start this near to the last one's end follow it: the kernel's own read-ahead does not
/// come in order.
const NEAR: u64 = 4 << 20;
/// Files whose reads are followed at once.
const FOLLOWED: usize = 64;

/// The readers of an archive's files, and the way to the threads that work ahead of them.
pub struct Ahead {
    readers: Mutex<HashMap<ContentId, Reading>>,
    jobs: Sender<Group>,
}

#[derive(Default)]
struct Reading {
    end: u64,
    window: usize,
    /// Chunks before this byte were asked for.
    asked: u64,
}

impl Ahead {
    pub fn new(files: &Arc<Files>) -> Self {
        let (jobs, queue) = bounded(CHUNKS);
        files.desk.start(files, &queue);
        Ahead { readers: Mutex::default(), jobs }
    }

    /// A read of `span` begins: asks for the chunks after it, if it follows the one before.
    pub fn follow(&self, files: &Files, content: ContentId, item: u32, span: &Range<u64>) {
        let mut readers = self.readers.lock().unwrap_or_else(|e| e.into_inner());
        if readers.len() >= FOLLOWED && !readers.contains_key(&content) {
            readers.clear();
        }
        let reading = readers.entry(content).or_default();
        reading.step(span);
        let ahead = files.lists.ahead(item, span.end, reading.window);
        let ends = ahead.len() < reading.window;
        let wanted = |next: &Span| next.end > reading.asked && next.chunk.is_some();
        let next: Vec<Span> = ahead.into_iter().filter(wanted).collect();
        for group in groups(&next, reading.together(), ends) {
            // A full queue has enough to do.
            let (Some(last), Ok(())) = (group.last(), self.jobs.try_send((content, group.to_vec()))) else {
                return;
            };
            reading.asked = last.end;
        }
    }
}

impl Reading {
    fn step(&mut self, span: &Range<u64>) {
        let follows = span.start.abs_diff(self.end) < NEAR && span.start > 0;
        self.window = match follows {
            false => 0,
            true if self.window == 0 => 1,
            true => (self.window * 2).min(CHUNKS),
        };
        if !follows {
            self.asked = 0;
        }
        self.end = span.end;
    }

    /// How many chunks are asked for together.
    fn together(&self) -> usize {
        TOGETHER.min(self.window.div_ceil(2))
    }
}

/// Cuts `spans` into groups of `count`, fewer where they have many bytes. What is left waits for
/// more to come, unless the content `ends`.
fn groups(spans: &[Span], count: usize, ends: bool) -> impl Iterator<Item = &[Span]> {
    let mut rest = spans;
    std::iter::from_fn(move || {
        if rest.is_empty() || rest.len() < count && !ends {
            return None;
        }
        let mut bytes = 0;
        let fits = |span: &&Span| {
            bytes += span.end - span.start;
            bytes <= BYTES
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
        (0..count).map(|n| Span { chunk: Some(n as u32), start: n * size, end: (n + 1) * size }).collect()
    }

    fn lengths(spans: &[Span], count: usize, ends: bool) -> Vec<usize> {
        groups(spans, count, ends).map(<[Span]>::len).collect()
    }

    #[test]
    fn chunks_are_asked_for_in_groups_and_the_rest_at_the_end() {
        assert_eq!(lengths(&spans(11, 1 << 20), 4, false), [4, 4]);
        assert_eq!(lengths(&spans(11, 1 << 20), 4, true), [4, 4, 3]);
        assert_eq!(lengths(&spans(5, 6 << 20), 4, true), [2, 2, 1], "by bytes");
        assert_eq!(lengths(&spans(3, 20 << 20), 4, true), [1, 1, 1]);
        assert!(lengths(&[], 0, true).is_empty());
    }

    #[test]
    fn the_window_grows_while_reads_follow_each_other_and_is_shut_by_one_that_jumps() {
        let mut reading = Reading::default();
        let windows: Vec<usize> = (0..8)
            .map(|n| {
                reading.step(&(n << 20..(n + 1) << 20));
                reading.window
            })
            .collect();
        assert_eq!(windows, [0, 1, 2, 4, 8, 12, 12, 12]);
        reading.step(&(1 << 30..(1 << 30) + 4096));
        assert_eq!((reading.window, reading.asked), (0, 0));
    }
}
