//! Connections through a qube: stand-ins for Qubes' tools that really run what they are given, and
//! a real sshd.

use std::io::{Read, Write};
use std::process::Child;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::common::{Flavour, Machine, Need, Random, available, binary, wait_until};
use crate::cut::cut_while_it_creates;

/// A dom0 whose qube `backup`, halted, has the account bob.
struct Dom0 {
    machine: Machine,
}

impl Dom0 {
    fn new() -> Option<Dom0> {
        available(&[Need::Root, Need::Fuse, Need::Sshd]).then_some(())?;
        let mut machine = Machine::with_server(Flavour::any()?);
        let dir = machine.path("qubes");
        std::fs::create_dir(&dir).unwrap();
        std::fs::write(dir.join("backup"), "").unwrap();
        machine.set_variable("FAKE_QUBES_DIR", dir);
        machine.search_first(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fakes/qubes"));
        std::fs::write(machine.source().join("letter"), "dear").unwrap();
        machine.set("bridge_vm", "backup");
        Some(Dom0 { machine })
    }

    fn is_running(&self) -> bool {
        self.machine.path("qubes/backup.running").exists()
    }

    fn start(&self) {
        std::fs::write(self.machine.path("qubes/backup.running"), "").unwrap();
    }

    fn halts(&self) -> bool {
        wait_until(Duration::from_secs(20), || !self.is_running())
    }

    /// The calls of `tool`.
    fn calls(&self, tool: &str) -> Vec<String> {
        let calls = std::fs::read_to_string(self.machine.path("qubes/calls")).unwrap_or_default();
        calls.lines().filter(|l| l.starts_with(&format!("{tool} "))).map(str::to_owned).collect()
    }

    /// The process ids of all that was started in the qube. A line without its end is not one yet.
    fn pids(&self) -> Vec<i32> {
        let pids = std::fs::read_to_string(self.machine.path("qubes/backup.pids")).unwrap_or_default();
        pids.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')?.parse().ok()).collect()
    }

    /// The qube is gone at once, with all that runs in it.
    fn die(&self) {
        std::fs::remove_file(self.machine.path("qubes/backup.running")).unwrap();
        let killed = self.pids().into_iter().filter(|pid| kill(Pid::from_raw(*pid), Signal::SIGKILL).is_ok());
        assert_ne!(killed.count(), 0, "nothing ran in the qube");
    }

    /// `bridge backup -- COMMAND` with pipes.
    fn bridge(&self, command: &[&str]) -> Child {
        let bridge = self.machine.program(binary()).args(["bridge", "--user", "bob", "backup", "--"]);
        bridge.args(command).spawn_piped()
    }
}

#[test]
fn check_config_says_for_the_page_what_it_says() {
    let Some(dom0) = Dom0::new() else { return };
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/qubes.md")).unwrap();
    let told = dom0.machine.offsite(["check-config"]).ok().stdout();
    let shown = "connection  ssh as user in the qube backup";
    assert!(text.contains(shown) && told.contains(&shown.replace("user", "bob")), "{told}");
}

#[test]
fn everything_goes_through_the_qube_as_the_account_in_it() {
    let Some(dom0) = Dom0::new() else { return };
    dom0.start();
    dom0.machine.offsite(["init", "-e", "repokey-blake2"]).ok();
    dom0.machine.offsite(["create"]).ok();
    let point = dom0.machine.mount_point();
    dom0.machine.offsite(["mount", "::latest", point.to_str().unwrap()]).ok();
    let letter = format!("{}{}/letter", point.display(), dom0.machine.source().display());
    assert_eq!(dom0.machine.program("cat").arg(letter).ok().stdout(), "dear");
    dom0.machine.offsite(["umount", point.to_str().unwrap()]).ok();
    let calls = dom0.calls("qvm-run");
    assert!(calls.len() > 6, "{calls:?}");
    for call in calls {
        let start =
            "qvm-run [--pass-io] [--nogui] [--user] [bob] [backup] [exec ssh -o ServerAliveInterval=15 ";
        assert!(call.starts_with(start) && call.contains(" machine@milena borg serve"), "{call}");
    }
    assert!(dom0.is_running(), "it ran before, so it stays");
    assert_eq!(dom0.calls("qvm-start").len() + dom0.calls("qvm-shutdown").len(), 0);
}

#[test]
fn a_qube_that_we_started_is_shut_down_when_nothing_uses_it_any_more() {
    let Some(dom0) = Dom0::new() else { return };
    dom0.machine.offsite(["init", "-e", "repokey-blake2"]).ok();
    assert!(dom0.halts(), "after init");
    dom0.machine.offsite(["create"]).ok();
    assert!(dom0.halts(), "after create");
    assert_eq!(dom0.calls("qvm-start").len(), 2, "once for each command, however often it connects");
    let point = dom0.machine.mount_point();
    dom0.machine.offsite(["mount", "::latest", point.to_str().unwrap()]).ok();
    dom0.machine.offsite(["list"]).ok();
    std::thread::sleep(Duration::from_millis(500));
    assert!(dom0.is_running(), "the mount uses it");
    assert_eq!(dom0.machine.count("\0--keep\0"), 1, "however often it connects, one waits for the end");
    dom0.machine.offsite(["umount", point.to_str().unwrap()]).ok();
    assert!(dom0.halts(), "after umount");
    assert_eq!(dom0.calls("qvm-start").len(), 3);
    // Also when nobody could clean up.
    dom0.machine.offsite(["mount", "::latest", point.to_str().unwrap()]).ok();
    dom0.machine
        .shell(&format!("pkill -9 -f 'offsite-backup.* {}$'; umount -l {0:?}", point.display()))
        .run();
    assert!(dom0.halts(), "after a SIGKILL");
}

#[test]
fn bytes_pass_unchanged_in_both_directions() {
    let Some(dom0) = Dom0::new() else { return };
    dom0.start();
    let all: Vec<u8> = (0..=255).collect();
    let bytes = [all, Random::new(3).bytes(128 << 20)].concat();
    let echo = ["-o", "BatchMode=yes", "bob@milena", "cat"];
    let time = |mut child: Child| {
        let begun = Instant::now();
        let (mut input, mut output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let copy = bytes.clone();
        let writer = std::thread::spawn(move || input.write_all(&copy).unwrap());
        let mut back = Vec::new();
        output.read_to_end(&mut back).unwrap();
        writer.join().unwrap();
        assert!(child.wait().unwrap().success());
        assert!(back == bytes);
        begun.elapsed()
    };
    let bridged = time(dom0.bridge(&[&["ssh"], &echo[..]].concat()));
    let plain =
        time(dom0.machine.program("runuser").args(["-u", "bob", "--", "ssh"]).args(echo).spawn_piped());
    eprintln!("128 MiB there and back over ssh: through the bridge {bridged:?}, without {plain:?}");
}

#[test]
fn arguments_and_exit_codes_survive_the_shells() {
    let Some(dom0) = Dom0::new() else { return };
    dom0.start();
    let words = ["printf", "%s\\n", "two words", "it's", "\"$HOME\"", "`id`", "*", "a\\b", ""];
    let printed = dom0.bridge(&words).wait_with_output().unwrap();
    assert_eq!(String::from_utf8(printed.stdout).unwrap(), words[2..].join("\n") + "\n");
    assert_eq!(dom0.bridge(&["sh", "-c", "exit 37"]).wait().unwrap().code(), Some(37));
}

#[test]
fn a_qube_that_dies_or_is_not_there_is_named() {
    let Some(mut dom0) = Dom0::new() else { return };
    dom0.start();
    let child = dom0.bridge(&["sleep", "100"]);
    assert!(wait_until(Duration::from_secs(10), || !dom0.pids().is_empty()));
    dom0.die();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("the qube backup is not running any more") && !output.status.success(), "{said}");
    dom0.machine.set("bridge_vm", "bakcup");
    for words in [&["list"][..], &["create"]] {
        let said = dom0.machine.offsite(words).fails();
        assert!(said.contains("cannot start the qube bakcup") && said.contains("no such domain"), "{said}");
    }
    let without = dom0.machine.program("env").arg("PATH=/usr/bin:/bin").arg(binary()).arg("--config");
    let said = without.arg(dom0.machine.config()).arg("list").fails();
    assert!(said.contains("cannot start qvm-check"), "{said}");
}

#[test]
fn a_backup_goes_on_when_the_qube_died_under_it() {
    let Some(mut dom0) = Dom0::new() else { return };
    std::fs::write(dom0.machine.source().join("large"), Random::new(8).bytes(20 << 20)).unwrap();
    dom0.machine.set("compression", "lzma,9");
    dom0.machine.offsite(["init", "-e", "repokey-blake2"]).ok();
    let said = cut_while_it_creates(&dom0.machine, || dom0.die());
    assert!(said.contains("the qube backup is not running any more"), "{said}");
    assert!(dom0.halts(), "it was started again, and is ours");
}
