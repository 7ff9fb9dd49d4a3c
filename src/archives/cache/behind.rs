//! Writes frames to the scratch behind those who read: nobody waits for it. Frames that come faster than
//! they can be written are dropped.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, bounded};
use parking_lot::Mutex;

use super::scratch::Scratch;
use crate::archives::source::{FRAME, Key};

/// Frames that wait: up to 16 MiB.
const WAITING: usize = (16 << 20) / FRAME as usize;

/// A part of a chunk.
type Frame = (Arc<Vec<u8>>, Range<usize>);

/// Frames on their way to the scratch.
pub struct Behind {
    queue: Sender<Key>,
    waiting: Arc<Mutex<HashMap<Key, Frame>>>,
}

impl Behind {
    /// `None` if no thread can be started.
    pub fn new(scratch: &Arc<Scratch>) -> Option<Self> {
        let (queue, taken): (_, Receiver<Key>) = bounded(WAITING);
        let waiting: Arc<Mutex<HashMap<Key, Frame>>> = Arc::default();
        let (scratch, frames) = (Arc::clone(scratch), Arc::clone(&waiting));
        let write = move || {
            for key in taken {
                let frame = frames.lock().get(&key).cloned();
                if let Some((bytes, range)) = frame {
                    scratch.put(key, &bytes[range]);
                    frames.lock().remove(&key);
                }
            }
        };
        std::thread::Builder::new().name("scratch".into()).spawn(write).ok()?;
        Some(Behind { queue, waiting })
    }

    /// Keeps the frame if there is room.
    pub fn put(&self, key: Key, bytes: &Arc<Vec<u8>>, range: Range<usize>) {
        self.waiting.lock().insert(key, (Arc::clone(bytes), range));
        if self.queue.try_send(key).is_err() {
            self.waiting.lock().remove(&key);
        }
    }

    /// Appends `range` of the frame to `out` and returns true, or leaves `out` unchanged.
    pub fn read(&self, key: Key, range: &Range<usize>, out: &mut Vec<u8>) -> bool {
        let frame = self.waiting.lock().get(&key).cloned();
        let Some((bytes, within)) = frame else { return false };
        match bytes[within].get(range.clone()) {
            Some(part) => {
                out.extend_from_slice(part);
                true
            }
            None => false,
        }
    }

    pub fn has(&self, key: Key) -> bool {
        self.waiting.lock().contains_key(&key)
    }
}
