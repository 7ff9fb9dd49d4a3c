//! Calls over a connection to a server. Calls are sent at once, and a thread reads the answers.

use std::collections::HashMap;
use std::io::Write;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use super::connection::Connection;
use super::message::{self, Answer, Messages, Value};
use crate::error::{Error, Result};

/// The most calls in flight: small objects need many on a connection with a long round trip (borg's own client has 100). A call
/// has some 60 bytes, so all of them fit into a pipe of 64 KiB, and neither side blocks the other when both write.
const MOST_CALLS: usize = 1000;
/// The most bytes of expected answers.
const MOST_BYTES: usize = 32 << 20;
/// How often a waiting caller checks for a stall.
const LOOK: Duration = Duration::from_millis(500);

/// A connection. Dropping it ends the server's input, and then drops the holder. The thread ends
/// with the server's output.
pub struct Client {
    sending: Mutex<Sending>,
    shared: Arc<Shared>,
    /// Dropped after the writer in `sending`.
    _holder: Box<dyn Send + Sync>,
}

struct Sending {
    writer: Box<dyn Write + Send>,
    next: u64,
}

struct Shared {
    state: Mutex<ConnectionState>,
    /// An answer arrived, or the connection is dead.
    changed: Condvar,
}

struct ConnectionState {
    waiting: HashMap<u64, Waiting>,
    /// The expected bytes of outstanding answers.
    bytes: usize,
    /// When bytes last arrived.
    arrived: Instant,
    /// The reason why the connection is dead.
    dead: Option<String>,
}

struct Waiting {
    answer: Sender<Answer>,
    bytes: usize,
}

/// A call that was sent.
pub struct Call {
    answer: Receiver<Answer>,
    shared: Arc<Shared>,
    sent: Instant,
    stall: Duration,
}

impl Client {
    /// # Errors
    /// When the thread cannot be started.
    pub fn new(connection: Connection) -> Result<Self> {
        let state =
            ConnectionState { waiting: HashMap::new(), bytes: 0, arrived: Instant::now(), dead: None };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
        let taking = Arc::clone(&shared);
        let messages = Messages::new(connection.reader);
        std::thread::Builder::new()
            .name("borg serve".into())
            .spawn(move || taking.take(messages))
            .map_err(Error::io("start a thread"))?;
        let sending = Mutex::new(Sending { writer: connection.writer, next: 1 });
        Ok(Client { sending, shared, _holder: connection.holder })
    }

    /// Sends a call. `bytes` is the expected length of the answer. Blocks while too much is in
    /// flight, but not if nothing arrives for `stall`.
    ///
    /// # Errors
    /// `Gone` when the connection is dead.
    pub fn call(
        &self,
        method: &str,
        arguments: &[(&str, Value<'_>)],
        bytes: usize,
        stall: Duration,
    ) -> Result<Call> {
        self.shared.make_room(bytes, stall)?;
        let (answer, received) = bounded(1);
        let mut sending = self.sending.lock().unwrap_or_else(|e| e.into_inner());
        let id = sending.next;
        sending.next += 1;
        {
            let mut state = self.shared.lock();
            if let Some(why) = &state.dead {
                return Err(Error::Gone(why.clone()));
            }
            state.waiting.insert(id, Waiting { answer, bytes });
            state.bytes += bytes;
        }
        let sent = sending.writer.write_all(&message::call(id, method, arguments));
        if let Err(e) = sent.and_then(|()| sending.writer.flush()) {
            // If the server gave a reason, that says more.
            drop(sending);
            self.shared.die(&format!("the server accepts no calls: {e}"));
        }
        Ok(Call { answer: received, shared: Arc::clone(&self.shared), sent: Instant::now(), stall })
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, ConnectionState> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn make_room(&self, bytes: usize, stall: Duration) -> Result<()> {
        let began = Instant::now();
        let mut state = self.lock();
        loop {
            if let Some(why) = &state.dead {
                return Err(Error::Gone(why.clone()));
            }
            let calls = state.waiting.len();
            if calls == 0 || calls < MOST_CALLS && state.bytes + bytes <= MOST_BYTES {
                return Ok(());
            }
            if state.has_stalled(began, stall) {
                return Err(Error::Gone(nothing_came(stall)));
            }
            state = self.changed.wait_timeout(state, LOOK).unwrap_or_else(|e| e.into_inner()).0;
        }
    }

    /// Passes on answers until the connection ends.
    fn take(&self, mut messages: Messages<impl std::io::Read>) {
        let why = loop {
            let answer = match messages.next(|| self.lock().arrived = Instant::now()) {
                Ok(answer) => answer,
                Err(why) => break why,
            };
            let mut state = self.lock();
            let Some(waiting) = state.waiting.remove(&answer.id) else {
                break "the server answered a call that was not made".into();
            };
            state.bytes -= waiting.bytes;
            drop(state);
            self.changed.notify_all();
            // The caller may have given up.
            let _ = waiting.answer.send(answer);
        };
        self.die(&why);
    }

    fn die(&self, why: &str) {
        let mut state = self.lock();
        state.dead.get_or_insert_with(|| why.to_owned());
        state.waiting.clear();
        self.changed.notify_all();
    }
}

impl ConnectionState {
    /// Whether nothing arrived for `stall`, counted from `began` at the earliest.
    fn has_stalled(&self, began: Instant, stall: Duration) -> bool {
        self.arrived.max(began).elapsed() > stall
    }
}

fn nothing_came(stall: Duration) -> String {
    format!("received nothing for {} s", stall.as_secs_f32())
}

impl Call {
    /// # Errors
    /// `Gone` when the connection ended before the answer, or nothing arrived for too long; then
    /// the connection is dead for all callers.
    pub fn wait(self) -> Result<Answer> {
        loop {
            match self.answer.recv_timeout(LOOK.min(self.stall)) {
                Ok(answer) => return Ok(answer),
                Err(RecvTimeoutError::Disconnected) => {
                    let why = self.shared.lock().dead.clone();
                    return Err(Error::Gone(why.unwrap_or_else(|| "the call was lost".into())));
                }
                Err(RecvTimeoutError::Timeout) => {
                    let stalled = self.shared.lock().has_stalled(self.sent, self.stall);
                    if stalled {
                        self.shared.die(&nothing_came(self.stall));
                    }
                }
            }
        }
    }
}
