//! `bridge` and `run-as`: what BORG_RSH is on a dom0, and where another account connects. Not for people.

use std::ffi::OsString;
use std::time::Duration;

use clap::Args;

use super::Exit;
use super::args::Globals;
use super::report;
use crate::error::Result;
use crate::process::Ended;
use crate::tools::{qubes, ssh};

/// Make a connection as another account: run a command as it, apart from our terminal.
#[derive(Args)]
pub struct RunAs {
    #[arg(value_name = "ACCOUNT")]
    account: String,
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

impl RunAs {
    pub fn run(&self, globals: &Globals) -> Result<Exit> {
        end_as(ssh::run_as(&self.account, &self.command), globals)
    }
}

/// Borg reads what was said to it only as long as the line is open: so long it stays open after
/// the last word.
const LAST_WORD: Duration = Duration::from_millis(300);

/// Connect through a qube: run a command in it, with its input and output.
#[derive(Args)]
pub struct Bridge {
    /// Wait until nobody uses the qube, then shut it down if we started it.
    #[arg(long)]
    keep: bool,
    /// The account in the qube.
    #[arg(long, value_name = "ACCOUNT")]
    user: Option<String>,
    #[arg(value_name = "QUBE")]
    qube: String,
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

impl Bridge {
    pub fn run(&self, globals: &Globals) -> Result<Exit> {
        if self.keep {
            return qubes::keep(&self.qube).map(|()| Exit::Done);
        }
        let ended = qubes::Use::begin(&self.qube)
            .and_then(|_in_use| qubes::run(&self.qube, self.user.as_deref(), &self.command));
        end_as(ended, globals)
    }
}

/// Ends as the command did.
fn end_as(ended: Result<Ended>, globals: &Globals) -> Result<Exit> {
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
