//! What a look at a file came to.

use std::sync::Arc;
use std::sync::atomic::AtomicU8;

/// What a look at a file that is there came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Verdict {
    /// It has to be looked at when it is written.
    Unknown,
    Right,
    /// It has the right bytes, but other attributes.
    Attributes,
    /// It has the right bytes, but is one with a file that it should not be one with.
    Shared,
    /// It is the same file as another name of it in the archive, as it should be.
    Linked,
    Differs,
}

impl Verdict {
    pub fn of(number: u8) -> Self {
        use Verdict::{Attributes, Differs, Linked, Right, Shared, Unknown};
        [Unknown, Right, Attributes, Shared, Linked, Differs].get(number as usize).copied().unwrap_or(Unknown)
    }
}

/// Verdicts on what is chosen in a directory, in the order of [`Scope::children`](super::scope::Scope::children).
pub type Verdicts = Arc<[AtomicU8]>;
