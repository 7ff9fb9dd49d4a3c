//! `--source`

use clap::ValueEnum;

use crate::archives::open;

/// Where the bytes of an archive come from.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SourceArgument {
    /// The native source if it can read the repository, otherwise streams.
    Auto,
    /// `borg extract`: reads each file from its beginning.
    Stream,
    /// The built-in reader: a seek reads one chunk, and the repository is not locked.
    Native,
}

impl From<SourceArgument> for open::Source {
    fn from(source: SourceArgument) -> Self {
        match source {
            SourceArgument::Auto => open::Source::Auto,
            SourceArgument::Stream => open::Source::Stream,
            SourceArgument::Native => open::Source::Native,
        }
    }
}
