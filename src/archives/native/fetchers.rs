//! The threads that fetch chunks: those that a read waits for before those that it may want next.
//! They take several at once where as many are wanted: so many are hashed side by side in less than
//! half the time. Whoever waits is answered before the chunk is put into the cache.

use std::sync::{Arc, Weak};

use borg_repository::Request;
use crossbeam_channel::{Receiver, Sender, select_biased, unbounded};

use super::Files;
use super::flights::Pilot;
use super::lists::Span;
use crate::archive::tree::ContentId;

/// Chunks that are fetched together at most: twice as many as are hashed side by side, so that a long
/// one is not hashed alone for long.
pub const TOGETHER: usize = 8;
/// Threads: one for each processor, but no more, since each holds up to eight chunks.
const MOST_THREADS: usize = 8;

/// A chunk that was asked for.
pub struct Job {
    pub pilot: Pilot,
    pub content: ContentId,
    /// Where it stands in the content.
    pub start: u64,
    pub request: Request,
}

/// Chunks that may be wanted next.
pub type Group = (ContentId, Vec<Span>);

/// The way to the threads.
pub struct Desk {
    jobs: Sender<Job>,
    queue: Receiver<Job>,
}

impl Desk {
    pub fn new() -> Self {
        let (jobs, queue) = unbounded();
        Desk { jobs, queue }
    }

    /// Starts the threads; they end when `files` is gone. What comes on `ahead` has time.
    pub fn start(&self, files: &Arc<Files>, ahead: &Receiver<Group>) {
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(MOST_THREADS);
        for _ in 0..threads {
            let (files, queue, ahead) = (Arc::downgrade(files), self.queue.clone(), ahead.clone());
            let work = move || work(&files, &queue, &ahead, threads);
            if let Err(e) = std::thread::Builder::new().name("fetch".into()).spawn(work) {
                tracing::warn!("a thread less to read with: {e}");
            }
        }
    }

    /// Hands a job over.
    pub fn put(&self, job: Job) {
        // The queue is here, too: it cannot be gone.
        let _ = self.jobs.send(job);
    }
}

fn work(files: &Weak<Files>, queue: &Receiver<Job>, ahead: &Receiver<Group>, threads: usize) {
    loop {
        select_biased! {
            recv(queue) -> first => {
                let (Ok(first), Some(files)) = (first, files.upgrade()) else { return };
                // Not more than a fair share, so that no other thread is idle.
                let share = (queue.len() / threads).min(TOGETHER - 1);
                files.fetch(std::iter::once(first).chain(queue.try_iter().take(share)).collect());
            }
            recv(ahead) -> group => {
                let (Ok((content, spans)), Some(files)) = (group, files.upgrade()) else { return };
                files.fetch(spans.iter().filter_map(|span| files.unless_there(content, span)).collect());
            }
        }
    }
}
