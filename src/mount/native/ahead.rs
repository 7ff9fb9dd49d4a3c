//! Reading ahead: reads that follow each other get the next chunks before they ask; reads that jump
//! about get nothing that they did not ask for.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use crossbeam_channel::{Sender, bounded};

use super::Files;
use super::lists::Span;
use crate::archive::tree::ContentId;

/// Chunks ahead of a reader at most. Each has 2 MiB as a rule, 8 at most.
const CHUNKS: usize = 6;
/// Reads that start this near to the last one's end follow it: the kernel's own read-ahead does not
/// come in order.
const NEAR: u64 = 4 << 20;
/// Threads that read ahead: one processor is left to the reader.
const THREADS: usize = 2;
/// Files whose reads are followed at once.
const FOLLOWED: usize = 64;

/// The readers of an archive's files, and the threads that work ahead of them.
pub struct Ahead {
    readers: Mutex<HashMap<ContentId, Reading>>,
    jobs: Sender<(ContentId, Span)>,
}

struct Reading {
    end: u64,
    window: usize,
    /// Chunks before this byte were asked for.
    asked: u64,
}

impl Ahead {
    pub fn new(files: &Arc<Files>) -> Self {
        let (jobs, queue) = bounded::<(ContentId, Span)>(2 * CHUNKS);
        for _ in 0..THREADS {
            let (files, queue) = (Arc::downgrade(files), queue.clone());
            let work = move || {
                for (content, span) in queue {
                    let Some(files) = files.upgrade() else { return };
                    if files.kept.get(content, span.start..span.start + 1).is_none() {
                        // What fails here fails again, and is told, when it is read.
                        let _ = files.chunk(content, &span);
                    }
                }
            };
            // Without them it is only slower.
            let _ = std::thread::Builder::new().name("ahead".into()).spawn(work);
        }
        Ahead { readers: Mutex::default(), jobs }
    }

    /// A read of `span` begins: asks for the chunks after it, if it follows the one before.
    pub fn follow(&self, files: &Files, content: ContentId, item: u32, span: &Range<u64>) {
        let mut readers = self.readers.lock().unwrap_or_else(|e| e.into_inner());
        if readers.len() >= FOLLOWED && !readers.contains_key(&content) {
            readers.clear();
        }
        let fresh = Reading { end: 0, window: 0, asked: 0 };
        let reading = readers.entry(content).or_insert(fresh);
        let follows = span.start.abs_diff(reading.end) < NEAR && span.start > 0;
        reading.window = if follows { (reading.window * 2).clamp(1, CHUNKS) } else { 0 };
        if !follows {
            reading.asked = 0;
        }
        reading.end = span.end;
        let (mut at, window) = (span.end, reading.window);
        for _ in 0..window {
            let Some(next) = files.lists.span(item, at) else { break };
            at = next.end;
            if next.end <= reading.asked || next.chunk.is_none() {
                continue;
            }
            // A full queue has enough to do.
            if self.jobs.try_send((content, next)).is_err() {
                break;
            }
            reading.asked = at;
        }
    }
}
