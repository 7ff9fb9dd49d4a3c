//! A connection to a server, which the caller makes.

use std::io::{self, Read, Write};

/// A connection to a `borg serve` that has just been started.
pub struct Connection {
    /// The server's output.
    pub reader: Box<dyn Read + Send>,
    /// The server's input.
    pub writer: Box<dyn Write + Send>,
    /// Dropped after `writer`; it must see to it that the server's output ends.
    pub holder: Box<dyn Send + Sync>,
}

/// Makes a connection. An error of the kind [`io::ErrorKind::ConnectionAborted`] says that there is
/// no sense in trying again.
pub type Connect = Box<dyn Fn() -> io::Result<Connection> + Send + Sync>;
