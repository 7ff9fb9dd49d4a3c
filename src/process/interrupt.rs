//! Whether SIGTERM, SIGINT or SIGHUP asked this process to end.

use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

use crate::error::{Error, Kind, Result};

static REQUESTED: AtomicBool = AtomicBool::new(false);
static SIGNAL: AtomicI32 = AtomicI32::new(0);

/// From now on, these signals only set a flag, which waits and [`check`] obey. Without this call
/// they end the process as usual. Ignored signals stay ignored: under nohup, and when borg keeps a
/// Ctrl-C from its connection, so that it can end properly.
///
/// # Errors
/// When the handlers cannot be installed.
pub fn heed() -> Result<()> {
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP] {
        if is_ignored(signal) {
            continue;
        }
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

fn is_ignored(signal: libc::c_int) -> bool {
    // SAFETY: all zeros is a sigaction, and the kernel fills it.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        libc::sigaction(signal, std::ptr::null(), &mut action) == 0 && action.sa_sigaction == libc::SIG_IGN
    }
}

pub fn requested() -> bool {
    REQUESTED.load(Ordering::Acquire)
}

/// # Errors
/// [`Kind::Interrupted`], with the name of the signal, if one arrived.
pub fn check() -> Result<()> {
    if !requested() {
        return Ok(());
    }
    let signal = nix::sys::signal::Signal::try_from(SIGNAL.load(Ordering::Relaxed));
    let name = signal.map_or("a signal", |s| s.as_str());
    Err(Error::new(Kind::Interrupted, format!("interrupted by {name}")))
}
