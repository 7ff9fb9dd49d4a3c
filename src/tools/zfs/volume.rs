//! What a restore needs from ZFS: new volumes, and the changes in old ones.

use std::fs::File;
use std::io::BufReader;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;

use super::command::{PATIENCE, run};
use super::listing::Mark;
use super::stream::{self, Changes, Span};
use crate::error::{Error, Result};
use crate::process::{Command, Ended, TimedPipe, interrupt};

/// Controls whether a stream also lists holes without a known birth time.
const EVERY_HOLE: &str = "/sys/module/zfs/parameters/send_holes_without_birth_time";
/// The size of reads from a stream.
const BUFFER: usize = 1 << 20;

// BLKZNAME: the name of a device's volume.
nix::ioctl_read!(volume_name, 0x12, 125, [u8; 256]);

/// The volume of an open device; `None` for all other devices and files, and for partitions.
pub fn volume_of(device: &File) -> Option<String> {
    let number = device.metadata().ok()?.rdev();
    let (major, minor) = (libc::major(number), libc::minor(number));
    if Path::new(&format!("/sys/dev/block/{major}:{minor}/partition")).exists() {
        return None;
    }
    let mut name = [0; 256];
    // SAFETY: the kernel writes at most 256 bytes, of which the last is 0.
    unsafe { volume_name(device.as_raw_fd(), &mut name) }.ok()?;
    let name = name.split(|byte| *byte == 0).next()?;
    String::from_utf8(name.to_vec()).ok()
}

/// Makes a volume of `size` bytes that takes space only for what is written.
///
/// # Errors
/// When `zfs` refuses.
pub fn create_volume(name: &str, size: u64, block_size: u64, compression: &str) -> Result<()> {
    let (size, block_size) = (size.to_string(), block_size.to_string());
    let compression = format!("compression={compression}");
    let args = ["create", "-s", "-V", &size, "-b", &block_size, "-o", &compression, name];
    run(&args, &format!("make the volume {name}")).map(drop)
}

/// Whether ZFS reports every hole, as it does by default. Otherwise it omits holes that existed
/// from the beginning, and a receive into the volume may bring a new beginning.
pub fn lists_every_hole() -> bool {
    std::fs::read(EVERY_HOLE).is_ok_and(|value| value.trim_ascii() == b"1")
}

/// What changed in a volume of `size` bytes between `from`, its bookmark or snapshot, and `to`, a
/// later snapshot. ZFS reads only what changed.
///
/// # Errors
/// When `zfs` fails, or its stream is not supported.
pub fn changes(from: &Mark, to: &Mark, size: u64) -> Result<Changes> {
    let messages = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&messages);
    let mut child = Command::new("zfs")
        .args(["send", "-i", &from.name, &to.name])
        .spawn(move |line| lock(&sink).push(String::from_utf8_lossy(line).into_owned()))?;
    let to_error =
        || Error::failed(format!("cannot find out what changed in {} since {}", to.name, from.name));
    let pipe = child.stdout().ok_or_else(to_error)?;
    let stream = BufReader::with_capacity(BUFFER, TimedPipe::new(pipe, PATIENCE));
    let found = stream::changes(stream, Span { from: from.guid, to: to.guid }, size);
    interrupt::check()?;
    let ended = if found.is_ok() { child.wait_or_interrupt()? } else { child.stop() };
    let messages = lock(&messages).join("; ");
    match found {
        Ok(changes) if ended == Ended::Code(0) => Ok(changes),
        Err(why) if messages.is_empty() => {
            Err(to_error().because(format!("its stream has an unknown form: {why}")))
        }
        _ if messages.is_empty() => Err(to_error().because(format!("`zfs send` ended with {ended}"))),
        _ => Err(to_error().because(messages)),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> parking_lot::MutexGuard<'_, T> {
    mutex.lock()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_no_volume() {
        assert_eq!(volume_of(&tempfile::tempfile().unwrap()), None);
        assert_eq!(volume_of(&File::open("/dev/null").unwrap()), None);
    }
}
