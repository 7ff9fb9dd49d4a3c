//! Mounts the file system in an image without changing it, and recognises what is not a file
//! system.

use std::path::Path;

use crate::error::{Error, Result};
use crate::tools::blockdev::{self, Content, Partition};
use crate::tools::mounts;

/// The contents come from a backup, and anybody may have written them.
const HARMLESS: &str = "nodev,nosuid,noexec";

/// How a file system is mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// The device is read-only, so data that are only in the journal are missing.
    ReadOnly,
    /// The device is writable, so that the journal can be replayed, but nobody changes files.
    Replayed,
    Writable,
}

/// The options for mounting a file system of `kind`. A file system that was in use during the
/// backup has a journal to be replayed; if that is impossible, the options skip it.
pub fn options(kind: &str, mode: Mode) -> String {
    let own = match (kind, mode) {
        ("ext3" | "ext4", Mode::ReadOnly) => ",noload",
        ("xfs", Mode::ReadOnly) => ",norecovery,nouuid",
        ("xfs", _) => ",nouuid",
        ("btrfs", Mode::ReadOnly) => ",rescue=nologreplay",
        _ => "",
    };
    format!("{},{HARMLESS}{own}", if mode == Mode::Writable { "rw" } else { "ro" })
}

/// What to do with contents that are not a file system; `None` if they may be one.
pub fn how_to_go_on(kind: &str, device: &Path) -> Option<String> {
    let device = device.display();
    Some(match kind {
        "LVM2_member" => format!(
            "it belongs to LVM, whose volume groups are never activated by themselves: their names may be \
             in use here. With `--writable`: `vgimportclone --basevgname restored {device}`, then \
             `vgchange --activate y restored`, and before `detach` the same with n"
        ),
        "crypto_LUKS" => format!(
            "it is encrypted: `cryptsetup open --readonly {device} restored`, then mount \
             /dev/mapper/restored; before `detach`: `cryptsetup close restored`"
        ),
        "zfs_member" => format!(
            "it belongs to a ZFS pool: `zpool import -d {device} -o readonly=on -N -R /mnt POOL NEW_NAME`; \
             before `detach`: `zpool export NEW_NAME`"
        ),
        "linux_raid_member" => {
            format!("it belongs to a RAID: `mdadm --assemble --readonly --run /dev/md/restored {device}`")
        }
        "swap" => "it is swap space; there are no files in it".to_owned(),
        _ => return None,
    })
}

/// Mounts the file system on `device` at `dir`.
///
/// # Errors
/// When it is not a file system, or cannot be mounted.
pub fn mount(device: &Path, dir: &Path, mode: Mode) -> Result<()> {
    let Content { kind, table } = blockdev::content(device)?;
    let to_error = || Error::failed(format!("cannot mount {}", device.display()));
    let Some(kind) = kind else {
        return Err(match table {
            Some(table) => {
                let error =
                    to_error().because(format!("it has partitions ({table}), and no file system itself"));
                let partitions = blockdev::partitions(device)?;
                let error = error.hint("`--partition N` takes one of them");
                partitions.iter().fold(error, |error, partition| error.hint(label(partition)))
            }
            None => to_error().because("there is no file system in it that is known here"),
        });
    };
    if let Some(how) = how_to_go_on(&kind, Path::new("DEVICE")) {
        return Err(to_error()
            .because(format!("it holds {kind}"))
            .hint(how)
            .hint("`attach` it without `--mount`"));
    }
    mounts::mount_device(device, &kind, &options(&kind, mode), dir).map_err(|e| match mode {
        Mode::ReadOnly => e.hint("`--writable` lets it replay its journal, in changes that are thrown away"),
        _ => e.hint("attached `--writable` without `--mount`, it can be checked with fsck"),
    })
}

/// The position of partition `number` of `device`.
///
/// # Errors
/// When there is no such partition; the error names the others.
pub fn partition(device: &Path, number: u32) -> Result<Partition> {
    let all = blockdev::partitions(device)?;
    let Some(found) = all.iter().find(|partition| partition.number == number) else {
        let error = Error::usage(format!("there is no partition {number} in it"));
        return Err(match all.is_empty() {
            true => error.hint("it has no partitions: leave `--partition` out"),
            false => all.iter().fold(error, |error, partition| error.hint(label(partition))),
        });
    };
    Ok(found.clone())
}

fn label(partition: &Partition) -> String {
    format!(
        "partition {}: {} MiB, {} MiB from the beginning",
        partition.number,
        partition.size >> 20,
        partition.start >> 20
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_journal_is_replayed_where_nothing_can_be_written() {
        assert_eq!(options("ext4", Mode::ReadOnly), "ro,nodev,nosuid,noexec,noload");
        assert_eq!(options("xfs", Mode::ReadOnly), "ro,nodev,nosuid,noexec,norecovery,nouuid");
        assert_eq!(options("btrfs", Mode::ReadOnly), "ro,nodev,nosuid,noexec,rescue=nologreplay");
        assert_eq!(options("xfs", Mode::Replayed), "ro,nodev,nosuid,noexec,nouuid");
        assert_eq!(options("vfat", Mode::ReadOnly), "ro,nodev,nosuid,noexec");
        assert_eq!(options("ext4", Mode::Writable), "rw,nodev,nosuid,noexec");
    }

    #[test]
    fn what_is_no_file_system_comes_with_a_way_to_go_on() {
        let how = how_to_go_on("LVM2_member", Path::new("/dev/loop9")).unwrap();
        assert!(how.contains("/dev/loop9") && how.contains("vgimportclone"));
        assert_eq!(how_to_go_on("ext4", Path::new("/dev/loop9")), None);
    }
}
