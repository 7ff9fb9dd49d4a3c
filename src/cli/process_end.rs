//! How a command ends that stands between borg and another program.

use std::time::Duration;

use super::exit::Exit;
use super::globals::Globals;
use super::report;
use crate::error::Result;
use crate::process::Ended;

/// Borg reads what was said to it only as long as the line is open: so long it stays open after
/// the last word.
const LAST_WORD: Duration = Duration::from_millis(300);

/// Ends as the command did.
pub fn end_as(ended: Result<Ended>, globals: &Globals) -> Result<Exit> {
    match ended {
        Ok(Ended::Code(code)) => std::process::exit(code),
        Ok(Ended::Signal(signal)) => std::process::exit(128 + signal),
        Err(error) => {
            report::error(globals.console(), &error);
            std::thread::sleep(LAST_WORD);
            Ok(Exit::Failed)
        }
    }
}
