//! A connection to a server, which the caller makes.

use std::io::{self, Read, Write};

/// A connection to a `borg serve` that was just started.
pub struct Connection {
    /// The server's output.
    pub reader: Box<dyn Read + Send>,
    /// The server's input.
    pub writer: Box<dyn Write + Send>,
    /// Dropped after `writer`. Dropping it must end the server's output.
    pub holder: Box<dyn Send + Sync>,
}

/// Makes a connection. An error of the kind [`io::ErrorKind::ConnectionAborted`] means that another
/// attempt is useless.
pub type Connect = Box<dyn Fn() -> io::Result<Connection> + Send + Sync>;
