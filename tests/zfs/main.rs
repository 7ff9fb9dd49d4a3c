//! `create` and what is done with volumes on real ZFS, in a virtual machine that `scripts/zfs-lab/setup.sh` makes: each test is a
//! script that runs in there, and that fails with what it found.

#[path = "../common/mod.rs"]
mod common;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use common::needs;

const BINARY: &str = env!("CARGO_BIN_EXE_borg-offsite-backup");
/// Seconds.
const LIMIT: &str = "900";

fn project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

#[allow(clippy::disallowed_methods)]
fn command(path: &str) -> Command {
    let mut command = Command::new(project(path));
    command.stdin(Stdio::null());
    command
}

/// Whether the lab is there; it is made where it is not.
fn lab_is_there() -> bool {
    static WHY_NOT: OnceLock<Option<String>> = OnceLock::new();
    if !needs::available(&[needs::Need::Root]) {
        return false;
    }
    let why_not = WHY_NOT.get_or_init(|| {
        let output = command("scripts/zfs-lab/setup.sh").output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (!output.status.success()).then(|| format!("the ZFS lab could not be made: {said}"))
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
    let mut lab = command("scripts/zfs-lab/run.sh");
    lab.args(["-t", LIMIT, "-i", BINARY]).arg("-i").arg(project("tests/zfs/lib.sh"));
    let output = lab.arg(project("tests/zfs").join(script)).output().unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{script} ended with {:?}:\n{stdout}\n{stderr}", output.status.code());
    println!("{stdout}");
}

#[test]
fn datasets_are_backed_up_at_one_moment_and_come_back_as_they_were() {
    run("backup.sh");
}

#[test]
fn a_run_that_is_killed_anywhere_leaves_nothing_that_is_not_cleaned_up() {
    run("killed.sh");
}

#[test]
fn only_what_can_be_backed_up_is_and_the_rest_is_told() {
    run("selection.sh");
}

#[test]
fn a_volume_goes_back_to_an_earlier_day_and_zfs_tells_what_changed_since() {
    run("images.sh");
}

#[test]
fn a_volume_that_got_other_blocks_than_were_written_to_it_is_read() {
    run("proof.sh");
}

#[test]
fn a_volume_in_an_archive_is_a_device_again_with_its_journal_replayed_or_not() {
    run("attach.sh");
}
