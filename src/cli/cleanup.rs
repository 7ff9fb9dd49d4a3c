//! `cleanup`

use clap::Args;

use super::Exit;
use super::args::Globals;
use crate::error::{Error, Result};

/// Remove what a killed run left behind.
#[derive(Args)]
pub struct Cleanup {}

impl Cleanup {
    pub fn run(&self, _globals: &Globals) -> Result<Exit> {
        Err(Error::failed("not there yet"))
    }
}
