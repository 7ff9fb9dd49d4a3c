//! Every command that is borg's own.

use std::ffi::OsString;

use super::Exit;
use super::args::Globals;
use crate::error::{Error, Result};

pub fn run(_globals: &Globals, _args: &[OsString]) -> Result<Exit> {
    Err(Error::failed("not there yet"))
}
