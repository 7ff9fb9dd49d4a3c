//! tar, as the one program that keeps everything that a file has.

use std::ffi::{OsStr, OsString};
use std::io::{Read, Write};
use std::path::Path;

use crate::error::{Error, Result};
use crate::process::{Child, Command, Ended, interrupt};

/// So many lines of tar are shown.
const SHOWN: usize = 5;
/// How much is moved at once.
const PIECE: usize = 1 << 18;
/// Options for both sides, which by default keep less.
const KEEP: [&str; 4] = ["--numeric-owner", "--xattrs", "--xattrs-include=*", "--acls"];

/// Copies `name` in `from` (`.`: all that is in it) into `to`, which is empty, with owners (by number), modes,
/// times, links, holes, xattrs and ACLs. `progress` gets the bytes that have passed so far. Gives what of it
/// could not be read, in tar's words; the rest came. With `salvages`, files that cannot be read to their end
/// come, too, with zeros from there on.
///
/// # Errors
/// When nothing can be read, a file cannot be written, or is not whole; or a signal asked for the end.
pub fn copy(
    from: &Path,
    name: &OsStr,
    to: &Path,
    salvages: bool,
    progress: &mut dyn FnMut(u64),
) -> Result<Option<String>> {
    let mut member = OsString::from("./");
    member.push(name);
    let pack = Command::new("tar").args(["--create", "--sparse", "--file=-"]).args(KEEP).arg("--directory");
    let pack = pack.arg(from).arg("--").arg(member);
    let unpack = Command::new("tar").args(["--extract", "--same-owner", "--same-permissions", "--file=-"]);
    let unpack = unpack.args(KEEP).arg("--keep-old-files").arg("--directory").arg(to).piped_stdin();
    let (mut packer, packer_said) = start(pack.env("LC_ALL", "C"))?;
    let (mut unpacker, unpacker_said) = start(unpack)?;
    let moved = move_bytes(&mut packer, &mut unpacker, progress);
    interrupt::check()?;
    let ended = (unpacker.wait_or_interrupt()?, packer.wait_or_interrupt()?);
    let error = || Error::failed(format!("cannot copy {} to {}", name.display(), to.display()));
    match ended {
        (Ended::Code(0), Ended::Code(0)) => moved.map(|()| None).map_err(|e| error().because(e)),
        // It went on with the rest.
        (Ended::Code(0), Ended::Code(1 | 2))
            if moved.is_ok() && (salvages || is_skipping(&packer_said)) && has_any(to) =>
        {
            Ok(Some(said(&packer_said)))
        }
        // The one that reads fails too when the other one is gone.
        (Ended::Code(0), _) => Err(error().because(said(&packer_said))),
        _ => Err(error().because(said(&unpacker_said))),
    }
}

type Said = std::sync::Arc<parking_lot::Mutex<Lines>>;

#[derive(Default)]
struct Lines {
    first: Vec<String>,
    more: u64,
    /// A file is in the stream that has not its bytes: tar goes on with zeros when it cannot read them.
    has_wrong: bool,
}

impl Lines {
    fn take(&mut self, line: &[u8]) {
        self.has_wrong |= !is_skipped(line);
        match self.first.len() < SHOWN {
            true => self.first.push(String::from_utf8_lossy(line).into_owned()),
            false => self.more += 1,
        }
    }
}

/// Whether the line says of a file that it is not in the stream at all.
fn is_skipped(line: &[u8]) -> bool {
    const END: &[u8] = b"Exiting with failure status due to previous errors";
    const SKIPPED: [&[u8]; 4] =
        [b": Cannot open: ", b": Cannot stat: ", b": Cannot readlink: ", b": Cannot savedir: "];
    // What follows the name is an error's text, which has no colon; a name may have all of it.
    let end = line.iter().rposition(|b| *b == b':').map_or(0, |at| at + 1);
    line.ends_with(END) || SKIPPED.iter().any(|what| line[..line.len().min(end + 1)].ends_with(what))
}

fn is_skipping(lines: &Said) -> bool {
    let lines = lines.lock();
    !lines.first.is_empty() && !lines.has_wrong
}

fn has_any(dir: &Path) -> bool {
    std::fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_some())
}

fn start(command: Command) -> Result<(Child, Said)> {
    let said = Said::default();
    let sink = std::sync::Arc::clone(&said);
    let child = command.spawn(move |line| {
        sink.lock().take(line);
    })?;
    Ok((child, said))
}

fn said(lines: &Said) -> String {
    let lines = lines.lock();
    let more = (lines.more > 0).then(|| format!("and {} more lines", lines.more));
    lines.first.iter().cloned().chain(more).collect::<Vec<_>>().join("; ")
}

fn move_bytes(from: &mut Child, to: &mut Child, progress: &mut dyn FnMut(u64)) -> std::io::Result<()> {
    let (Some(mut from), Some(mut to)) = (from.stdout(), to.stdin()) else { return Ok(()) };
    let mut piece = vec![0; PIECE];
    let mut done = 0;
    loop {
        let len = from.read(&mut piece)?;
        if len == 0 || interrupt::requested() {
            return Ok(());
        }
        to.write_all(&piece[..len])?;
        done += len as u64;
        progress(done);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_skipped_is_not_one_that_is_filled_with_zeros() {
        for (line, skipped) in [
            ("tar: ./d/bad: Cannot open: Permission denied", true),
            ("tar: Exiting with failure status due to previous errors", true),
            ("tar: ./d/bad: Read error at byte 0, while reading 512 bytes: Input/output error", false),
            ("tar: ./d: Cannot open: x: File shrank by 9 bytes; padding with zeros", false),
            ("", false),
        ] {
            assert_eq!(is_skipped(line.as_bytes()), skipped, "{line}");
        }
    }

    #[test]
    fn an_endless_complaint_is_not_kept() {
        let mut lines = Lines::default();
        (0..1000).for_each(|_| lines.take(b"tar: ./x: Cannot open: Permission denied"));
        let said = said(&Said::new(lines.into()));
        assert!(said.ends_with("; and 995 more lines") && said.matches("./x").count() == SHOWN, "{said}");
    }
}
