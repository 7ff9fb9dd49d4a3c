//! The shipped units under a live systemd, in a container that `scripts/systemd-lab/setup.sh` makes: each test is a script that
//! runs in there, and that fails with what it found.

#[path = "../common/mod.rs"]
mod common;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use common::needs;

const BINARY: &str = env!("CARGO_BIN_EXE_borg-offsite-backup");
/// Seconds.
const LIMIT: &str = "300";

fn project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

#[allow(clippy::disallowed_methods)]
fn command(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    command.stdin(Stdio::null());
    command
}

/// Whether the lab is there; it is made where it is not.
fn lab_is_there() -> bool {
    static WHY_NOT: OnceLock<Option<String>> = OnceLock::new();
    if !needs::available(&[needs::Need::Root, needs::Need::Fuse]) {
        return false;
    }
    let why_not = WHY_NOT.get_or_init(|| {
        let output = command(project("scripts/systemd-lab/setup.sh")).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (!output.status.success()).then(|| format!("the systemd lab could not be made: {said}"))
    });
    if let Some(why) = why_not {
        needs::left_out(why);
    }
    why_not.is_none()
}

#[track_caller]
fn run(script: &str) {
    if !lab_is_there() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let installed = dir.path().join("installed");
    let mut make = command("make");
    make.args(["-s", "install-contrib", &format!("DESTDIR={}", installed.display())]);
    // Debian's /sbin is a link.
    let made = make.arg("SBIN=/usr/sbin").current_dir(project("")).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let mut lab = command(project("scripts/systemd-lab/run.sh"));
    for path in [Path::new(BINARY), &installed, &project("tests/systemd/lib.sh")] {
        lab.arg("-i").arg(path);
    }
    let output = lab.args(["-t", LIMIT]).arg(project("tests/systemd").join(script)).output().unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{script} ended with {:?}:\n{stdout}\n{stderr}", output.status.code());
}

#[test]
fn the_timer_catches_up_and_runs_that_succeed_never_count_against_it() {
    run("backup.sh");
}

#[test]
fn archives_are_mounted_by_units_with_the_passphrase_of_the_credstore() {
    run("mounts.sh");
}
