//! Tests of the limits on a program's output, with real programs.

use std::time::Duration;

use super::output::Exceeded;
use super::{Command, Ended, Output};

#[test]
fn output_keeps_both_streams_and_the_exit_code() {
    let out = Command::new("sh").args(["-c", "echo out; echo one >&2; echo two >&2; exit 3"]).output();
    let out = out.unwrap();
    assert_eq!(out.ended, Ended::Code(3));
    assert_eq!(out.stdout, b"out\n");
    assert_eq!(out.stderr, [b"one".to_vec(), b"two".to_vec()]);
}

#[test]
fn a_flood_on_stderr_blocks_nobody() {
    let out = Command::new("sh").args(["-c", "yes noise | head -c 3000000 >&2; echo done"]).output();
    assert_eq!(out.unwrap().stdout, b"done\n");
}

#[test]
fn who_writes_without_end_is_stopped_and_takes_no_memory() {
    let zeros = || Command::new("cat").arg("/dev/zero");
    let minute = Duration::from_secs(60);
    let tasted = zeros().taste(100_000, minute).unwrap();
    assert_eq!((tasted.stdout.len(), tasted.exceeded), (100_000, Some(Exceeded::Bytes(100_000))));
    let error = zeros().output().unwrap_err();
    assert!(error.chain().contains("wrote more than"), "{}", error.chain());
    let lines = Command::new("sh").args(["-c", "yes $(printf %065000d 0) | head -c 20000000 >&2"]).output();
    let kept: usize = lines.unwrap().stderr.iter().map(Vec::len).sum();
    assert!(kept <= Output::KEPT, "{kept}");
}

#[test]
fn who_does_not_answer_in_time_is_stopped() {
    let sleeper = || Command::new("sleep").arg("600");
    let limit = Duration::from_millis(50);
    assert_eq!(sleeper().taste(1, limit).unwrap().exceeded, Some(Exceeded::Time(limit)));
    assert!(sleeper().output_within(limit).is_err());
    assert_eq!(sleeper().finish(limit).unwrap().ended, Ended::Signal(libc::SIGTERM));
}

#[test]
fn nobody_waits_for_who_holds_the_output_of_a_dead_program() {
    let out = Command::new("sh").args(["-c", "setsid sleep 60 2>&1 & echo $!"]).output().unwrap();
    let pid = String::from_utf8(out.stdout).unwrap().trim().parse().unwrap();
    let sleeper = nix::unistd::Pid::from_raw(pid);
    assert!(nix::sys::signal::kill(sleeper, nix::sys::signal::SIGKILL).is_ok(), "it had ended");
}
