//! The mounts that this process was started with.

use std::fs::File;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::MetadataExt;

use crate::error::{Error, Result};

const OF_THIS_THREAD: &str = "/proc/thread-self/ns/mnt";

/// A mount namespace that programs can be started in after this thread has moved to another.
pub struct Mounts(File);

impl Mounts {
    /// The namespace of this thread.
    ///
    /// # Errors
    /// When `/proc` is not there.
    pub fn here() -> Result<Mounts> {
        let namespace = File::open(OF_THIS_THREAD)
            .map_err(|e| Error::failed(format!("cannot open {OF_THIS_THREAD}")).because(e))?;
        Ok(Mounts(namespace))
    }

    /// The namespace, unless this thread is in it.
    pub(super) fn foreign(&self) -> Option<RawFd> {
        let place = |m: std::fs::Metadata| (m.dev(), m.ino());
        let (kept, now) = (self.0.metadata().ok()?, std::fs::metadata(OF_THIS_THREAD).ok()?);
        (place(kept) != place(now)).then(|| self.0.as_raw_fd())
    }
}
