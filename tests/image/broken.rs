//! A restore that does not come to its end.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::common::{Flavour, Loop, Machine, Need, Program, Random, Run, Sshd, available, wait_until};
use crate::device::{MIB, archived, damage, image, new_disk, number, restore, told};

/// Starts a restore to `disk`, sends `signal` once some bytes are written, and tells how many of the
/// image's MiB are there then.
fn interrupted(machine: &Machine, disk: &Loop, bytes: &[u8], signal: Signal) -> (usize, Option<i32>, String) {
    let child = restore(machine, disk.device(), &["--no-verify"]).spawn_piped();
    let begun = wait_until(Duration::from_secs(60), || {
        let io = std::fs::read_to_string(format!("/proc/{}/io", child.id())).unwrap_or_default();
        let written = io.lines().find_map(|line| line.strip_prefix("write_bytes: ")?.parse::<u64>().ok());
        written.is_some_and(|bytes| bytes > 4 << 20)
    });
    kill(Pid::from_raw(child.id() as i32), signal).unwrap();
    assert!(begun, "nothing was written");
    let output = child.wait_with_output().unwrap();
    let there = disk.bytes();
    let is_there = |mib: &usize| there[mib * MIB..mib * MIB + 4096] == bytes[mib * MIB..mib * MIB + 4096];
    let written = (0..bytes.len() / MIB).filter(is_there).count();
    (written, output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// The same on a disk that holds nothing of the image, tried until it is hit in the middle.
fn interrupted_in_the_middle(machine: &Machine, bytes: &[u8], signal: Signal) -> (Loop, Option<i32>, String) {
    for _ in 0..5 {
        let disk = new_disk(machine, "disk", &vec![0; bytes.len()]);
        let (written, code, told) = interrupted(machine, &disk, bytes, signal);
        eprintln!("{written} MiB were written");
        if written < bytes.len() / MIB - 8 {
            return (disk, code, told);
        }
    }
    panic!("it was too fast each time");
}

/// Asserts that the restore, called again, writes only the rest.
fn assert_goes_on(machine: &Machine, disk: &Loop, bytes: &[u8]) {
    let told = told(&restore(machine, disk.device(), &[]).ok());
    assert!(disk.bytes() == bytes);
    assert!(number(&told["restored"], "right") > 0, "{told}");
    assert!(number(&told["restored"], "written") < bytes.len() as u64, "{told}");
}

#[test]
fn a_killed_restore_goes_on_when_it_is_called_again() {
    if !available(&[Need::LoopDevices]) {
        return;
    }
    let Some(flavour) = Flavour::any() else { return };
    let bytes = Random::new(3).bytes(96 * MIB);
    let (machine, _repository) = archived(flavour, &bytes);
    let (disk, code, _) = interrupted_in_the_middle(&machine, &bytes, Signal::SIGKILL);
    assert_eq!(code, None);
    assert_goes_on(&machine, &disk, &bytes);
}

#[test]
fn a_signal_ends_it_with_the_state_of_the_target_and_the_next_step() {
    if !available(&[Need::LoopDevices]) {
        return;
    }
    let Some(flavour) = Flavour::any() else { return };
    let bytes = Random::new(3).bytes(96 * MIB);
    let (machine, _repository) = archived(flavour, &bytes);
    let (disk, code, told) = interrupted_in_the_middle(&machine, &bytes, Signal::SIGTERM);
    assert_eq!(code, Some(1), "{told}");
    assert!(told.starts_with("error: interrupted by SIGTERM [interrupted]\n"), "{told}");
    assert_tells_state(&told, disk.device());
    assert_goes_on(&machine, &disk, &bytes);
}

fn assert_tells_state(told: &str, target: &Path) {
    let state = format!("{} holds a mixture of old and new bytes", target.display());
    assert!(told.contains(&state), "{told}");
    assert!(told.contains("the same command, called again, goes on"), "{told}");
}

/// A directory in memory that is unmounted when dropped.
struct Memory(std::path::PathBuf);

impl Memory {
    fn new(dir: &Path, mib: usize) -> Self {
        let size = format!("size={mib}m");
        Program::new("mount").args(["-t", "tmpfs", "-o", &size, "none"]).arg(dir).ok();
        Memory(dir.to_owned())
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        Program::new("umount").args(["-l"]).arg(&self.0).run();
    }
}

#[test]
fn a_disk_that_is_full_under_the_target_is_told_and_the_restore_goes_on_when_it_is_not() {
    if !available(&[Need::LoopDevices]) {
        return;
    }
    let Some(flavour) = Flavour::any() else { return };
    let bytes = image(32, 0);
    let (machine, _repository) = archived(flavour, &bytes);
    let memory = Memory::new(&machine.mount_point(), 12);
    let backing = machine.mount_point().join("disk");
    File::create(&backing).unwrap().set_len(bytes.len() as u64).unwrap();
    let disk = Loop::writable(&backing);
    let run: Run = restore(&machine, disk.device(), &[]).run();
    assert_eq!(run.code(), Some(1), "{run}");
    assert_tells_state(&run.stderr(), disk.device());

    let file = machine.mount_point().join("file");
    let run = restore(&machine, &file, &[]).run();
    assert_eq!(run.code(), Some(1), "{run}");
    assert!(run.stderr().contains("No space left on device"), "{run}");

    Program::new("mount").args(["-o", "remount,size=80m"]).arg(machine.mount_point()).ok();
    for target in [disk.device(), &file] {
        restore(&machine, target, &[]).ok();
    }
    assert!(disk.bytes() == bytes && std::fs::read(&file).unwrap() == bytes);
    drop(disk);
    drop(memory);
}

#[test]
fn a_chunk_that_is_lost_in_the_repository_is_told_with_the_state_of_the_target() {
    let Some(flavour) = Flavour::any() else { return };
    // More chunks stand before the damage than are on their way at once.
    let bytes = image(32, 0);
    let (machine, repository) = archived(flavour, &bytes);
    let file = machine.path("out/file");
    damage(&repository);
    let run = restore(&machine, &file, &[]).run();
    assert_eq!(run.code(), Some(1), "{run}");
    assert!(run.stderr().contains("data integrity error"), "{run}");
    assert_tells_state(&run.stderr(), &file);
}

/// A restore over a line that has written something.
struct OverALine {
    bytes: Vec<u8>,
    machine: Machine,
    server: Sshd,
    file: PathBuf,
    child: Child,
}

impl OverALine {
    fn begin(flavour: Flavour) -> Self {
        let bytes = Random::new(4).bytes(64 * MIB);
        let (mut machine, repository) = archived(flavour, &bytes);
        let server = Sshd::start(&machine, repository.dir());
        server.serve(&mut machine);
        let file = machine.path("out/file");
        let child = restore(&machine, &file, &[]).spawn_piped();
        let begun = || file.metadata().is_ok_and(|meta| meta.blocks() * 512 > 4 << 20);
        assert!(wait_until(Duration::from_secs(60), begun), "nothing was written");
        OverALine { bytes, machine, server, file, child }
    }

    /// What it said when it ended.
    fn said(&mut self, limit: Duration) -> String {
        assert!(wait_until(limit, || self.child.try_wait().unwrap().is_some()), "it hangs");
        let mut said = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        said
    }

    fn assert_goes_on(&self) {
        let told = told(&restore(&self.machine, &self.file, &[]).ok());
        assert!(std::fs::read(&self.file).unwrap() == self.bytes);
        assert!(number(&told["restored"], "written") < self.bytes.len() as u64, "{told}");
    }
}

#[test]
fn a_signal_ends_it_also_while_the_server_is_silent_and_it_goes_on_when_it_is_not() {
    if !available(&[Need::Root, Need::Sshd]) {
        return;
    }
    let Some(flavour) = Flavour::any() else { return };
    let mut restore = OverALine::begin(flavour);
    restore.server.signal_sessions(Signal::SIGSTOP);
    std::thread::sleep(Duration::from_millis(300));
    assert!(restore.child.try_wait().unwrap().is_none(), "it was too fast");
    kill(Pid::from_raw(restore.child.id() as i32), Signal::SIGTERM).unwrap();
    let said = restore.said(Duration::from_secs(20));
    assert!(said.contains("error: interrupted by SIGTERM [interrupted]\n"), "{said}");
    assert_tells_state(&said, &restore.file);
    restore.assert_goes_on();
}

#[test]
fn a_line_that_stays_gone_ends_it_with_the_state_of_the_target() {
    if !available(&[Need::Root, Need::Sshd]) {
        return;
    }
    let Some(flavour) = Flavour::any() else { return };
    let mut restore = OverALine::begin(flavour);
    restore.server.signal_sessions(Signal::SIGSTOP);
    restore.server.signal(Signal::SIGKILL);
    restore.server.signal_sessions(Signal::SIGKILL);
    // It connects again for two minutes.
    let said = restore.said(Duration::from_secs(400));
    assert_eq!(restore.child.wait().unwrap().code(), Some(1), "{said}");
    assert_tells_state(&said, &restore.file);

    // The server has come home.
    restore.machine.unset("backup_server");
    restore.machine.unset("backup_user");
    restore.assert_goes_on();
}

#[test]
fn a_damaged_image_is_salvaged_with_zeros_in_the_place_of_what_is_lost() {
    let Some(flavour) = Flavour::any() else { return };
    let bytes = image(8, 0);
    let (machine, repository) = archived(flavour, &bytes);
    damage(&repository);
    let file = machine.path("out/image");
    restore(&machine, &file, &[]).fails();
    std::fs::remove_file(&file).unwrap();
    let salvaged = |run: &Run| {
        assert_eq!(run.code(), Some(3), "{run}");
        let range = &told(run)["damaged"][0]["ranges"][0];
        let lost = range[0].as_u64().unwrap() as usize..range[1].as_u64().unwrap() as usize;
        assert!(run.stderr().contains("zeros stand for what is lost"), "{run}");
        lost
    };
    let lost = salvaged(&restore(&machine, &file, &["--salvage"]).run());
    let mut expected = bytes.clone();
    assert!(!lost.is_empty() && expected[lost.clone()].iter().any(|byte| *byte != 0));
    expected[lost.clone()].fill(0);
    assert!(std::fs::read(&file).unwrap() == expected);
    let list = std::fs::read_to_string(machine.path("out/image.damage.txt")).unwrap();
    assert!(list.lines().any(|line| line == format!("{} {}", lost.start, lost.end)), "{list}");
    // After borg's own repair the same is lost, and a device gets the same bytes.
    repository.borg(&machine, "check --repair").env("BORG_CHECK_I_KNOW_WHAT_I_AM_DOING", "YES").run();
    std::fs::remove_file(&file).unwrap();
    restore(&machine, &file, &[]).fails();
    assert!(!file.exists());
    assert_eq!(salvaged(&restore(&machine, &file, &["--salvage"]).run()), lost);
    assert!(std::fs::read(&file).unwrap() == expected);
    if available(&[Need::LoopDevices]) {
        let disk = new_disk(&machine, "disk", &vec![7; bytes.len()]);
        let run = restore(&machine, disk.device(), &["--salvage"]).current_dir(&machine.path("out")).run();
        assert_eq!(salvaged(&run), lost);
        assert!(disk.bytes() == expected && machine.path("out/tank-work.damage.txt").exists());
    }
}
