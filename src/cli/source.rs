//! `--source`

use clap::ValueEnum;

use crate::archives::open;

/// Where the bytes of an archive come from.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Source {
    /// The native source if it can read the repository, otherwise streams.
    Auto,
    /// `borg extract`: reads each file from its beginning.
    Stream,
    /// The built-in reader: a seek reads one chunk, and the repository is not locked.
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
