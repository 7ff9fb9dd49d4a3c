//! Whether SIGTERM, SIGINT or SIGHUP asked this process to end.

use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

use crate::error::{Error, Kind, Result};

static REQUESTED: AtomicBool = AtomicBool::new(false);
static SIGNAL: AtomicI32 = AtomicI32::new(0);

/// From here on these signals only set a mark, which waits and [`check`] heed; without this call
/// they end the process as usual.
///
/// # Errors
/// When the handlers cannot be installed.
pub fn heed() -> Result<()> {
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP] {
        // SAFETY: the handler only stores to atomics.
        unsafe {
            signal_hook::low_level::register(signal, move || {
                SIGNAL.store(signal, Ordering::Relaxed);
                REQUESTED.store(true, Ordering::Release);
            })
        }
        .map_err(|e| Error::failed("cannot install the signal handlers").because(e))?;
    }
    Ok(())
}

pub fn requested() -> bool {
    REQUESTED.load(Ordering::Acquire)
}

/// # Errors
/// [`Kind::Interrupted`], naming the signal, when one came.
pub fn check() -> Result<()> {
    if !requested() {
        return Ok(());
    }
    let signal = nix::sys::signal::Signal::try_from(SIGNAL.load(Ordering::Relaxed));
    let name = signal.map_or("a signal", |s| s.as_str());
    Err(Error::new(Kind::Interrupted, format!("interrupted by {name}")))
}
