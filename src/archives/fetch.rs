//! Chunks on their way to those who write them: each is fetched once, however many places want it at that time
//! (single-flight), and several are opened together.
//!
//! Nobody waits for a chunk: whoever wants it leaves a note of where it goes, and whoever takes it from the line gets
//! all notes. So a bounded queue cannot block itself. (A mount is different: its readers wait for bytes, and what may
//! be wanted next must not delay them. See `native/fetcher`.)

use std::collections::HashMap;

use borg_repository::{Chunk, Id, Request};
use crossbeam_channel::{Receiver, Sender, bounded};
use parking_lot::Mutex;

use super::batches;
use super::contents::Contents;
use crate::error::{Error, Result};

/// Chunks that are on their way, with notes of who wants them.
pub struct Flights<N>(Mutex<HashMap<(Id, u32), Vec<N>>>);

/// Asks for chunks.
pub struct Asker<'f, N> {
    contents: &'f Contents,
    flights: &'f Flights<N>,
    asked: Sender<(Chunk, Request)>,
}

/// Takes chunks as they come, until there is no [`Asker`] any more.
pub struct Taker<'f, N> {
    contents: &'f Contents,
    flights: &'f Flights<N>,
    coming: Receiver<(Chunk, Request)>,
}

/// A chunk that came, or why it never will.
pub struct Landed<N> {
    pub chunk: Chunk,
    pub bytes: Result<Vec<u8>, Error>,
    /// Who wants it.
    pub notes: Vec<N>,
}

impl<N> Default for Flights<N> {
    fn default() -> Self {
        Flights(Mutex::default())
    }
}

impl<N> Flights<N> {
    /// The two ends; `most` chunks are on their way at once, besides those that are being opened.
    pub fn ends<'f>(&'f self, contents: &'f Contents, most: usize) -> (Asker<'f, N>, Taker<'f, N>) {
        let (asked, coming) = bounded(most);
        (Asker { contents, flights: self, asked }, Taker { contents, flights: self, coming })
    }

    /// Leaves a note; whether the chunk is not on its way yet.
    fn join(&self, chunk: &Chunk, note: N) -> bool {
        let mut flights = self.0.lock();
        let notes = flights.entry((chunk.id, chunk.size)).or_default();
        notes.push(note);
        notes.len() == 1
    }

    /// The chunk came: all notes. Whoever wants it from now on asks again.
    fn land(&self, chunk: &Chunk) -> Vec<N> {
        self.0.lock().remove(&(chunk.id, chunk.size)).unwrap_or_default()
    }
}

impl<N> Asker<'_, N> {
    /// Asks for `chunk`, unless it is on its way. Blocks while too many are.
    pub fn want(&self, chunk: &Chunk, note: N) {
        if self.flights.join(chunk, note) {
            // Where nobody takes it any more, that is because of an error, which is told.
            let _ = self.asked.send((*chunk, self.contents.request(chunk)));
        }
    }
}

impl<N> Taker<'_, N> {
    /// The next chunks that came; none at the end.
    ///
    /// # Errors
    /// When the connection is gone, or something of this machine fails.
    pub fn take(&self) -> Result<Vec<Landed<N>>> {
        let Ok(first) = self.coming.recv() else { return Ok(Vec::new()) };
        let (chunks, requests): (Vec<_>, Vec<_>) = batches::share(first, &self.coming).into_iter().unzip();
        let received = self.contents.receive_what_is_right(requests)?;
        let landed = |(chunk, bytes)| Landed { notes: self.flights.land(&chunk), chunk, bytes };
        Ok(chunks.into_iter().zip(received).map(landed).collect())
    }
}

impl<N> Clone for Asker<'_, N> {
    fn clone(&self) -> Self {
        Asker { contents: self.contents, flights: self.flights, asked: self.asked.clone() }
    }
}

impl<N> Clone for Taker<'_, N> {
    fn clone(&self) -> Self {
        Taker { contents: self.contents, flights: self.flights, coming: self.coming.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_that_is_on_its_way_is_not_asked_for_again() {
        let chunk = |id: u8, size| Chunk { id: Id([id; 32]), size, stored: 1 };
        let flights = Flights::default();
        assert!(flights.join(&chunk(1, 5), "a"));
        assert!(!flights.join(&chunk(1, 5), "b"));
        assert!(flights.join(&chunk(2, 5), "c") && flights.join(&chunk(1, 6), "d"));
        assert_eq!(flights.land(&chunk(1, 5)), ["a", "b"]);
        assert!(flights.join(&chunk(1, 5), "e"), "it is not kept here");
        assert_eq!(flights.land(&chunk(2, 5)), ["c"]);
        assert!(flights.land(&chunk(3, 5)).is_empty());
    }
}
