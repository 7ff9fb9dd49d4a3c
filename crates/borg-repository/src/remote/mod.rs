//! A repository behind `borg serve`, over any pair of reader and writer: the caller starts the
//! server. No lock is taken on the server.
//!
//! A server keeps the first index that it reads, as long as it runs. So if it does not find an
//! object, a new server is asked once more. A connection that breaks, or is silent, is also
//! replaced. Reads wait for this, but not forever.

mod client;
mod connection;
mod message;

use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use super::error::{Error, Result};
use super::id::Id;
use super::segment::LARGEST_OBJECT;
use super::store::{Object, Pending, Store};
use client::{Call, Client};
use message::Value;

pub use connection::{Connect, Connection};
pub use message::Messages;

/// The version that we claim: 1.1, 1.2 and 1.4 can talk to it.
const OUR_VERSION: [i64; 4] = [1, 4, 5, -1];
/// The expected length of an object of unknown length.
const GUESS: usize = 512 << 10;

/// How often an object is requested, if the connection breaks each time.
const TRIES: u32 = 4;
/// The pause between two connection attempts grows from the first to the second of these.
const PAUSES: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(5)];

/// A repository behind a server.
pub struct Remote {
    connect: Connect,
    /// The path as it is sent to the server.
    path: Vec<u8>,
    /// How long nothing may arrive.
    stall: Duration,
    id: Id,
    current: Mutex<Current>,
}

struct Current {
    client: Arc<Client>,
    /// When the last failed attempt began, and why it failed.
    failed: Option<(Instant, String)>,
}

impl Remote {
    /// Connects, and opens the repository at `path`, which is sent unchanged. If nothing arrives
    /// for `stall`, or the connection breaks, it reconnects, and tries this for the same time. So a
    /// read fails after about four times `stall` at the latest.
    ///
    /// # Errors
    /// `NoRepository` when the server finds none there, `Unsupported` when the server is not of
    /// borg 1.1 to 1.x, `Gone` for other answers or none.
    pub fn open(connect: Connect, path: &[u8], stall: Duration) -> Result<Self> {
        let (client, id) = opened(&connect, path, stall)?;
        let current = Mutex::new(Current { client: Arc::new(client), failed: None });
        Ok(Remote { connect, path: path.to_owned(), stall, id, current })
    }

    fn current(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn client(&self) -> Arc<Client> {
        Arc::clone(&self.current().client)
    }

    /// A client that is younger than `old`, for a caller that has waited since `asked`.
    fn renew(&self, old: &Arc<Client>, asked: Instant) -> Result<Arc<Client>> {
        let mut current = self.current();
        if !Arc::ptr_eq(&current.client, old) {
            return Ok(Arc::clone(&current.client));
        }
        if let Some((when, why)) = &current.failed
            && *when >= asked
        {
            // Otherwise each of many readers would try for the same time. A reader that asked after
            // that attempt began may try again: the server may be back.
            return Err(Error::Gone(why.clone()));
        }
        let began = Instant::now();
        match self.connect_again() {
            Ok(client) => {
                *current = Current { client: Arc::new(client), failed: None };
                Ok(Arc::clone(&current.client))
            }
            Err(error) => {
                current.failed = Some((began, error.to_string()));
                Err(error)
            }
        }
    }

    fn connect_again(&self) -> Result<Client> {
        let until = Instant::now() + self.stall;
        let [mut pause, longest] = PAUSES;
        loop {
            let error = match opened(&self.connect, &self.path, self.stall) {
                Ok((client, id)) if id == self.id => return Ok(client),
                Ok((_, id)) => return Err(Error::integrity(format!("the repository was replaced by {id}"))),
                Err(error) => error,
            };
            if !may_pass(&error) || Instant::now() + pause > until {
                return Err(error);
            }
            tracing::debug!("the server is connected to again in {pause:?}: {error}");
            std::thread::sleep(pause);
            pause = (pause * 2).min(longest);
        }
    }

    fn get(&self, client: &Client, id: Id, length: Option<u32>) -> Result<Call> {
        let bytes = length.map_or(GUESS, |n| (n as usize).min(LARGEST_OBJECT));
        client.call("get", &[("id", Value::Bytes(&id.0))], bytes, self.stall)
    }
}

/// A new client with the open repository, and the repository's id.
fn opened(connect: &Connect, path: &[u8], stall: Duration) -> Result<(Client, Id)> {
    let client = Client::new(connect().map_err(Error::io("start borg serve"))?)?;
    let version = [("client_data", Value::Version("client_version", &OUR_VERSION))];
    let version = client.call("negotiate", &version, 0, stall)?.wait()?.server_version()?;
    match version[..] {
        [1, minor, ..] if minor >= 1 => {}
        _ => return Err(Error::unsupported(format!("a server of borg {version:?}"))),
    }
    let arguments = [
        ("path", Value::Bytes(path)),
        ("create", Value::Bool(false)),
        ("lock_wait", Value::Int(1)),
        ("lock", Value::Bool(false)),
        ("exclusive", Value::Bool(false)),
        ("append_only", Value::Bool(false)),
    ];
    let (memory, range) = client.call("open", &arguments, 0, stall)?.wait()?.bytes()?;
    let id = Id::from_bytes(&memory[range]);
    Ok((client, id.ok_or_else(|| Error::integrity("the server sent an invalid repository id"))?))
}

impl Store for Remote {
    fn id(&self) -> Id {
        self.id
    }

