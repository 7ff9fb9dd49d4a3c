//! Fetches a chunk once if several reads want it at the same time.

use std::collections::HashMap;
use std::sync::Arc;

use crate::archives::source::ReadError;
use parking_lot::{Condvar, Mutex, MutexGuard};

pub type Bytes = Arc<Vec<u8>>;

/// The current fetches, by what the cache knows the chunk by.
#[derive(Default)]
pub struct SingleFlight(Mutex<HashMap<u128, Arc<Flight>>>);

/// A chunk that is being fetched.
#[derive(Default)]
pub struct Flight {
    result: Mutex<Option<Result<Bytes, ReadError>>>,
    changed: Condvar,
}

/// The duty to fetch a chunk. Until it is dropped, nobody else fetches this chunk, and other
/// readers wait. If it is dropped without a result, their reads fail.
pub struct Leader {
    flights: Arc<SingleFlight>,
    number: u128,
    pub flight: Arc<Flight>,
}

impl SingleFlight {
    /// The duty to fetch `number`, or the fetch to wait for if somebody else has the duty.
    pub fn claim(self: &Arc<Self>, number: u128) -> Result<Leader, Arc<Flight>> {
        let mut flights = self.lock();
        if let Some(flight) = flights.get(&number) {
            return Err(Arc::clone(flight));
        }
        let flight = Arc::new(Flight::default());
        flights.insert(number, Arc::clone(&flight));
        Ok(Leader { flights: Arc::clone(self), number, flight })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u128, Arc<Flight>>> {
        self.0.lock()
    }
}

impl Drop for Leader {
    fn drop(&mut self) {
        self.flights.lock().remove(&self.number);
        // Counts only without a result: the fetch panicked, or the mount ends.
        self.flight.finish(Err(ReadError::Failed("the fetch of a chunk broke off".into())));
    }
}

impl Flight {
    /// Gives the result to all who wait. Only the first call counts.
    pub fn finish(&self, result: Result<Bytes, ReadError>) {
        self.result.lock().get_or_insert(result);
        self.changed.notify_all();
    }

    /// Waits for the chunk.
    ///
    /// # Errors
    /// The error that the fetch returned.
    pub fn wait(&self) -> Result<Bytes, ReadError> {
        let mut result = self.result.lock();
        self.changed.wait_while(&mut result, |result| result.is_none());
        match &*result {
            Some(result) => result.clone(),
            None => Err(ReadError::Failed("a chunk never came".into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_that_is_under_way_is_not_fetched_again() {
        let flights = Arc::new(SingleFlight::default());
        let leader = flights.claim(1).ok().unwrap();
        let flight = flights.claim(1).err().expect("it is under way");
        assert!(flights.claim(2).is_ok(), "another chunk does not wait");
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| flight.wait());
            leader.flight.finish(Ok(Arc::new(vec![5])));
            assert_eq!(*waiting.join().unwrap().unwrap(), [5]);
        });
        assert_eq!(*flights.claim(1).err().unwrap().wait().unwrap(), [5], "until the cache has it");
        drop(leader);
        assert!(flights.claim(1).is_ok(), "it is not kept here");
    }

    #[test]
    fn a_fetch_that_breaks_off_leaves_nobody_waiting() {
        let flights = Arc::new(SingleFlight::default());
        let leader = flights.claim(1).ok().unwrap();
        let flight = flights.claim(1).err().unwrap();
        drop(leader);
        assert!(flight.wait().is_err());
        assert!(flights.claim(1).is_ok());
    }
}
