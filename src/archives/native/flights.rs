//! A chunk that several reads want at once is fetched for the first of them.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::archives::source::ReadError;

pub type Bytes = Arc<Vec<u8>>;

/// Chunks on their way, by number.
#[derive(Default)]
pub struct Flights(Mutex<HashMap<u32, Arc<Flight>>>);

/// A chunk on its way.
#[derive(Default)]
pub struct Flight {
    landed: Mutex<Option<Result<Bytes, ReadError>>>,
    changed: Condvar,
}

/// The duty to fetch a chunk. Until it is dropped nobody else fetches it, and those who want it
/// wait; whatever happens to it, they are told.
pub struct Pilot {
    flights: Arc<Flights>,
    number: u32,
    pub flight: Arc<Flight>,
}

impl Flights {
    /// The duty to fetch `number`; or the flight on which it is.
    pub fn claim(self: &Arc<Self>, number: u32) -> Result<Pilot, Arc<Flight>> {
        let mut flights = self.lock();
        if let Some(flight) = flights.get(&number) {
            return Err(Arc::clone(flight));
        }
        let flight = Arc::new(Flight::default());
        flights.insert(number, Arc::clone(&flight));
        Ok(Pilot { flights: Arc::clone(self), number, flight })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u32, Arc<Flight>>> {
        self.0.lock()
    }
}

impl Drop for Pilot {
    fn drop(&mut self) {
        self.flights.lock().remove(&self.number);
        // Counts only when nothing landed: the fetch panicked, or the mount ends.
        self.flight.land(Err(ReadError::Failed("the fetch of a chunk broke off".into())));
    }
}

impl Flight {
    /// Gives what was fetched to all who wait.
    pub fn land(&self, result: Result<Bytes, ReadError>) {
        self.landed.lock().get_or_insert(result);
        self.changed.notify_all();
    }

    /// The chunk, when it is there.
    ///
    /// # Errors
    /// What the one who fetched got.
    pub fn wait(&self) -> Result<Bytes, ReadError> {
        let mut landed = self.landed.lock();
        self.changed.wait_while(&mut landed, |landed| landed.is_none());
        match &*landed {
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
        let flights = Arc::new(Flights::default());
        let pilot = flights.claim(1).ok().unwrap();
        let flight = flights.claim(1).err().expect("it is under way");
        assert!(flights.claim(2).is_ok(), "another chunk does not wait");
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| flight.wait());
            pilot.flight.land(Ok(Arc::new(vec![5])));
            assert_eq!(*waiting.join().unwrap().unwrap(), [5]);
        });
        assert_eq!(*flights.claim(1).err().unwrap().wait().unwrap(), [5], "until the cache has it");
        drop(pilot);
        assert!(flights.claim(1).is_ok(), "it is not kept here");
    }

    #[test]
    fn a_fetch_that_breaks_off_leaves_nobody_waiting() {
        let flights = Arc::new(Flights::default());
        let pilot = flights.claim(1).ok().unwrap();
        let flight = flights.claim(1).err().unwrap();
        drop(pilot);
        assert!(flight.wait().is_err());
        assert!(flights.claim(1).is_ok());
    }
}
