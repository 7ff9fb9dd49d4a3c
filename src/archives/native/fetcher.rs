//! The threads that fetch chunks. Chunks that a read waits for come before those
//! that it may want next. Waiting readers get a chunk before the cache does.

use std::sync::{Arc, Weak};

use crossbeam_channel::{Receiver, Sender, bounded, select_biased, unbounded};

use super::shared::Shared;
use super::single_flight::{Bytes, Leader, SingleFlight};
use super::spans::{Span, whole};
use crate::archives::batches;
use crate::archives::source::{CacheSink, Keep, ReadError};
use crate::archives::workers;
use borg_repository::{Error, Request};

/// Groups of chunks that may be wanted next, for all readers.
const GROUPS: usize = 20;

/// A chunk to be fetched.
struct Job {
    leader: Leader,
    whole: u128,
    keep: Keep,
    request: Request,
    sink: Arc<dyn CacheSink>,
}

/// Chunks that may be wanted next, and where they go.
pub struct Group {
    pub spans: Vec<Span>,
    pub keep: Keep,
    pub sink: Arc<dyn CacheSink>,
}

/// Fetches chunks, for all archives of a repository.
pub struct Fetcher {
    shared: Arc<Shared>,
    flights: Arc<SingleFlight>,
    jobs: Sender<Job>,
    queue: Receiver<Job>,
    ahead: Sender<Group>,
}

impl Fetcher {
    /// Starts the threads, which end with the fetcher.
    pub fn start(shared: Arc<Shared>) -> Arc<Fetcher> {
        let (jobs, queue) = unbounded();
        let (ahead, groups) = bounded(GROUPS);
        let flights = Arc::default();
        let fetcher = Arc::new(Fetcher { shared, flights, jobs, queue, ahead });
        for _ in 0..workers::count() {
            let (this, queue, ahead) = (Arc::downgrade(&fetcher), fetcher.queue.clone(), groups.clone());
            let work = move || work(&this, &queue, &ahead);
            if let Err(e) = std::thread::Builder::new().name("fetch".into()).spawn(work) {
                tracing::warn!("a thread less to read with: {e}");
            }
        }
        fetcher
    }

    /// Asks for chunks that may be wanted next. False if there is enough to do.
    pub fn ahead(&self, group: Group) -> bool {
        self.ahead.try_send(group).is_ok()
    }

    /// The plain bytes of the chunk at `span`, which must not be zeros. They also go into `sink`.
    ///
    /// # Errors
    /// When it cannot be read, or the mount is ending.
    pub fn chunk(&self, span: &Span, keep: Keep, sink: &Arc<dyn CacheSink>) -> Result<Bytes, ReadError> {
        if self.shared.is_ending() {
            return Err(ReadError::Ending);
        }
        let Some(chunk) = &span.chunk else {
            return Err(ReadError::Failed("zeros are not fetched".into()));
        };
        let whole = whole(chunk);
        match self.flights.claim(whole) {
            Err(flight) => flight.wait(),
            Ok(leader) => {
                let flight = Arc::clone(&leader.flight);
                let request = self.shared.repository.request_chunk(chunk);
                // The queue lives as long as the fetcher, so sending cannot fail.
                let _ = self.jobs.send(Job { leader, whole, keep, request, sink: Arc::clone(sink) });
                flight.wait()
            }
        }
    }

    /// A job for a chunk that nobody fetches yet and that the cache does not have.
    fn unless_there(&self, span: &Span, keep: Keep, sink: &Arc<dyn CacheSink>) -> Option<Job> {
        let chunk = span.chunk.as_ref()?;
        let whole = whole(chunk);
        if self.shared.is_ending() || sink.has_whole(whole) {
            return None;
        }
        let leader = self.flights.claim(whole).ok()?;
        let request = self.shared.repository.request_chunk(chunk);
        Some(Job { leader, whole, keep, request, sink: Arc::clone(sink) })
    }

    /// Fetches chunks, answers those who wait, and then puts them into the cache.
    fn fetch(&self, jobs: Vec<Job>) {
        let (mut waiting, mut requests) = (Vec::new(), Vec::new());
        for Job { leader, whole, keep, request, sink } in jobs {
            waiting.push((leader, whole, keep, sink));
            requests.push(request);
        }
        let chunks = self.shared.repository.receive_all(requests);
        for ((leader, whole, keep, sink), chunk) in waiting.into_iter().zip(chunks) {
            let chunk = chunk.map(Arc::new).map_err(failure);
            leader.flight.finish(chunk.clone());
            if let Ok(bytes) = chunk {
                sink.put_whole(whole, &bytes, keep);
            }
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
                let (Ok(Group { spans, keep, sink }), Some(fetcher)) = (group, fetcher.upgrade()) else { return };
                let wanted = spans.iter().filter_map(|span| fetcher.unless_there(span, keep, &sink));
                fetcher.fetch(wanted.collect());
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
