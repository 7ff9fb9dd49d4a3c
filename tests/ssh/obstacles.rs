//! A connection that cannot be made is named, and borg is not even started.

use std::net::TcpListener;

use crate::common::{FakeBorg, Flavour, Need, available};
use crate::lab::Lab;

/// What `list` says without starting borg has `expected` in it, and the next step.
#[track_caller]
fn assert_told(lab: &Lab, fake: &FakeBorg, expected: &str, next_step: &str) {
    assert_told_by(lab, fake, &["list"], expected, next_step);
}

#[track_caller]
fn assert_told_by(lab: &Lab, fake: &FakeBorg, words: &[&str], expected: &str, next_step: &str) {
    fake.forget();
    let said = lab.offsite(words).fails();
    assert!(said.contains(expected) && said.contains(next_step), "{words:?}: {said}");
    assert_eq!(fake.calls(words[0]) + fake.calls("list"), 0, "{words:?} started borg");
}

#[test]
fn each_obstacle_is_named_with_the_next_step_and_borg_is_not_started() {
    if !available(&[Need::Root, Need::Sshd]) {
        return;
    }
    let Some(flavour) = Flavour::any() else { return };
    let mut lab = Lab::new(flavour);
    let fake = FakeBorg::install(&mut lab.sandbox);
    // Not by bob: the server is to be found in the configuration alone.
    let bare = |lab: &Lab, server: &str| {
        lab.place(&format!(
            r#""backup_server": "{server}", "backup_path": "backup", "backup_user": "machine", "ssh_from": "bob",
            "filesystems_to_backup": ["/boot"]"#
        ));
    };

    assert_told(&lab, &fake, "the directory at ssh://machine@milena/./backup holds no repository", "init");
    lab.root("rmdir ~machine/backup").ok();
    assert_told(&lab, &fake, "there is no repository at ssh://machine@milena/./backup", "init");
    lab.place(
        r#""backup_server": "milena", "backup_path": "/var/backups/other", "backup_user": "machine",
        "ssh_from": "bob", "filesystems_to_backup": ["/boot"]"#,
    );
    assert_told(
        &lab,
        &fake,
        "does not allow ssh://machine@milena/var/backups/other",
        "--restrict-to-repository",
    );
    bare(&lab, "no-such-host.invalid");
    assert_told(&lab, &fake, "there is no host no-such-host.invalid", "getent hosts no-such-host.invalid");
    bare(&lab, "127.0.0.1:1");
    let point = lab.sandbox.mount_point();
    for words in [&["create"][..], &["mount", "::latest", point.to_str().unwrap()], &["init", "-e", "none"]] {
        assert_told_by(&lab, &fake, words, "127.0.0.1 refuses the connection", "systemctl status ssh");
    }
    assert_told(&lab, &fake, "127.0.0.1 refuses the connection", "systemctl status ssh");
    let address = format!("127.0.0.1:{}", lab.port());
    bare(&lab, &address);
    let by_hand = format!("runuser --pty -u bob -- ssh -p {} machine@127.0.0.1", lab.port());
    assert_told(&lab, &fake, "the host key of 127.0.0.1 is not known here", &by_hand);
    bare(&lab, "milena");
    lab.root(
        "ssh-keygen -q -t ed25519 -N '' -f /run/new; echo milena $(cat /run/new.pub) > ~bob/.ssh/known_hosts",
    )
    .ok();
    assert_told(&lab, &fake, "milena shows another host key than before", "then do not connect");
    lab.root("echo milena $(cat /etc/ssh/lab_host_key.pub) > ~bob/.ssh/known_hosts").ok();
    lab.root("mv ~bob/.ssh/its\\ key ~bob/.ssh/was").ok();
    assert_told(&lab, &fake, "milena does not let us in", "docs/server.md");
    lab.root("mv ~bob/.ssh/was ~bob/.ssh/its\\ key").ok();
}

#[test]
fn what_a_server_without_borg_answers_is_told() {
    if !available(&[Need::Root, Need::Sshd]) {
        return;
    }
    let Some(flavour) = Flavour::any() else { return };
    let mut lab = Lab::new(flavour);
    let fake = FakeBorg::install(&mut lab.sandbox);
    // To bob's own account there, which has a real shell.
    lab.place(
        r#""backup_server": "milena", "backup_path": "backup", "backup_user": "bob", "ssh_from": "bob",
        "filesystems_to_backup": ["/boot"]"#,
    );
    lab.sandbox.set("BORG_REMOTE_PATH", "no-such-borg");
    assert_told(&lab, &fake, "there is no borg on milena", "apt install borgbackup");
    lab.sandbox.set("BORG_REMOTE_PATH", "echo Welcome to; echo");
    assert_told(&lab, &fake, "milena answers with something that is not borg", "start-up files");
}

#[test]
fn a_server_that_is_silent_or_out_of_reach_is_told() {
    if !available(&[Need::Root, Need::Sshd]) {
        return;
    }
    let Some(flavour) = Flavour::any() else { return };
    let mut lab = Lab::new(flavour);
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    lab.place(&format!(r#""backup_server": "127.0.0.1:{port}", "backup_path": "backup""#));
    lab.sandbox.set("BORG_RSH", "ssh -o ConnectTimeout=1");
    let said = lab.offsite(&["list"]).fails();
    assert!(said.contains("127.0.0.1 does not answer"), "{said}");
    let without_network = |lab: &Lab| {
        let program = lab.inside("unshare").args(["--net"]).arg(crate::common::binary());
        program.arg("--config").arg(lab.sandbox.config()).arg("list").fails()
    };
    let said = without_network(&lab);
    assert!(said.contains("there is no route to 127.0.0.1"), "{said}");
}
