//! How errors and warnings are told on standard error.

use std::error::Error as _;

use crate::error::Error;

/// Prints the error, its causes and its hints.
pub fn error(error: &Error) {
    eprintln!("error: {error}");
    let mut cause = error.source();
    while let Some(c) = cause {
        eprintln!("  because: {c}");
        cause = c.source();
    }
    for hint in error.hints() {
        eprintln!("  {hint}");
    }
}
