//! `umount`

use std::path::PathBuf;

use clap::Args;

use super::Exit;
use crate::error::Result;
use crate::tools::mounts;

/// End a mount.
#[derive(Args)]
pub struct Umount {
    /// Where it is mounted.
    dir: PathBuf,
}

impl Umount {
    pub fn run(&self) -> Result<Exit> {
        mounts::unmount(&self.dir, false)?;
        Ok(Exit::Done)
    }
}
