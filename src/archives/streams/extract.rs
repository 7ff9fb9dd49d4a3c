//! One `borg extract --stdout`: its bytes, and whether they are complete.

use std::ffi::OsString;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStringExt;
use std::sync::Arc;

use parking_lot::Mutex;

use super::context::{Context, File};
use crate::archive::tree::Place;
use crate::archives::source::ReadError;
use crate::error::Kind;
use crate::process::{Child, Ended, TimedPipe};
use crate::tools::borg::{self, Line};

/// The number of lines of borg's log that are kept for an error.
const KEPT_LINES: usize = 64;
/// Paths are combined into one expression up to this length.
const LONGEST_EXPRESSION: usize = 32 << 10;
/// The longest argument that Linux takes, in bytes.
const LONGEST_ARGUMENT: usize = (128 << 10) - 1;

/// A running extract.
pub struct Extract<'a> {
    context: &'a Context,
    child: Child,
    stdout: TimedPipe,
    log: Arc<Mutex<Vec<Line>>>,
    confirmed: bool,
}

impl<'a> Extract<'a> {
    /// Starts the extract of these files. There must be at least one.
    pub fn start(context: &'a Context, files: &[File]) -> Result<Self, ReadError> {
        let failed = |e: crate::error::Error| ReadError::Failed(e.chain());
        let patterns = patterns(files.iter().map(|file| &file.place));
        if patterns.iter().any(|pattern| pattern.len() > LONGEST_ARGUMENT) {
            return Err(ReadError::Incomplete("its path is too long to ask borg for it".into()));
        }
        let command = context
            .borg
            .command("extract --stdout", context.limits.lock_wait)
            .map_err(failed)?
            .arg(borg::archive_argument(&context.archive.name))
            .args(patterns);
        let log = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&log);
        let mut child = command
            .spawn(move |line| {
                let mut log = sink.lock();
                if log.len() < KEPT_LINES {
                    log.push(Line::parse(line));
                }
            })
            .map_err(failed)?;
        let stdout = child.stdout().ok_or_else(|| ReadError::Failed("borg has no output".into()))?;
        let stdout = TimedPipe::new(stdout, context.limits.stall);
        Ok(Extract { context, child, stdout, log, confirmed: false })
    }

    /// The next bytes of the archive; 0 at the end.
    ///
    /// # Errors
    /// When nothing arrives for too long, `stop` returns an error, or the name belongs to another
    /// archive.
    pub fn read(&mut self, buffer: &mut [u8], stop: impl Fn() -> bool) -> Result<usize, ReadError> {
        let n = self.stdout.read_unless(buffer, stop).map_err(|e| match e.kind() {
            ErrorKind::ConnectionAborted => ReadError::Ending,
            ErrorKind::TimedOut => ReadError::Stalled(format!("borg extract stalled: {e}")),
            _ => ReadError::Failed(format!("cannot read from borg extract: {e}")),
        })?;
        if n > 0 && !self.confirmed {
            self.confirm()?;
        }
        Ok(n)
    }

    fn confirm(&mut self) -> Result<(), ReadError> {
        self.context.pin.confirm(&self.context.borg, self.context.limits.lock_wait)?;
        self.confirmed = true;
        Ok(())
    }

    /// Whether `got` bytes were all of the `expected` ones, after the end of the stream.
    ///
    /// borg's exit code cannot tell (it is 1 for each exact path in 1.2.4, and 0 in 1.4 even if
    /// nothing matched): only the count can.
    pub fn judge(self, got: u64, expected: u64) -> Result<(), ReadError> {
        let Extract { context, mut child, stdout, log, .. } = self;
        drop(stdout);
        let ended = child.wait_at_most(context.limits.stall).map_err(|e| ReadError::Failed(e.chain()))?;
        if got == expected {
            return Ok(());
        }
        let log = std::mem::take(&mut *log.lock());
        let why = format!("got {got} of {expected} bytes");
        Err(match ended {
            Ended::Signal(_) => ReadError::Failed(format!("{why}: borg extract was {ended}")),
            Ended::Code(_) if borg::warned(ended).is_some() => {
                ReadError::Incomplete(format!("{why}: borg extract ended with {ended}"))
            }
            Ended::Code(_) => failure(context, ended, &why, &log),
        })
    }
}

/// The patterns that select exactly these files. borg normalises every pattern except a regular
/// expression, so no other pattern matches a path such as `./a`, as tar writes it.
fn patterns<'a>(places: impl Iterator<Item = &'a Place>) -> Vec<OsString> {
    let (unusual, plain): (Vec<&Place>, Vec<&Place>) = places.partition(|place| place.unusual.is_some());
    let mut patterns: Vec<OsString> = plain.iter().map(|place| borg::exact_path(&place.path())).collect();
    let mut paths = Vec::new();
    let mut take = |paths: &mut Vec<u8>| {
        let pattern = [b"re:\\A(?:", &paths[..], b")\\Z"].concat();
        paths.clear();
        patterns.push(OsString::from_vec(pattern));
    };
    for place in unusual {
        if !paths.is_empty() {
            paths.push(b'|');
        }
        escape(&place.path(), &mut paths);
        if paths.len() > LONGEST_EXPRESSION {
            take(&mut paths);
        }
    }
    if !paths.is_empty() {
        take(&mut paths);
    }
    patterns
}

/// Escapes like Python's `re.escape`.
fn escape(path: &[u8], expression: &mut Vec<u8>) {
    for byte in path {
        if byte.is_ascii() && !byte.is_ascii_alphanumeric() && *byte != b'_' && *byte != b'/' {
            expression.push(b'\\');
        }
        expression.push(*byte);
    }
}

fn failure(context: &Context, ended: Ended, why: &str, log: &[Line]) -> ReadError {
    let broken = |line: &Line| {
        matches!(line, Line::Message { text, .. } if
            text.contains("IntegrityError") || text.contains("ata integrity error")
            || text.contains("ObjectNotFound") || text.contains("not found in repository"))
    };
    let error = borg::explain(&context.borg, "extract from the archive", ended, log);
    if error.kind() == Kind::NotFound {
        return context.pin.gone("was deleted");
    }
    let cut = error.kind() == Kind::Disconnected;
    let why = format!("{why}: {}", error.chain());
    if cut {
        return ReadError::Disconnected(why);
    }
    if log.iter().any(broken) { ReadError::Incomplete(why) } else { ReadError::Failed(why) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_in_an_unusual_way_is_asked_for_by_one_expression() {
        let place = |unusual: Option<&[u8]>| Place {
            directory: b"d".to_vec(),
            name: b"f".to_vec(),
            unusual: unusual.map(<[u8]>::to_vec),
            before: 0,
            after: 0,
        };
        let wanted = [place(Some(b"./a_(1)\xff")), place(None), place(Some(b"./b\n"))];
        let expected = [&b"pf:d/f"[..], b"re:\\A(?:\\./a_\\(1\\)\xff|\\./b\\\n)\\Z"];
        assert_eq!(patterns(wanted.iter()), expected.map(|bytes| OsString::from_vec(bytes.to_vec())));
        let many = vec![place(Some(b"./0123456789")); 9000];
        assert!((2..9).contains(&patterns(many.iter()).len()));
    }
}
