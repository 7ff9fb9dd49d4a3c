//! Who holds a mount, a device or a file, as far as this user may see, in words for people.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use super::file_id::FileId;
use super::loop_info::{self, OUR_MARKS, in_sys};
use super::mounts;

/// The processes and loop devices with open files in the mount at `dir`, as far as this user may
/// see: `smbd (pid 812), which has /mnt/x/y open`.
pub fn below(dir: &Path) -> Vec<String> {
    let loops = std::fs::read_dir("/sys/block").into_iter().flatten().flatten();
    let loops = loops.filter_map(|entry| {
        let file = std::fs::read(entry.path().join("loop/backing_file")).ok()?;
        let file = PathBuf::from(OsString::from_vec(file.trim_ascii_end().to_vec()));
        let device = Path::new("/dev").join(entry.file_name());
        file.starts_with(dir).then(|| loop_device(&device, &file))
    });
    processes(|file| file.starts_with(dir)).into_iter().chain(loops).collect()
}

/// The users of the loop device, as far as this user may see: mounts, processes, and devices on top
/// of it.
pub fn of_device(device: &Path) -> Vec<String> {
    let name = device.file_name().unwrap_or_default();
    // Including its partitions: loop7p1.
    let part = [name.as_bytes(), b"p"].concat();
    let is_part = |file: &Path| {
        let name = file.file_name().unwrap_or_default().as_bytes();
        let number = name.strip_prefix(&part[..]);
        file.parent() == device.parent()
            && number.is_some_and(|n| !n.is_empty() && n.iter().all(u8::is_ascii_digit))
    };
    let is_it = |file: &Path| file == device || is_part(file);
    let mounted = mounts::list().unwrap_or_default().into_iter().filter(|m| is_it(Path::new(&m.source)));
    let mounted =
        mounted.map(|m| format!("the mount at {0}; `umount {0}` unmounts it", m.dir.display())).collect();
    let processes = processes(is_it);
    let above = in_sys(device);
    let parts = std::fs::read_dir(&above).into_iter().flatten().flatten().map(|entry| entry.path());
    let holders = parts.chain([above]).flat_map(|dir| std::fs::read_dir(dir.join("holders")));
    let holders = holders.flatten().flatten().map(|e| format!("/dev/{}", e.file_name().display()));
    let mut all: Vec<String> = mounted;
    all.extend(processes);
    all.extend(holders);
    all
}

/// A loop device on `file`, and the command that frees it.
pub fn loop_device(device: &Path, file: &Path) -> String {
    let ours = loop_info::mark(device).is_some_and(|mark| mark.starts_with(OUR_MARKS));
    let frees = if ours { "borg-offsite-backup detach" } else { "losetup -d" };
    let device = device.display();
    format!("{device}, attached to {}; `{frees} {device}` frees it", file.display())
}

/// The other processes that have the file open, as far as this user may see.
pub fn processes_with(id: &FileId) -> Vec<String> {
    processes_where(|link| (FileId::at(link)? == *id).then(|| std::fs::read_link(link).ok())?)
}

/// The other processes that have a file open for which `is_it` is true, as far as this user may
/// see: `smbd (pid 812), which has /mnt/x/y open`.
fn processes(is_it: impl Fn(&Path) -> bool) -> Vec<String> {
    processes_where(|link| std::fs::read_link(link).ok().filter(|file| is_it(file)))
}

/// `is_it` receives the links in /proc to what a process uses, and returns a name for those that
/// count.
fn processes_where(is_it: impl Fn(&Path) -> Option<PathBuf>) -> Vec<String> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let holders = entries.filter_map(|entry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok().filter(|pid| *pid != std::process::id())?;
        let file = open_in(&entry.path(), &is_it)?;
        let name = std::fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
        Some(format!("{} (pid {pid}), which has {} open", name.trim(), file.display()))
    });
    holders.collect()
}

/// The first name that `is_it` returns for a link of the process with this directory in /proc.
fn open_in(process: &Path, is_it: impl Fn(&Path) -> Option<PathBuf>) -> Option<PathBuf> {
    let fds = std::fs::read_dir(process.join("fd")).into_iter().flatten().flatten().map(|e| e.path());
    let places = ["cwd", "root", "exe"].into_iter().map(|name| process.join(name));
    fds.chain(places).find_map(|link| is_it(&link))
}
