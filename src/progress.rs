//! Progress reports: one interface for all work that takes long.
//!
//! The library knows only [`Monitor`]. `cli` implements it for a terminal and for plain lines; [`Silent`] shows nothing.

/// The progress of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress<'a> {
    /// What is being done, in one or two words: `restore`, `read back`.
    pub step: &'static str,
    pub unit: Unit,
    pub done: u64,
    pub total: Total,
    /// What is being processed, such as a path; empty if there is nothing to name. It may come from
    /// outside.
    pub subject: &'a str,
}

/// The unit of the numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    Bytes,
    Entries,
}

/// The amount of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Total {
    Unknown,
    /// The amount of the last run.
    About(u64),
    Exactly(u64),
}

/// Receives progress, from any thread and as often as the work likes.
pub trait Monitor: Send + Sync {
    fn progress(&self, progress: Progress<'_>);
}

/// Shows nothing.
pub struct Silent;

impl Monitor for Silent {
    fn progress(&self, _progress: Progress<'_>) {}
}

impl<'a> Progress<'a> {
    pub fn bytes(step: &'static str, done: u64, total: Total) -> Self {
        Progress { step, unit: Unit::Bytes, done, total, subject: "" }
    }

    pub fn entries(step: &'static str, done: u64) -> Self {
        Progress { step, unit: Unit::Entries, done, total: Total::Unknown, subject: "" }
    }

    pub fn with_subject(self, subject: &'a str) -> Self {
        Progress { subject, ..self }
    }
}
