//! A chunk that several reads want at once is fetched by the first of them.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex};

use crate::mount::source::ReadError;

type Bytes = Arc<Vec<u8>>;

/// Chunks on their way, by number.
#[derive(Default)]
pub struct Flights(Mutex<HashMap<u32, Arc<Flight>>>);

#[derive(Default)]
struct Flight {
    landed: Mutex<Option<Result<Bytes, ReadError>>>,
    changed: Condvar,
}

/// The one who fetches; whatever happens to it, those who wait are told.
struct Pilot<'a> {
    flights: &'a Flights,
    number: u32,
    flight: Arc<Flight>,
}

impl Flights {
    /// The chunk `number`: from `fetch`, or from another thread's that is under way.
    ///
    /// # Errors
    /// What the one who fetched got.
    pub fn once(
        &self,
        number: u32,
        fetch: impl FnOnce() -> Result<Vec<u8>, ReadError>,
    ) -> Result<Bytes, ReadError> {
        let mut flights = self.lock();
        if let Some(flight) = flights.get(&number).cloned() {
            drop(flights);
            return flight.wait();
        }
        let flight = Arc::new(Flight::default());
        flights.insert(number, Arc::clone(&flight));
        drop(flights);
        let pilot = Pilot { flights: self, number, flight };
        let result = fetch().map(Arc::new);
        pilot.flight.land(result.clone());
        result
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<u32, Arc<Flight>>> {
        self.0.lock().unwrap_or_else(|e| e.into_inner())
    }
}

impl Drop for Pilot<'_> {
    fn drop(&mut self) {
        self.flights.lock().remove(&self.number);
        // Counts only when nothing landed: the fetch panicked.
        self.flight.land(Err(ReadError::Failed("the fetch of a chunk broke off".into())));
    }
}

impl Flight {
    fn land(&self, result: Result<Bytes, ReadError>) {
        self.landed.lock().unwrap_or_else(|e| e.into_inner()).get_or_insert(result);
        self.changed.notify_all();
    }

    fn wait(&self) -> Result<Bytes, ReadError> {
        let landed = self.landed.lock().unwrap_or_else(|e| e.into_inner());
        let wait = self.changed.wait_while(landed, |landed| landed.is_none());
        match &*wait.unwrap_or_else(|e| e.into_inner()) {
            Some(result) => result.clone(),
            None => Err(ReadError::Failed("a chunk never came".into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[test]
    fn a_chunk_that_is_under_way_is_not_fetched_again() {
        let (flights, fetched) = (Flights::default(), AtomicU32::new(0));
        let (begun, wait) = (std::sync::Barrier::new(2), std::sync::Barrier::new(2));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                flights.once(1, || {
                    fetched.fetch_add(1, Ordering::Relaxed);
                    begun.wait();
                    wait.wait();
                    Ok(vec![5])
                })
            });
            begun.wait();
            let second = scope.spawn(|| flights.once(1, || panic!("fetched again")));
            assert_eq!(*flights.once(2, || Ok(vec![6])).unwrap(), [6], "another chunk does not wait");
            // The map has it, the one who fetches, and then the one who waits.
            while flights.lock().get(&1).is_some_and(|flight| Arc::strong_count(flight) < 3) {
                std::thread::yield_now();
            }
            wait.wait();
            assert_eq!(*second.join().unwrap().unwrap(), [5]);
        });
        assert_eq!(*flights.once(1, || Ok(vec![7])).unwrap(), [7], "it is not kept here");
        assert_eq!(fetched.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn a_fetch_that_panics_leaves_nobody_waiting() {
        let flights = Flights::default();
        let broke =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| flights.once(1, || panic!("x"))));
        assert!(broke.is_err());
        assert_eq!(*flights.once(1, || Ok(vec![1])).unwrap(), [1]);
    }
}
