//! `bridge`: what BORG_RSH is on a dom0. Not for people.

use std::ffi::OsString;

use clap::Args;

use crate::cli::exit::Exit;
use crate::cli::globals::Globals;
use crate::cli::process_end::end_as;
use crate::error::Result;
use crate::tools::qubes;

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