    fn key(&self) -> Result<Zeroizing<String>> {
        let (memory, range) = self.client().call("load_key", &[], 0, self.stall)?.wait()?.bytes()?;
        let memory = Zeroizing::new(memory);
        let text = std::str::from_utf8(&memory[range]);
        Ok(Zeroizing::new(text.map_err(|_| Error::integrity("the key is not text"))?.to_owned()))
    }

    fn request(self: Arc<Self>, id: Id, length: Option<u32>) -> Box<dyn Pending> {
        let asked = Instant::now();
        let client = self.client();
        let call = self.get(&client, id, length);
        Box::new(Asked { remote: self, id, length, asked, client, call })
    }

    /// A new server reads the newest index. Until it is ready, reads continue with the old client.
    fn refresh(&self) -> Result<()> {
        let (client, id) = opened(&self.connect, &self.path, self.stall)?;
        if id != self.id {
            return Err(Error::integrity(format!("the repository was replaced by {id}")));
        }
        let old = std::mem::replace(&mut self.current().client, Arc::new(client));
        // Waits for the end of its server.
        drop(old);
        Ok(())
    }
}

/// A request to the server.
struct Asked {
    remote: Arc<Remote>,
    id: Id,
    length: Option<u32>,
    asked: Instant,
    client: Arc<Client>,
    call: Result<Call>,
}

impl Pending for Asked {
    fn wait(self: Box<Self>, _: Vec<u8>) -> Result<Object> {
        let Asked { remote, id, length, asked, mut client, call } = *self;
        let until = Instant::now() + 2 * remote.stall;
        let (mut answer, mut tried) = (answered(call), 1);
        loop {
            let error = match answer {
                Err(error @ Error::Gone(_)) if tried < TRIES && Instant::now() < until => error,
                Err(error) if tried == 1 && may_be_stale(&error) => error,
                answer => return answer.map_err(|error| lost(error, id)),
            };
            match &error {
                Error::Gone(_) => tracing::warn!("the connection to the server broke; connecting again"),
                _ => tracing::debug!("{id} is asked for once more, of a new server: {error}"),
            }
            client = remote.renew(&client, asked)?;
            answer = answered(remote.get(&client, id, length));
            tried += 1;
        }
    }
}

fn answered(call: Result<Call>) -> Result<Object> {
    let (buffer, range) = call?.wait()?.bytes()?;
    Ok(Object { buffer, range })
}

/// If a compaction removed the segment, the server's operating system raises an exception.
fn lost(error: Error, id: Id) -> Error {
    match error {
        Error::Refused { class, .. } if class == "FileNotFoundError" => Error::NotFound(id),
        other => other,
    }
}

/// Whether a server with the newest index may know better.
fn may_be_stale(error: &Error) -> bool {
    matches!(error, Error::NotFound(_) | Error::Integrity(_) | Error::Refused { .. })
}

/// Whether connecting may succeed in a while.
fn may_pass(error: &Error) -> bool {
    match error {
        Error::Gone(_) => true,
        Error::Io { cause, .. } => cause.kind() != io::ErrorKind::ConnectionAborted,
        _ => false,
    }
}
