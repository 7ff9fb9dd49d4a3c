//! Who uses a block device or a file, as far as the kernel tells.

use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::tools::mounts;

/// udev looks at each device that comes or was written to: what it holds is free in a moment.
const PATIENCE: Duration = Duration::from_secs(2);
const POLL: Duration = Duration::from_millis(50);

/// Who uses it, for people; waits a moment for those who are about to end.
pub fn wait(path: &Path) -> Vec<String> {
    let until = Instant::now() + PATIENCE;
    loop {
        let uses = uses(path);
        if uses.is_empty() || Instant::now() > until {
            return uses;
        }
        std::thread::sleep(POLL);
    }
}

/// Mounts, swap, device mapper, RAID, loop devices, and processes. `path` must be without links.
fn uses(path: &Path) -> Vec<String> {
    let mut uses = Vec::new();
    let mut devices = vec![path.to_owned()];
    devices.extend(partitions(path));
    if devices.iter().any(|device| holds_root(device)) {
        uses.push("the running system is on it".into());
    }
    let mounted = mounts::list().unwrap_or_default();
    for device in &devices {
        let shown = device.display();
        for mount in mounted.iter().filter(|mount| same(Path::new(&mount.source), device)) {
            uses.push(format!("{shown} is mounted at {}", mount.dir.display()));
        }
        if swaps().iter().any(|swap| same(swap, device)) {
            uses.push(format!("{shown} is swap space; `swapoff {shown}` frees it"));
        }
        uses.extend(holders(device).into_iter().map(|by| format!("{shown} is a part of /dev/{by}")));
        uses.extend(mounts::users(device));
    }
    uses
}

/// Also where the mount table calls it by no name that exists, such as `/dev/root`.
fn holds_root(device: &Path) -> bool {
    let number = std::fs::metadata(device).ok().filter(|meta| meta.file_type().is_block_device());
    let root = std::fs::metadata("/").map(|meta| meta.dev());
    number.zip(root.ok()).is_some_and(|(meta, root)| meta.rdev() == root)
}

fn same(one: &Path, other: &Path) -> bool {
    one == other || one.is_absolute() && one.canonicalize().is_ok_and(|one| one == other)
}

fn swaps() -> Vec<PathBuf> {
    let table = std::fs::read_to_string("/proc/swaps").unwrap_or_default();
    let first = |line: &str| line.split_whitespace().next().map(|name| name.replace("\\040", " ").into());
    table.lines().skip(1).filter_map(first).collect()
}

/// The folder of a block device in `/sys`.
fn in_sys(device: &Path) -> Option<PathBuf> {
    let meta = std::fs::metadata(device).ok().filter(|meta| meta.file_type().is_block_device())?;
    let (major, minor) = (libc::major(meta.rdev()), libc::minor(meta.rdev()));
    Some(format!("/sys/dev/block/{major}:{minor}").into())
}

fn names_in(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

fn holders(device: &Path) -> Vec<String> {
    in_sys(device).map(|dir| names_in(&dir.join("holders"))).unwrap_or_default()
}

fn partitions(device: &Path) -> Vec<PathBuf> {
    let Some(dir) = in_sys(device) else { return Vec::new() };
    let names = names_in(&dir).into_iter().filter(|name| dir.join(name).join("partition").exists());
    names.map(|name| Path::new("/dev").join(name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_device_of_the_running_system_is_in_use() {
        let root = std::fs::metadata("/").unwrap().dev();
        let link = format!("/sys/dev/block/{}:{}", libc::major(root), libc::minor(root));
        // A root of ZFS, btrfs or an overlay is on no block device of its own.
        let Ok(dir) = std::fs::canonicalize(link) else { return };
        let device = Path::new("/dev").join(dir.file_name().unwrap());
        if device.exists() {
            assert!(uses(&device).contains(&"the running system is on it".to_owned()));
        }
    }

    #[test]
    #[allow(clippy::disallowed_methods, reason = "another process is to have it open")]
    fn a_file_that_nobody_has_open_is_free_and_one_that_is_open_is_not() {
        let file = tempfile::NamedTempFile::new().unwrap().into_temp_path();
        let path = file.canonicalize().unwrap();
        assert_eq!(uses(&path), Vec::<String>::new());
        let input = std::fs::File::open(&path).unwrap();
        let mut other = std::process::Command::new("sleep").arg("60").stdin(input).spawn().unwrap();
        let by = uses(&path);
        other.kill().and_then(|()| other.wait()).unwrap();
        assert!(by.iter().any(|by| by.contains(&format!("(pid {})", other.id()))), "{by:?}");
    }
}
