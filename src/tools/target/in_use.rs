//! Who uses a block device or a file, as far as the kernel knows: by its identity, whatever its
//! name.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::identity::Identity;
use crate::tools::file_id::FileId;
use crate::tools::{blockdev, holders, loopdev, mounts};

/// udev looks at each device that is new or was written to: it is free again in a moment.
const PATIENCE: Duration = Duration::from_secs(2);
const POLL: Duration = Duration::from_millis(50);

/// The users of the object with this `identity`, known as `path`, for people. Waits a moment for
/// those who are about to end.
pub fn wait(path: &Path, identity: &Identity) -> Vec<String> {
    let until = Instant::now() + PATIENCE;
    loop {
        let uses = uses(path, identity);
        if uses.is_empty() || Instant::now() > until {
            return uses;
        }
        std::thread::sleep(POLL);
    }
}

/// Something that may be in use: the target, or a partition of it.
struct Part {
    label: PathBuf,
    is: FileId,
}

/// Mounts, swap, device mapper, RAID, loop devices, and processes.
fn uses(path: &Path, identity: &Identity) -> Vec<String> {
    let is = match identity.rdev {
        Some(rdev) => FileId::Device(rdev),
        None => FileId::File(identity.device, identity.inode),
    };
    let mut parts = vec![Part { label: path.to_owned(), is }];
    parts.extend(identity.rdev.into_iter().flat_map(partitions));
    parts.iter().flat_map(uses_of).collect()
}

fn uses_of(part: &Part) -> Vec<String> {
    let label = part.label.display();
    let mut uses = Vec::new();
    if let FileId::Device(rdev) = part.is {
        if std::fs::metadata("/").is_ok_and(|meta| meta.dev() == rdev) {
            // Works even if the mount table has a name that does not exist, such as `/dev/root`.
            uses.push("the running system is on it".into());
        }
        let mounted = mounts::list().unwrap_or_default();
        for mount in
            mounted.iter().filter(|mount| mount.device == rdev || is_at(Path::new(&mount.source), part))
        {
            uses.push(format!("{label} is mounted at {}", mount.dir.display()));
        }
        uses.extend(holders(rdev).into_iter().map(|by| format!("{label} is a part of /dev/{by}")));
    }
    if swaps().iter().any(|swap| is_at(swap, part)) {
        uses.push(format!("{label} is swap space; `swapoff {label}` frees it"));
    }
    let loops = loopdev::over(&part.is);
    uses.extend(loops.iter().map(|device| holders::loop_device(device, &part.label)));
    uses.extend(holders::processes_with(&part.is));
    uses
}

/// Whether `path`, which may be on a server that does not answer, is this object.
fn is_at(path: &Path, part: &Part) -> bool {
    path.is_absolute() && FileId::at(path) == Some(part.is)
}

fn swaps() -> Vec<PathBuf> {
    let table = std::fs::read_to_string("/proc/swaps").unwrap_or_default();
    let first = |line: &str| line.split_whitespace().next().map(|name| name.replace("\\040", " ").into());
    table.lines().skip(1).filter_map(first).collect()
}

fn names_in(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

fn holders(rdev: u64) -> Vec<String> {
    names_in(&blockdev::in_sys(rdev).join("holders"))
}

fn partitions(rdev: u64) -> Vec<Part> {
    let dir = blockdev::in_sys(rdev);
    let part = |name: String| {
        let directory = dir.join(&name);
        let number = std::fs::read_to_string(directory.join("dev"))
            .ok()
            .filter(|_| directory.join("partition").exists())?;
        let (major, minor) = number.trim().split_once(':')?;
        let number = libc::makedev(major.parse().ok()?, minor.parse().ok()?);
        Some(Part { label: Path::new("/dev").join(name), is: FileId::Device(number) })
    };
    names_in(&dir).into_iter().filter_map(part).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_device_of_the_running_system_is_in_use() {
        let root = std::fs::metadata("/").unwrap().dev();
        let link = format!("/sys/dev/block/{}:{}", libc::major(root), libc::minor(root));
        // The root file system on ZFS, btrfs or an overlay has no block device of its own.
        let Ok(dir) = std::fs::canonicalize(link) else { return };
        let label = Path::new("/dev").join(dir.file_name().unwrap());
        let part = Part { label, is: FileId::Device(root) };
        assert!(uses_of(&part).contains(&"the running system is on it".to_owned()));
    }

    #[test]
    #[allow(clippy::disallowed_methods, reason = "another process is to have it open")]
    fn a_file_that_nobody_has_open_is_free_and_one_that_is_open_is_not() {
        let file = tempfile::NamedTempFile::new().unwrap().into_temp_path();
        let path = file.canonicalize().unwrap();
        let identity = Identity::of(&std::fs::File::open(&path).unwrap()).unwrap();
        assert_eq!(uses(&path, &identity), Vec::<String>::new());
        let input = std::fs::File::open(&path).unwrap();
        let mut other = std::process::Command::new("sleep").arg("60").stdin(input).spawn().unwrap();
        let by = uses(&path, &identity);
        other.kill().and_then(|()| other.wait()).unwrap();
        assert!(by.iter().any(|by| by.contains(&format!("(pid {})", other.id()))), "{by:?}");
    }
}
