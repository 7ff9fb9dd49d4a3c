//! What the words of a person name, as the archive has it.

use std::time::Duration;

use crate::archive::choice::Wanted;
use crate::archives::native;
use crate::archives::open::Source;
use crate::archives::open_archive::OpenArchive;
use crate::archives::places::{self, Place};
use crate::error::Result;
use crate::process::daemon;
use crate::tools::background;
use crate::tools::borg::Borg;

/// What an archive is opened for.
pub const DOING: &str = "restore from it";
/// How long the look for the right passphrase bears a silent server.
const STALL: Duration = Duration::from_secs(60);

/// Asks the archive, in a process that ends then: threads of its catalog would be in the way of what is
/// attached afterwards. Must be called while there is only one thread.
///
/// # Errors
/// When the archive cannot be read, or a word names nothing.
pub fn places(borg: &Borg, wanted: &Wanted, source: Source, words: &[Vec<u8>]) -> Result<Vec<Place>> {
    find_passphrase(borg)?;
    let ask = || {
        let _reached = borg.reach(DOING)?;
        let places = places::places(&OpenArchive::open(borg, wanted, source, DOING)?, words)?;
        Ok((places, None))
    };
    background::start(ask, |(): ()| Ok(()))
}

/// What a person types in that process is lost with it, and each next one would ask again.
fn find_passphrase(borg: &Borg) -> Result<()> {
    if borg.passphrase_may_be_asked() {
        let _reached = borg.reach(DOING)?;
        native::find_passphrase(borg, STALL)?;
    }
    daemon::be_alone();
    Ok(())
}
