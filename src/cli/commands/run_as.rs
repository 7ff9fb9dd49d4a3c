//! `run-as`: what BORG_RSH is where another account connects. Not for people.

use std::ffi::OsString;

use clap::Args;

use crate::cli::exit::Exit;
use crate::cli::globals::Globals;
use crate::cli::process_end::end_as;
use crate::error::Result;
use crate::tools::ssh;

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
