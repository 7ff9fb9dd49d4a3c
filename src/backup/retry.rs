//! Repeats work when the connection to the server drops.

use std::time::{Duration, Instant};

use super::events::{Event, Listener};
use crate::error::{Error, Kind, Result};
use crate::process::interrupt;

/// The pauses before new attempts, in seconds: a router that restarts needs some minutes.
const PAUSES: [u64; 4] = [5, 15, 60, 180];
const LOOK: Duration = Duration::from_millis(100);

/// Calls `work`, and calls it again whenever the connection drops, up to a limit.
///
/// # Errors
/// Those of the last attempt.
pub fn retry_on_disconnect<T>(listener: &dyn Listener, mut work: impl FnMut() -> Result<T>) -> Result<T> {
    let mut has_dropped = false;
    for pause in PAUSES.map(Duration::from_secs) {
        match work() {
            Err(error) if again(&error, has_dropped) => {
                has_dropped = true;
                listener.tell(Event::Disconnected { error: &error, pause });
                wait(pause)?;
            }
            done => return done,
        }
    }
    work().map_err(|e| match e.kind() {
        Kind::Disconnected => e.hint(format!("it failed {} times", PAUSES.len() + 1)),
        _ => e,
    })
}

/// The server may hold the lock of a dropped connection until it notices.
fn again(error: &Error, has_dropped: bool) -> bool {
    error.kind() == Kind::Disconnected || has_dropped && error.kind() == Kind::Busy
}

fn wait(pause: Duration) -> Result<()> {
    let end = Instant::now() + pause;
    while Instant::now() < end {
        interrupt::check()?;
        std::thread::sleep(LOOK);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Deaf;

    impl Listener for Deaf {
        fn tell(&self, _: Event<'_>) {}
    }

    #[test]
    fn only_a_dropped_connection_is_tried_again_and_a_lock_only_after_it() {
        for kind in [Kind::Failed, Kind::Busy, Kind::NotFound, Kind::Usage] {
            let mut tries = 0;
            let work = || {
                tries += 1;
                Err::<(), _>(Error::new(kind, "x"))
            };
            assert_eq!(retry_on_disconnect(&Deaf, work).unwrap_err().kind(), kind);
            assert_eq!(tries, 1);
        }
        assert!(
            again(&Error::new(Kind::Busy, "x"), true) && again(&Error::new(Kind::Disconnected, "x"), false)
        );
    }
}
