//! `umount`

use std::path::PathBuf;

use clap::Args;

use crate::cli::exit::Exit;
use crate::error::{Error, Kind, Result};
use crate::tools::mounts::{self, FUSE_TYPE};
use crate::tools::{holders, mount_point};

/// Unmount a mount.
#[derive(Args)]
pub struct Umount {
    /// The mount point.
    dir: PathBuf,
}

impl Umount {
    pub fn run(&self) -> Result<Exit> {
        let dir = mount_point::absolute(&self.dir)?;
        let label = self.dir.display();
        let Some(mount) = mounts::at(&dir)? else {
            return Err(Error::usage(format!("nothing is mounted at {label}")).hint("see `findmnt`"));
        };
        if mount.kind != FUSE_TYPE {
            return Err(Error::usage(format!(
                "{label} is a mount of type {}, not of this program",
                mount.kind
            ))
            .hint(format!("`umount {label}` unmounts it")));
        }
        // If the process of the mount is gone, everything open in it fails anyway.
        mounts::unmount(&dir, mount.is_dead()).map_err(|e| match e.kind() {
            Kind::Busy => {
                holders::below(&dir).into_iter().fold(e, |e, user| e.hint(format!("held by: {user}")))
            }
            _ => e,
        })?;
        Ok(Exit::Done)
    }
}
