//! The threads that fetch the chunks of an archive. Chunks that a read waits for come before those
//! that it may want next. Waiting readers get a chunk before the cache does.

use std::sync::{Arc, Weak};

use crossbeam_channel::{Receiver, Sender, select_biased, unbounded};

use super::lists::{Lists, Span};
use super::shared::Shared;
use super::single_flight::{Bytes, Leader, SingleFlight};
use crate::archive::tree::ContentId;
use crate::archives::batches;
use crate::archives::source::{CacheSink, ReadError};
use crate::archives::workers;
use borg_repository::{Error, Request};

/// A chunk to be fetched.
struct Job {
    leader: Leader,
    content: ContentId,
    /// Its position in the content.
    start: u64,
    request: Request,
}

/// Chunks that may be wanted next.
pub type Group = (ContentId, Vec<Span>);

/// Fetches the chunks of one archive.
pub struct Fetcher {
    shared: Arc<Shared>,
    lists: Arc<Lists>,
    sink: Arc<dyn CacheSink>,
    flights: Arc<SingleFlight>,
    jobs: Sender<Job>,
    queue: Receiver<Job>,
}

impl Fetcher {
    /// Starts the threads, which end with the fetcher. Requests from `ahead` are less urgent.
    pub fn start(
        shared: Arc<Shared>,
        lists: Arc<Lists>,
        sink: Arc<dyn CacheSink>,
        ahead: &Receiver<Group>,
    ) -> Arc<Fetcher> {
        let (jobs, queue) = unbounded();
        let flights = Arc::default();
        let fetcher = Arc::new(Fetcher { shared, lists, sink, flights, jobs, queue });
        for _ in 0..workers::count() {
            let (this, queue, ahead) = (Arc::downgrade(&fetcher), fetcher.queue.clone(), ahead.clone());
            let work = move || work(&this, &queue, &ahead);
            if let Err(e) = std::thread::Builder::new().name("fetch".into()).spawn(work) {
                tracing::warn!("a thread less to read with: {e}");
            }
        }
        fetcher
    }

    /// The plain bytes of the chunk at `span` of `content`, which must not be zeros.
    ///
    /// # Errors
    /// When it cannot be read, or the mount is ending.
    pub fn chunk(&self, content: ContentId, span: &Span) -> Result<Bytes, ReadError> {
        if self.shared.is_ending() {
            return Err(ReadError::Ending);
        }
        let number = self.lists.number(span, &self.shared.numbers);
        let (Some(number), Some(chunk)) = (number, self.lists.chunk(span)) else {
            return Err(ReadError::Failed("there are too many chunks".into()));
        };
        match self.flights.claim(number) {
            Err(flight) => flight.wait(),
            Ok(leader) => {
                let flight = Arc::clone(&leader.flight);
                let request = self.shared.repository.request_chunk(&chunk);
                // The queue lives as long as the fetcher, so sending cannot fail.
                let _ = self.jobs.send(Job { leader, content, start: span.start, request });
                flight.wait()
            }
        }
    }

    /// A job for a chunk that nobody fetches yet and that the cache does not have.
    fn unless_there(&self, content: ContentId, span: &Span) -> Option<Job> {
        if self.shared.is_ending() || self.sink.get(content, span.start..span.start + 1).is_some() {
            return None;
        }
        let leader = self.flights.claim(self.lists.number(span, &self.shared.numbers)?).ok()?;
        let request = self.shared.repository.request_chunk(&self.lists.chunk(span)?);
        Some(Job { leader, content, start: span.start, request })
    }

    /// Fetches chunks, answers those who wait, and then puts them into the cache.
    fn fetch(&self, jobs: Vec<Job>) {
        let (mut waiting, mut requests) = (Vec::new(), Vec::new());
        for Job { leader, content, start, request } in jobs {
            waiting.push((leader, content, start));
            requests.push(request);
        }
        let mut fetched = Vec::new();
        let chunks = self.shared.repository.receive_all(requests);
        for ((leader, content, start), chunk) in waiting.into_iter().zip(chunks) {
            let chunk = chunk.map(Arc::new).map_err(failure);
            leader.flight.finish(chunk.clone());
            fetched.extend(chunk.ok().map(|bytes| (leader, content, start, bytes)));
        }
        for (leader, content, start, bytes) in fetched {
            self.sink.put(content, start, &bytes);
            // From here on, readers find the chunk in the cache.
            drop(leader);
        }
    }
}

fn work(fetcher: &Weak<Fetcher>, queue: &Receiver<Job>, ahead: &Receiver<Group>) {
    loop {
        select_biased! {
            recv(queue) -> first => {
                let (Ok(first), Some(fetcher)) = (first, fetcher.upgrade()) else { return };
                fetcher.fetch(batches::share(first, queue));
            }
            recv(ahead) -> group => {
                let (Ok((content, spans)), Some(fetcher)) = (group, fetcher.upgrade()) else { return };
                fetcher.fetch(spans.iter().filter_map(|span| fetcher.unless_there(content, span)).collect());
            }
        }
    }
}

fn failure(error: Error) -> ReadError {
    match error {
        Error::NotFound(_) => ReadError::Gone(format!(
            "{error}: the archive was deleted while it was mounted, or the repository is damaged"
        )),
        Error::Integrity(_) => ReadError::Incomplete(error.to_string()),
        other => ReadError::Failed(crate::error::Error::from(other).chain()),
    }
}
