//! tar, as the one program that keeps everything that a file has.

use std::ffi::{OsStr, OsString};
use std::io::{Read, Write};
use std::path::Path;

use crate::error::{Error, Result};
use crate::process::{Child, Command, Ended, interrupt};

/// How much is moved at once.
const PIECE: usize = 1 << 18;
/// Everything that both sides must be told to keep.
const KEEP: [&str; 4] = ["--numeric-owner", "--xattrs", "--xattrs-include=*", "--acls"];

/// Copies `name` in `from` (`.`: all that is in it) into `to`, which is empty, with owners (by number), modes,
/// times, links, holes, xattrs and ACLs. `progress` is told the bytes that have passed so far.
///
/// # Errors
/// When a file cannot be read or written, named by tar, or a signal asked for the end.
pub fn copy(from: &Path, name: &OsStr, to: &Path, progress: &mut dyn FnMut(u64)) -> Result<()> {
    let mut member = OsString::from("./");
    member.push(name);
    let pack = Command::new("tar").args(["--create", "--sparse", "--file=-"]).args(KEEP).arg("--directory");
    let pack = pack.arg(from).arg("--").arg(member);
    let unpack = Command::new("tar").args(["--extract", "--same-owner", "--same-permissions", "--file=-"]);
    let unpack = unpack.args(KEEP).arg("--keep-old-files").arg("--directory").arg(to).piped_stdin();
    let (mut packer, packer_said) = start(pack)?;
    let (mut unpacker, unpacker_said) = start(unpack)?;
    let moved = move_bytes(&mut packer, &mut unpacker, progress);
    interrupt::check()?;
    let ended = (unpacker.wait_or_interrupt()?, packer.wait_or_interrupt()?);
    let error = || Error::failed(format!("cannot copy {} to {}", name.display(), to.display()));
    match ended {
        (Ended::Code(0), Ended::Code(0)) => moved.map_err(|e| error().because(e)),
        // The one that reads fails too when the other one is gone.
        (Ended::Code(0), _) => Err(error().because(said(&packer_said))),
        _ => Err(error().because(said(&unpacker_said))),
    }
}

type Said = std::sync::Arc<std::sync::Mutex<Vec<String>>>;

fn start(command: Command) -> Result<(Child, Said)> {
    let said = Said::default();
    let sink = std::sync::Arc::clone(&said);
    let child = command.spawn(move |line| {
        sink.lock().unwrap_or_else(|e| e.into_inner()).push(String::from_utf8_lossy(line).into_owned());
    })?;
    Ok((child, said))
}

fn said(lines: &Said) -> String {
    let lines = lines.lock().unwrap_or_else(|e| e.into_inner());
    lines.iter().take(5).cloned().collect::<Vec<_>>().join("; ")
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
