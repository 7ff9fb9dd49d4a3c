//! How files are read whose chunks are lost.

/// What stands in the place of lost chunks. The original chunks of files that `borg check --repair`
/// changed are looked for again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Salvage {
    /// Reading them fails.
    Errors,
    /// Zeros.
    Zeros,
}

impl Salvage {
    /// For the name of a mount, so that nobody takes it for one without lost bytes.
    pub fn name(self) -> &'static str {
        match self {
            Salvage::Errors => "salvage=eio",
            Salvage::Zeros => "salvage=zeros",
        }
    }
}
