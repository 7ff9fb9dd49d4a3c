//! Calls of `zfs`.

use std::time::Duration;

use crate::error::{Error, Result};
use crate::process::{Command, Ended, Output};

/// The limit for a call that cleans up.
pub(super) const PATIENCE: Duration = Duration::from_secs(120);

pub(super) fn run(args: &[&str], doing: &str) -> Result<Vec<u8>> {
    let output = Command::new("zfs").args(args).output()?;
    match failure(&output) {
        None => Ok(output.stdout),
        Some(message) => Err(Error::failed(format!("cannot {doing}")).because(message)),
    }
}

/// What `zfs` printed as it failed; `None` if it did not fail.
pub(super) fn failure(output: &Output) -> Option<String> {
    if output.ended == Ended::Code(0) {
        return None;
    }
    let message = String::from_utf8_lossy(&output.stderr.join(&b"; "[..])).into_owned();
    Some(if message.is_empty() { format!("zfs ended: {}", output.ended) } else { message })
}
