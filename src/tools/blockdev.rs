//! Block devices: their content according to util-linux's libblkid, and the kernel's information
//! about an open one.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::process::{Command, Ended};

/// The unit of `partx`, whatever the device's sectors are.
const SECTOR: u64 = 512;

nix::ioctl_read!(device_size, 0x12, 114, u64);
// BLKGETDISKSEQ
nix::ioctl_read!(disk_sequence, 0x12, 128, u64);

/// The size in bytes.
///
/// # Errors
/// When it is not a block device.
pub fn size(device: &File) -> io::Result<u64> {
    let mut size = 0;
    // SAFETY: the descriptor is open, and the kernel writes one number.
    unsafe { device_size(device.as_raw_fd(), &mut size) }?;
    Ok(size)
}

/// A number that no other device has until the next boot, whatever its name; `None` before Linux
/// 5.15.
pub fn sequence(device: &File) -> Option<u64> {
    let mut number = 0;
    // SAFETY: as above.
    unsafe { disk_sequence(device.as_raw_fd(), &mut number) }.ok()?;
    Some(number)
}

/// The directory of the device with this number in `/sys`.
pub fn in_sys(number: u64) -> PathBuf {
    format!("/sys/dev/block/{}:{}", libc::major(number), libc::minor(number)).into()
}

fn attribute(device: &File, name: &str) -> Option<String> {
    let text = std::fs::read_to_string(in_sys(device.metadata().ok()?.rdev()).join(name)).ok()?;
    Some(text.trim().to_owned())
}

pub fn is_read_only(device: &File) -> bool {
    attribute(device, "ro").is_some_and(|text| text == "1")
}

/// The unit of discards in bytes.
pub fn discard_unit(device: &File) -> Option<u64> {
    attribute(device, "queue/discard_granularity")?.parse().ok()
}

/// Whether it is a volume of ZFS, whose devices are called `zd16` and the like.
pub fn is_zvol(device: &File) -> bool {
    let Ok(meta) = device.metadata() else { return false };
    let known = std::fs::canonicalize(in_sys(meta.rdev())).ok();
    let name = known.as_deref().and_then(Path::file_name).and_then(|name| name.to_str());
    name.and_then(|name| name.strip_prefix("zd")).is_some_and(|n| n.parse::<u32>().is_ok())
}

/// The content of a device.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Content {
    /// `ext4`, `xfs`, `LVM2_member`, …
    pub kind: Option<String>,
    /// The type of its partition table: `dos`, `gpt`, …
    pub table: Option<String>,
}

/// A partition; both members are in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    pub number: u32,
    pub start: u64,
    pub size: u64,
}

/// # Errors
/// When blkid is missing, or cannot read the device.
pub fn content(device: &Path) -> Result<Content> {
    let output = Command::new("blkid").args(["--probe", "--output", "export", "--"]).arg(device).output()?;
    match output.ended {
        // 2: nothing that blkid knows.
        Ended::Code(0 | 2) => Ok(parse_content(&output.stdout)),
        _ => Err(to_error("see what is on", device, &output.stderr)),
    }
}

fn parse_content(text: &[u8]) -> Content {
    let text = String::from_utf8_lossy(text);
    let value = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        line.filter(|value| !value.is_empty()).map(str::to_owned)
    };
    Content { kind: value("TYPE"), table: value("PTTYPE") }
}

/// The partitions in the order of the device's table; none if there is no table.
///
/// # Errors
/// When partx is missing, or cannot read the device.
pub fn partitions(device: &Path) -> Result<Vec<Partition>> {
    let command = Command::new("partx").args(["--raw", "--noheadings", "--output"]);
    let output = command.args(["NR,START,SECTORS", "--"]).arg(device).output()?;
    match output.ended {
        // 1: no table.
        Ended::Code(0 | 1) => Ok(parse_partitions(&output.stdout)),
        _ => Err(to_error("read the partition table of", device, &output.stderr)),
    }
}

fn parse_partitions(text: &[u8]) -> Vec<Partition> {
    let text = String::from_utf8_lossy(text);
    let partition = |line: &str| {
        let mut fields = line.split_whitespace().map(|field| field.parse::<u64>().ok());
        Some(Partition {
            number: u32::try_from(fields.next()??).ok()?,
            start: fields.next()??.checked_mul(SECTOR)?,
            size: fields.next()??.checked_mul(SECTOR)?,
        })
    };
    text.lines().filter_map(partition).collect()
}

fn to_error(what: &str, device: &Path, stderr: &[Vec<u8>]) -> Error {
    let stderr = String::from_utf8_lossy(&stderr.join(&b' ')).into_owned();
    Error::failed(format!("cannot {what} {}", device.display())).because(stderr)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blkids_words_are_read() {
        let text = b"DEVNAME=/dev/loop0\nUUID=9f\nTYPE=ext4\nUSAGE=filesystem\n";
        assert_eq!(parse_content(text), Content { kind: Some("ext4".into()), table: None });
        let text = b"DEVNAME=/dev/loop0\nPTUUID=1\nPTTYPE=gpt\n";
        assert_eq!(parse_content(text), Content { kind: None, table: Some("gpt".into()) });
        assert_eq!(parse_content(b""), Content::default());
    }

    #[test]
    fn partitions_are_read_in_bytes() {
        let found = parse_partitions(b"1 2048 20480\n5 22528 4096\n");
        assert_eq!(found[1], Partition { number: 5, start: 22528 * 512, size: 4096 * 512 });
        assert_eq!(found.len(), 2);
        assert_eq!(parse_partitions(b""), []);
    }
}
