//! A connection that cannot be made is named, and borg is not even started.

use std::net::TcpListener;

use serde_json::json;

use crate::common::{FakeBorg, Flavour, Machine, Need, available, binary};

/// What `list` says without starting borg has `expected` in it, and the next step.
#[track_caller]
fn assert_told(machine: &Machine, fake: &FakeBorg, expected: &str, next_step: &str) {
    assert_told_by(machine, fake, &["list"], expected, next_step);
}

#[track_caller]
fn assert_told_by(machine: &Machine, fake: &FakeBorg, words: &[&str], expected: &str, next_step: &str) {
    fake.forget();
    let said = machine.offsite(words).fails();
    assert!(said.contains(expected) && said.contains(next_step), "{words:?}: {said}");
    assert_eq!(fake.calls(words[0]) + fake.calls("list"), 0, "{words:?} started borg");
}

#[test]
fn each_obstacle_is_named_with_the_next_step_and_borg_is_not_started() {
    if !available(&[Need::Root, Need::Sshd]) {
        return;
    }
    let Some(flavour) = Flavour::any() else { return };
    let mut machine = Machine::with_server(flavour);
    let fake = FakeBorg::install(&mut machine);
    // Not by bob: the server is to be found in the configuration alone.
    machine.set("filesystems_to_backup", ["/boot"]);

    assert_told(
        &machine,
        &fake,
        "the directory at ssh://machine@milena/./backup holds no repository",
        "init",
    );
    machine.shell("rmdir ~machine/backup").ok();
    assert_told(&machine, &fake, "there is no repository at ssh://machine@milena/./backup", "init");
    machine.set("backup_path", "/var/backups/other");
    assert_told(
        &machine,
        &fake,
        "does not allow ssh://machine@milena/var/backups/other",
        "--restrict-to-repository",
    );
    machine.set("backup_path", "backup");
    machine.set("backup_server", "no-such-host.invalid");
    assert_told(
        &machine,
        &fake,
        "there is no host no-such-host.invalid",
        "getent hosts no-such-host.invalid",
    );
    machine.set("backup_server", "127.0.0.1:1");
    let point = machine.mount_point();
    for words in [&["create"][..], &["mount", "::latest", point.to_str().unwrap()], &["init", "-e", "none"]] {
        assert_told_by(&machine, &fake, words, "127.0.0.1 refuses the connection", "systemctl status ssh");
    }
    assert_told(&machine, &fake, "127.0.0.1 refuses the connection", "systemctl status ssh");
    let address = format!("127.0.0.1:{}", machine.port());
    machine.set("backup_server", &address);
    let by_hand = format!("runuser --pty -u bob -- ssh -p {} machine@127.0.0.1", machine.port());
    assert_told(&machine, &fake, "the host key of 127.0.0.1 is not known here", &by_hand);
    machine.set("backup_server", "milena");
    machine.shell(
        "ssh-keygen -q -t ed25519 -N '' -f /run/new; echo milena $(cat /run/new.pub) > ~bob/.ssh/known_hosts",
    )
    .ok();
    assert_told(&machine, &fake, "milena shows another host key than before", "then do not connect");
    machine.shell("echo milena $(cat /etc/ssh/lab_host_key.pub) > ~bob/.ssh/known_hosts").ok();
    machine.shell("mv ~bob/.ssh/its\\ key ~bob/.ssh/was").ok();
    assert_told(&machine, &fake, "milena does not let us in", "docs/server.md");
    machine.shell("mv ~bob/.ssh/was ~bob/.ssh/its\\ key").ok();
}

#[test]
fn what_a_server_without_borg_answers_is_told() {
    if !available(&[Need::Root, Need::Sshd]) {
        return;
    }
    let Some(flavour) = Flavour::any() else { return };
    let mut machine = Machine::with_server(flavour);
    let fake = FakeBorg::install(&mut machine);
    // To bob's own account there, which has a real shell.
    machine.set("backup_user", "bob");
    machine.set("filesystems_to_backup", ["/boot"]);
    machine.set_variable("BORG_REMOTE_PATH", "no-such-borg");
    assert_told(&machine, &fake, "there is no borg on milena", "apt install borgbackup");
    machine.set_variable("BORG_REMOTE_PATH", "echo Welcome to; echo");
    assert_told(&machine, &fake, "milena answers with something that is not borg", "start-up files");
}

#[test]
fn a_server_that_is_silent_or_out_of_reach_is_told() {
    if !available(&[Need::Root, Need::Sshd]) {
        return;
    }
    let Some(flavour) = Flavour::any() else { return };
    let mut machine = Machine::with_server(flavour);
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    machine.configure(json!({"backup_server": format!("127.0.0.1:{port}"), "backup_path": "backup"}));
    machine.set_variable("BORG_RSH", "ssh -o ConnectTimeout=1");
    let said = machine.offsite(["list"]).fails();
    assert!(said.contains("127.0.0.1 does not answer"), "{said}");
    let without_network = |machine: &Machine| {
        let program = machine.program("unshare").args(["--net"]).arg(binary());
        program.arg("--config").arg(machine.config()).arg("list").fails()
    };
    let said = without_network(&machine);
    assert!(said.contains("there is no route to 127.0.0.1"), "{said}");
}
