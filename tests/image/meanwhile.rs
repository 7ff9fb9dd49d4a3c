//! What happens to a restore of files while it runs.

use std::fs::{self, File};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::common::{ARCHIVE, DAY, Flavour, Machine, Program, Repository, assert_same_trees, wait_until};

const FILES: usize = 4000;

/// An archive of many small files, and of one with two names.
fn archived() -> Option<(Machine, Repository)> {
    let machine = Machine::new(Flavour::any()?);
    let dir = machine.source().join("d");
    fs::create_dir(&dir).unwrap();
    for n in 0..FILES {
        fs::write(dir.join(format!("{n:05}")), format!("file {n}")).unwrap();
    }
    fs::hard_link(dir.join("00000"), dir.join("zz")).unwrap();
    let repository = Repository::init(&machine, "repokey-blake2");
    repository.create(&machine, DAY);
    Some((machine, repository))
}

fn restore(machine: &Machine) -> Program {
    machine.offsite(["restore"]).arg(ARCHIVE).arg("d").arg("--to").arg(machine.path("out/to"))
}

fn count(dir: &Path) -> usize {
    fs::read_dir(dir).map_or(0, Iterator::count)
}

#[test]
fn a_signal_ends_it_and_the_same_command_goes_on() {
    let Some((machine, repository)) = archived() else { return };
    let there = machine.path("out/to/d");
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let hit = (0..10).any(|_| {
            let _ = fs::remove_dir_all(machine.path("out/to"));
            let child = restore(&machine).spawn_piped();
            wait_until(Duration::from_secs(60), || count(&there) > 50);
            kill(Pid::from_raw(child.id() as i32), signal).unwrap();
            let output = child.wait_with_output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            if output.status.success() {
                return false;
            }
            assert_eq!(output.status.code(), Some(1), "{said}");
            assert!(said.contains(&format!("interrupted by {signal} [interrupted]")), "{said}");
            count(&there) < FILES
        });
        assert!(hit, "it was too fast each time");
        let before = count(&there);
        let run = restore(&machine).arg("--json").ok();
        assert!(before > 50 && run.stdout().contains("\"right\""), "{run}");
    }
    assert_same_trees(&machine.path("out/to"), &repository.extract(&machine, DAY, &[]));
}

#[test]
fn what_somebody_makes_meanwhile_is_not_replaced() {
    let Some((machine, _repository)) = archived() else { return };
    let theirs = machine.path("out/to/d/zz");
    for _ in 0..10 {
        let _ = fs::remove_dir_all(machine.path("out/to"));
        let ended = AtomicBool::new(false);
        // The other name of a file is made at the end.
        let (made, run) = std::thread::scope(|scope| {
            let make = scope.spawn(|| {
                while !ended.load(Ordering::Relaxed) {
                    if machine.path("out/to/d").exists() {
                        return File::create_new(&theirs).is_ok();
                    }
                }
                false
            });
            let run = restore(&machine).run();
            ended.store(true, Ordering::Relaxed);
            (make.join().unwrap(), run)
        });
        if made {
            assert_eq!(run.code(), Some(3), "{run}");
            assert!(run.stderr().contains("d/zz"), "{run}");
            assert_eq!(fs::read(&theirs).unwrap(), b"");
            return;
        }
    }
    panic!("it was too fast each time");
}
