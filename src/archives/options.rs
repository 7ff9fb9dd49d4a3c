//! How archives are opened.

use super::salvage::Salvage;
use super::storage::Remembered;
use super::streams::Limits;
use crate::archive::filter::ArchiveFilter;

/// How the bytes of an archive are read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Source {
    /// The native source if it can read the repository, otherwise streams.
    #[default]
    Auto,
    /// Streams of `borg extract`.
    Stream,
    /// The native source: chunks, read without borg.
    Native,
}

/// How archives are opened.
#[derive(Debug, Clone)]
pub struct Options {
    pub source: Source,
    /// Which archives are shown.
    pub filter: ArchiveFilter,
    pub limits: Limits,
    pub remembered: Remembered,
    /// Files with lost chunks are read, too.
    pub salvage: Option<Salvage>,
    /// What for, as in "cannot list the archives".
    pub doing: &'static str,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            source: Source::default(),
            filter: ArchiveFilter::default(),
            limits: Limits::default(),
            remembered: Remembered::default(),
            salvage: None,
            doing: "open the repository",
        }
    }
}
