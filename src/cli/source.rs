//! `--source`

use clap::ValueEnum;

use crate::archives::open;

/// Where the bytes of an archive come from.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Source {
    /// The native source where it can read the repository, else streams.
    Auto,
    /// Streams of `borg extract`: borg's own bytes, but always from a file's beginning.
    Stream,
    /// A reader of our own: one seek costs one chunk, and the repository is never locked.
    Native,
}

impl From<Source> for open::Source {
    fn from(source: Source) -> Self {
        match source {
            Source::Auto => open::Source::Auto,
            Source::Stream => open::Source::Stream,
            Source::Native => open::Source::Native,
        }
    }
}
