//! A volume as `create` shows it beside its device node: `borg create` of both, in turns.
//!
//! `cargo bench --bench volumes -- [MIB] [ROUNDS]`, by root. The device is a loop device over a
//! file of this machine's programs and of random bytes, half and half. Nothing here passes or fails.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use borg_offsite_backup::backup::volumes::{MountedVolumes, StagedContent, StagedFile, VolumeTree};
use nix::sys::resource::{Usage, UsageWho, getrusage};

/// As large as borg's reads.
const READ: usize = 8 << 20;

/// What one way cost.
struct Cost {
    wall: Duration,
    /// Processor time of borg and of this process.
    processor: Duration,
}

fn main() {
    let numbers: Vec<u64> = std::env::args().filter_map(|arg| arg.parse().ok()).collect();
    let mib = numbers.first().copied().unwrap_or(1024);
    let rounds = numbers.get(1).copied().unwrap_or(5);
    let work = tempfile::Builder::new().prefix("volumes-bench.").tempdir_in("/var/tmp").unwrap();
    let image = work.path().join("image");
    fill(&image, mib << 20);
    let device = Loop::new(&image);
    let mount_point = work.path().join("shown");
    std::fs::create_dir(&mount_point).unwrap();
    let content = StagedContent::Device(File::open(&device.0).unwrap(), mib << 20);
    let file = StagedFile { path: "volume".into(), inode: 7, time: 1, content };
    let mounted = MountedVolumes::new(VolumeTree::new(vec![file]), &mount_point).unwrap();
    let ways = [device.0.clone(), mount_point.join("volume")];
    report("read", rounds, || ways.each_ref().map(|way| cost(|| read(way))));
    for compression in ["none", "auto,zstd"] {
        let what = format!("borg create, {compression}");
        report(&what, rounds, || ways.each_ref().map(|way| create(work.path(), way, compression)));
    }
    mounted.close().unwrap();
}

fn fill(image: &Path, size: u64) {
    let mut out = File::create(image).unwrap();
    let mut tar =
        command("tar").args(["-cf", "-", "/usr/lib"]).stdout(std::process::Stdio::piped()).spawn().unwrap();
    std::io::copy(&mut tar.stdout.take().unwrap().take(size / 2), &mut out).unwrap();
    tar.wait().unwrap();
    let missing = size - out.metadata().unwrap().len();
    std::io::copy(&mut File::open("/dev/urandom").unwrap().take(missing), &mut out).unwrap();
    out.flush().unwrap();
    out.sync_all().unwrap();
}

/// A read-only loop device.
struct Loop(PathBuf);

impl Loop {
    fn new(image: &Path) -> Loop {
        let output =
            command("losetup").args(["--read-only", "--find", "--show"]).arg(image).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        Loop(String::from_utf8(output.stdout).unwrap().trim().into())
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = command("losetup").arg("--detach").arg(&self.0).status();
    }
}

fn read(path: &Path) {
    let mut file = File::open(path).unwrap();
    let mut bytes = vec![0; READ];
    while file.read(&mut bytes).unwrap() > 0 {}
}

fn create(work: &Path, path: &Path, compression: &str) -> Cost {
    let repository = work.join("repository");
    let _ = std::fs::remove_dir_all(&repository);
    let borg = || {
        let mut borg = command("borg");
        borg.env("BORG_PASSPHRASE", "").env("BORG_BASE_DIR", work).env("BORG_REPO", &repository);
        borg
    };
    assert!(borg().args(["init", "-e", "repokey-blake2"]).output().unwrap().status.success());
    let archive = ["create", "--read-special", "--compression", compression, "::x"];
    cost(|| assert!(borg().args(archive).arg(path).status().unwrap().success()))
}

fn cost(work: impl FnOnce()) -> Cost {
    std::fs::write("/proc/sys/vm/drop_caches", "3").unwrap();
    let processor = || {
        let times_of =
            |who| getrusage(who).map(|usage: Usage| [usage.user_time(), usage.system_time()]).unwrap();
        let times = [times_of(UsageWho::RUSAGE_SELF), times_of(UsageWho::RUSAGE_CHILDREN)];
        let micros = times.iter().flatten().map(|t| t.tv_sec() * 1_000_000 + t.tv_usec()).sum::<i64>();
        Duration::from_micros(micros as u64)
    };
    let (begun, before) = (Instant::now(), processor());
    work();
    Cost { wall: begun.elapsed(), processor: processor() - before }
}

/// Runs both ways in turns, the device node first, and tells their medians.
fn report(what: &str, rounds: u64, mut both: impl FnMut() -> [Cost; 2]) {
    let rounds: Vec<[Cost; 2]> = (0..rounds).map(|_| both()).collect();
    let median = |figure: &dyn Fn(&[Cost; 2]) -> Duration| {
        let mut times: Vec<f64> = rounds.iter().map(|round| figure(round).as_secs_f64()).collect();
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    };
    for (name, figure) in
        [("time", (|cost| cost.wall) as fn(&Cost) -> Duration), ("processor", |cost| cost.processor)]
    {
        let (device, file) = (median(&|r| figure(&r[0])), median(&|r| figure(&r[1])));
        println!("{what:28} {name:10} device {device:7.2} s   file {file:7.2} s   {:.3}x", file / device);
    }
}

#[allow(clippy::disallowed_methods)]
fn command(program: &str) -> Command {
    Command::new(program)
}
