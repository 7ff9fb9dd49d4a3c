//! The shipped units under a live systemd, in a container that `scripts/systemd-lab/setup.sh` makes: each test is a script that
//! runs in there, and that fails with what it found.

#[path = "../common/mod.rs"]
mod common;

use common::Program;
use common::lab::{Lab, project};
use common::needs::Need;

fn run(script: &str) {
    let lab = Lab { name: "systemd", needs: &[Need::Root, Need::Fuse], limit: 300 };
    if !lab.is_there() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let installed = dir.path().join("installed");
    let destination = format!("DESTDIR={}", installed.display());
    // Debian's /sbin is a link.
    let make = Program::new("make").args(["-s", "install-contrib", &destination, "SBIN=/usr/sbin"]);
    make.current_dir(&project("")).ok();
    lab.run(script, &[&installed]);
}

#[test]
fn the_timer_catches_up_and_runs_that_succeed_never_count_against_it() {
    run("backup.sh");
}

#[test]
fn archives_are_mounted_by_units_with_the_passphrase_of_the_credstore() {
    run("mounts.sh");
}
