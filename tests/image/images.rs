//! Images of real file systems in an archive, and what `attach` makes of them.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::common::{
    ARCHIVE, DAY, Flavour, Loop, Machine, Need, Program, Random, Repository, available, binary, wait_until,
};

pub const SOON: Duration = Duration::from_secs(20);

/// What is in the file `letter` of each file system.
pub fn letter() -> Vec<u8> {
    Random::new(7).bytes(3_000_000)
}

/// A file system that was being written to when it was copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Ext4,
    Xfs,
    Btrfs,
}

pub const KINDS: [Kind; 3] = [Kind::Ext4, Kind::Xfs, Kind::Btrfs];

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Kind::Ext4 => "ext4",
            Kind::Xfs => "xfs",
            Kind::Btrfs => "btrfs",
        }
    }

    /// An image of it at `image`, copied while it was mounted: `letter` is where it belongs, `late` has
    /// just been synced, so that it may be in the journal only.
    pub fn write_dirty(self, image: &Path) {
        let dir = tempfile::tempdir().unwrap();
        let (live, at) = (dir.path().join("live"), dir.path().join("at"));
        std::fs::create_dir(&at).unwrap();
        // The least that their tools agree to make.
        let size = match self {
            Kind::Ext4 => 32 << 20,
            Kind::Xfs => 300 << 20,
            Kind::Btrfs => 128 << 20,
        };
        File::create(&live).unwrap().set_len(size).unwrap();
        let quiet = if self == Kind::Xfs { "-fq" } else { "-q" };
        Program::new(format!("/sbin/mkfs.{}", self.name())).arg(quiet).arg(&live).ok();
        let device = Loop::writable(&live);
        Program::new("mount").arg(device.device()).arg(&at).ok();
        let unmount = Unmount(at.clone());
        let file = File::create(at.join("letter")).unwrap();
        file.write_all_at(&letter(), 0).unwrap();
        file.sync_all().unwrap();
        drop(file);
        for how in ["--freeze", "--unfreeze"] {
            Program::new("fsfreeze").arg(how).arg(&at).ok();
        }
        let file = File::create(at.join("late")).unwrap();
        file.write_all_at(&letter(), 0).unwrap();
        file.sync_all().unwrap();
        Program::new("cp").args(["--sparse=always"]).arg(&live).arg(image).ok();
        drop(file);
        drop(unmount);
        drop(device);
        assert!(std::fs::read(&live).unwrap() != std::fs::read(image).unwrap(), "it was copied in peace");
    }
}

struct Unmount(PathBuf);

impl Drop for Unmount {
    fn drop(&mut self) {
        Program::new("umount").arg(&self.0).run();
    }
}

/// An ext4 in peace, at `image`, of 24 MiB, with what is in `content`.
pub fn write_ext4(image: &Path, content: &Path) {
    Program::new("/sbin/mke2fs").args(["-q", "-t", "ext4", "-d"]).arg(content).arg(image).arg("24M").ok();
}

/// A machine whose archive has what `fill` writes into `dev/zvol/tank`.
pub struct Scene {
    pub machine: Machine,
    pub repository: Repository,
}

impl Scene {
    /// `None` where there are no loop devices.
    pub fn new(fill: impl FnOnce(&Path)) -> Option<Scene> {
        if !available(&[Need::Root, Need::Fuse, Need::LoopDevices]) {
            return None;
        }
        Flavour::any().map(|flavour| Scene::with(flavour, fill))
    }

    pub fn with(flavour: Flavour, fill: impl FnOnce(&Path)) -> Scene {
        let machine = Machine::new(flavour);
        let tank = machine.source().join("dev/zvol/tank");
        std::fs::create_dir_all(&tank).unwrap();
        fill(&tank);
        let repository = Repository::init(&machine, "repokey-blake2");
        // As images are backed up: holes cost nothing.
        repository.create_with(&machine, DAY, &["--sparse", "--chunker-params", "fixed,4194304"]);
        Scene { machine, repository }
    }

    /// One volume `tank/v`: an ext4 with `letter`.
    pub fn plain() -> Option<Scene> {
        Scene::new(|tank| {
            let content = tempfile::tempdir().unwrap();
            std::fs::write(content.path().join("letter"), letter()).unwrap();
            write_ext4(&tank.join("v"), content.path());
        })
    }

    pub fn original(&self, volume: &str) -> PathBuf {
        self.machine.source().join("dev/zvol").join(volume)
    }

    pub fn command(&self, image: &str, options: &[&str]) -> Program {
        self.machine.offsite(["attach"]).arg(ARCHIVE).arg(image).args(options)
    }

    /// Attaches `image`, and returns the device.
    pub fn attach(&self, image: &str, options: &[&str]) -> PathBuf {
        PathBuf::from(self.command(image, options).ok().stdout().trim_end())
    }

    pub fn detach(&self, what: impl AsRef<std::ffi::OsStr>) {
        self.machine.offsite(["detach"]).arg(what).ok();
    }

    /// An empty directory `name`.
    pub fn directory(&self, name: &str) -> PathBuf {
        let dir = self.machine.path(name);
        std::fs::create_dir_all(&dir).unwrap();
        dir
    }

    /// Our entries of `attached --json`.
    pub fn attached(&self) -> Vec<serde_json::Value> {
        let text = self.machine.offsite(["attached"]).arg("--json").ok().stdout();
        let all: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
        all.into_iter().filter(|a| a["repository"] == self.repository.dir().to_str().unwrap()).collect()
    }

    /// The processes that serve what is attached.
    pub fn daemons(&self) -> Vec<Pid> {
        processes(self.machine.config().to_str().unwrap())
    }

    pub fn kill_daemons(&self) {
        for pid in self.daemons() {
            kill(pid, Signal::SIGKILL).unwrap();
        }
        assert!(wait_until(SOON, || self.daemons().is_empty()), "they live on");
    }

    /// Nothing of ours is left: no record, mount, loop device or process.
    #[track_caller]
    pub fn assert_nothing_left(&self) {
        assert_eq!(self.attached(), Vec::<serde_json::Value>::new());
        assert!(wait_until(SOON, || self.daemons().is_empty()), "a process lives on");
        let repository = self.repository.dir().to_str().unwrap().replace(' ', "\\040");
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let machine = self.machine.path("").to_str().unwrap().trim_end_matches('/').replace(' ', "\\040");
        let left: Vec<_> =
            mounts.lines().filter(|line| line.contains(&repository) || line.contains(&machine)).collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        for attachment in self.attached() {
            let device = attachment["device"].as_str().unwrap_or_default().to_owned();
            let run = self.machine.offsite(["detach"]).arg(device).run();
            if !std::thread::panicking() {
                eprintln!("the test left {attachment}: {run}");
            }
        }
        if !self.attached().is_empty() {
            for pid in self.daemons() {
                let _ = kill(pid, Signal::SIGKILL);
            }
            self.machine.offsite(["cleanup"]).run();
        }
    }
}

/// The running processes of our program that have `word` on their command line.
fn processes(word: &str) -> Vec<Pid> {
    let is_ours = |pid: &i32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let mut words = line.split(|b| *b == 0);
        words.next() == Some(binary().as_os_str().as_encoded_bytes()) && words.any(|w| w == word.as_bytes())
    };
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|e| e.file_name().to_str()?.parse().ok());
    pids.filter(is_ours).map(Pid::from_raw).collect()
}

/// Whether the device has no file any more.
pub fn is_free(device: &Path) -> bool {
    let name = device.file_name().unwrap();
    !Path::new("/sys/block").join(name).join("loop").exists()
}
