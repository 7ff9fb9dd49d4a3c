//! Ends a process that stood between borg and another program.

use std::time::Duration;

use super::exit::Exit;
use super::globals::Globals;
use super::report;
use crate::error::Result;
use crate::process::Ended;

/// borg reads messages only while the connection is open, so it stays open this long after the last
/// one.
const LAST_WORD: Duration = Duration::from_millis(300);

/// Ends this process like the command ended.
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
