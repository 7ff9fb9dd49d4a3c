//! `create`

use clap::Args;

use super::Exit;
use super::args::Globals;
use crate::error::{Error, Result};

/// Back up today's archive.
#[derive(Args)]
pub struct Create {}

impl Create {
    pub fn run(&self, _globals: &Globals) -> Result<Exit> {
        Err(Error::failed("not there yet"))
    }
}
