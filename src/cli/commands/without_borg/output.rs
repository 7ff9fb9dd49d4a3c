//! Lines on standard output.

use std::io::{ErrorKind, IsTerminal, StdoutLock, Write};

use crate::error::{Error, Result};
use crate::escape;

/// Lines are written in blocks of this size, in bytes.
const BLOCK: usize = 64 << 10;

/// Collects lines. A terminal gets nothing that steers it; everything else gets the bytes as they
/// are.
pub struct Output {
    lines: Vec<u8>,
    out: StdoutLock<'static>,
    is_terminal: bool,
    is_closed: bool,
}

impl Output {
    pub fn new() -> Self {
        let out = std::io::stdout().lock();
        let is_terminal = out.is_terminal();
        Output { lines: Vec::with_capacity(2 * BLOCK), out, is_terminal, is_closed: false }
    }

    /// Where lines are added.
    pub fn lines(&mut self) -> &mut Vec<u8> {
        &mut self.lines
    }

    /// Writes what there is, if it is a block. A closed pipe (`| head`) is not an error.
    ///
    /// # Errors
    /// When it cannot be written, for example to a full disk.
    pub fn pass(&mut self) -> Result<()> {
        if self.lines.len() < BLOCK { Ok(()) } else { self.flush() }
    }

    /// Whether nobody reads any more.
    pub fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// Writes what there is.
    ///
    /// # Errors
    /// As [`Output::pass`].
    pub fn flush(&mut self) -> Result<()> {
        let written = match self.is_terminal {
            true => self.out.write_all(escape::lines(&String::from_utf8_lossy(&self.lines)).as_bytes()),
            false => self.out.write_all(&self.lines),
        };
        self.lines.clear();
        match written.and_then(|()| self.out.flush()) {
            Err(e) if e.kind() == ErrorKind::BrokenPipe => {
                self.is_closed = true;
                Ok(())
            }
            Err(e) => Err(Error::failed("cannot write to standard output").because(e)),
            Ok(()) => Ok(()),
        }
    }
}
