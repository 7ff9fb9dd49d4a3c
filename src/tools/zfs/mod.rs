//! ZFS, through `zfs`: lists, and what a backup makes and removes.

mod command;
mod history;
mod listing;
pub mod names;
mod stream;
mod volume;

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::holders;
use crate::archive::volumes;
use crate::error::{Error, Kind, Result};
use crate::process::Command;

use command::{PATIENCE, failure, run};

pub use history::History;
pub use listing::{
    Dataset, DatasetKind, Mark, Mountpoint, RUN, bookmarks, dataset, datasets, exists, made_by_runs,
    marks_of, pool, snapshot_names, snapshots, written_since,
};
pub use stream::Changes;
pub use volume::{changes, create_volume, lists_every_hole, volume_of};

/// How often something busy is tried, and the pause between attempts.
const BUSY_TRIES: u32 = 20;
const BUSY_PAUSE: Duration = Duration::from_millis(250);
/// How long the kernel and udev may take to show a new volume. Measured: 0.03 to 0.15 s.
const DEVICE_PATIENCE: Duration = Duration::from_secs(60);

/// Whether this machine has ZFS, as far as the kernel knows.
pub fn is_here() -> bool {
    Path::new("/dev/zfs").exists()
}

/// Takes these snapshots of one pool at the same moment, with the run's id as a property.
///
/// # Errors
/// When `zfs` refuses; then none is taken.
pub fn snapshot(names: &[String], run_id: &str) -> Result<()> {
    let property = format!("{RUN}={run_id}");
    let mut args = vec!["snapshot", "-o", &property];
    args.extend(names.iter().map(String::as_str));
    let pool = names.first().map_or("", |name| pool(name));
    run(&args, &format!("take the snapshots in the pool {pool}")).map(drop)
}

/// Makes a file system that holds clones and is never mounted.
///
/// # Errors
/// When `zfs` refuses.
pub fn create_container(name: &str, run_id: &str) -> Result<()> {
    let property = format!("{RUN}={run_id}");
    let args = ["create", "-u", "-o", "mountpoint=none", "-o", "canmount=off"];
    let args = [&args[..], &["-o", "com.sun:auto-snapshot=false", "-o", &property, name]].concat();
    run(&args, &format!("make {name}")).map(drop)
}

/// Makes a read-only volume from a snapshot, without partitions and snapshots of its own.
///
/// # Errors
/// When `zfs` refuses.
pub fn clone_volume(snapshot: &str, name: &str, run_id: &str) -> Result<()> {
    let property = format!("{RUN}={run_id}");
    let options = ["readonly=on", "volmode=dev", "snapdev=hidden", "com.sun:auto-snapshot=false", &property];
    let mut args = vec!["clone"];
    options.iter().for_each(|option| args.extend(["-o", option]));
    args.extend([snapshot, name]);
    run(&args, &format!("clone {snapshot}")).map(drop)
}

/// Bookmarks a snapshot as `name` (`tank/home#x`).
///
/// # Errors
/// When `zfs` refuses, for example because the name exists.
pub fn bookmark(snapshot: &str, name: &str) -> Result<()> {
    run(&["bookmark", snapshot, name], &format!("make the bookmark {name}")).map(drop)
}

/// Removes a file system, volume, snapshot or bookmark, but nothing that depends on it. If it is
/// busy, tries for five seconds. A signal does not interrupt this.
///
/// # Errors
/// [`Kind::Busy`] with the holders, and other errors of `zfs`.
pub fn destroy(name: &str) -> Result<()> {
    let mut tries = 0;
    loop {
        let output = Command::new("zfs").args(["destroy", name]).finish(PATIENCE)?;
        let Some(message) = failure(&output) else { return Ok(()) };
        if message.contains("does not exist") || message.contains("could not find any snapshots") {
            return Ok(());
        }
        tries += 1;
        if !message.contains("busy") {
            return Err(Error::failed(format!("cannot destroy {name}")).because(message));
        }
        if tries == BUSY_TRIES {
            return Err(busy(name, message));
        }
        std::thread::sleep(BUSY_PAUSE);
    }
}

fn busy(name: &str, message: String) -> Error {
    let mut error = Error::new(Kind::Busy, format!("cannot destroy {name}")).because(message);
    let device = std::fs::canonicalize(device_link(name)).ok();
    for user in device.iter().flat_map(|device| holders::below(device)) {
        error = error.hint(format!("held by {user}"));
    }
    if name.contains('@')
        && let Ok(held) = run(&["holds", "-H", name], "ask who holds it")
    {
        for line in String::from_utf8_lossy(&held).lines() {
            let tag = line.split('\t').nth(1).unwrap_or_default();
            error = error.hint(format!("held with the tag {tag}; `zfs release {tag} {name}` frees it"));
        }
    }
    error.hint("`borg-offsite-backup cleanup` tries again")
}

/// The link that udev makes for a volume.
fn device_link(volume: &str) -> PathBuf {
    // udev's rule replaces a blank in a name by a plus.
    Path::new(volumes::DEVICES).join(volume.replace([' ', '\t'], "+"))
}

/// Waits for the device of a new volume.
///
/// # Errors
/// When it does not appear.
pub fn wait_for_device(volume: &str) -> Result<PathBuf> {
    let link = device_link(volume);
    let deadline = std::time::Instant::now() + DEVICE_PATIENCE;
    while !link.exists() {
        crate::process::interrupt::check()?;
        if std::time::Instant::now() > deadline {
            return Err(Error::failed(format!("the device of {volume} does not appear"))
                .because(format!("there is no {} after {} s", link.display(), DEVICE_PATIENCE.as_secs()))
                .hint("udev makes it, with the rules of zfsutils: see whether it runs"));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(link)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_device_of_a_name_with_a_blank_is_found() {
        assert_eq!(device_link("my pool/v"), Path::new("/dev/zvol/my+pool/v"));
    }
}
