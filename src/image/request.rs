//! What the words of a person name, as the archive has it.

use super::archived::{Archived, Place};
use super::background;
use crate::archive::choice::Wanted;
use crate::error::Result;
use crate::mount::open::Source;
use crate::tools::borg::{Borg, Need};

/// Asks the archive, in a process that ends then: threads of its catalog would be in the way of what is
/// attached afterwards. Must be called while there is only one thread.
///
/// # Errors
/// When the archive cannot be read, or a word names nothing.
pub fn places(borg: &Borg, wanted: &Wanted, source: Source, words: &[Vec<u8>]) -> Result<Vec<Place>> {
    let ask = || {
        let _reached = borg.reach("restore from it", Need::Repository, false)?;
        let places = Archived::open(borg, wanted, source)?.places(words)?;
        Ok((places, None))
    };
    background::start(ask, |(): ()| Ok(()))
}
