//! `mount`

use clap::Args;

use super::Exit;
use super::args::Globals;
use crate::error::{Error, Result};

/// Show an archive as a read-only folder.
#[derive(Args)]
pub struct Mount {}

impl Mount {
    pub fn run(&self, _globals: &Globals) -> Result<Exit> {
        Err(Error::failed("not there yet"))
    }
}
