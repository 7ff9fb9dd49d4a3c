//! `check-config`

use clap::Args;

use super::Exit;
use super::args::Globals;
use crate::error::{Error, Result};

/// Say whether the configuration is good.
#[derive(Args)]
pub struct CheckConfig {}

impl CheckConfig {
    pub fn run(&self, _globals: &Globals) -> Result<Exit> {
        Err(Error::failed("not there yet"))
    }
}
