//! `check-config`

use std::os::unix::fs::PermissionsExt;

use serde_json::json;

use crate::support::{Console, machine, with_directory};

#[test]
fn it_tells_what_the_configuration_comes_to() {
    let machine = machine();
    std::fs::create_dir(machine.path("data")).unwrap();
    machine.write(
        "x.conf",
        format!(
            r#"{{"backup_server": "milena", "backup_user": "me", "backup_path": "/srv/b",
            "bridge_vm": "backup", "ssh_from": "user",
            "datasets_to_backup": ["tank/home", {{"name": "tank/*/private", "glob": true}},
                                   {{"name": "tank/vm", "recursive": true}}],
            "filesystems_to_backup": ["/", "{}"], "exclude_patterns": ["fm:*.o", "tmp/*"],
            "keep_daily": -1, "keep_weekly": 0, "keep_monthly": 3, "prune_on_days": [1, 15]}}"#,
            machine.path("data").display()
        ),
    );
    let bin = machine.script("borg", "echo borg 1.2.9");
    let output = machine.ours(["check-config"]).search_first(&bin).run().exits(0);
    assert_eq!(
        machine.text(&output.stdout),
        "x.conf is good
  repository  ssh://me@milena/srv/b
  connection  ssh as user in the qube backup
  key         DIR/home/.borg-offsite-backup.key (not there)
  passphrase  empty
  borg        borg 1.2.9
  directories /
              DIR/data (a directory, not a mount point)
  datasets    tank/home
              tank/*/private (all whose names match)
              tank/vm and all below it
  excludes    2 patterns
  caches      left out (directories with a CACHEDIR.TAG)
  compression auto,zstd
  keeps       all daily, 3 monthly archives
  prunes      after a backup on these days of the month: 1, 15
  archives    named yyyy-mm-dd
  warnings    `create` ends with exit code 0
"
    );
    let said = machine.text(&output.stderr);
    let zfs = said.lines().find(|line| line.contains("cannot start zfs")).expect("here there is no ZFS");
    assert!(zfs.contains("ZFS") || zfs.contains("zfsutils-linux"), "{zfs}");
    assert!(!zfs.contains("borgbackup"), "{zfs}");
    assert!(said.contains("bridge_vm: there is no qvm-run, qvm-check, qvm-start, qvm-shutdown; "), "{said}");
    // Where they are, nothing is missing.
    let qubes = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fakes/qubes");
    let output = machine.ours(["check-config"]).search_first(qubes).search_first(&bin).run();
    assert!(!machine.text(&output.stderr).contains("qvm-"));
    // It is not used with a way of the user's own.
    let output = machine.ours(["check-config"]).search_first(&bin).env("BORG_RSH", "ssh").run();
    assert!(!machine.text(&output.stderr).contains("qvm-"));
}

#[test]
fn it_tells_who_would_connect_and_warns_when_nobody_can() {
    let machine = with_directory();
    let told = |members: &str| {
        machine.write("x.conf", format!(r#"{{"backup_server": "milena", "backup_path": "b"{members}}}"#));
        let output = machine.ours(["check-config"]).run().exits(0);
        machine.text(&[output.stdout, output.stderr].concat())
    };
    assert!(told("").contains("connection  ssh as this account"));
    assert!(told(r#", "bridge_vm": "backup""#).contains("connection  ssh in the qube backup"));
    let missing = told(r#", "ssh_from": "no-such-account""#);
    assert!(missing.contains("connection  ssh as no-such-account"), "{missing}");
    assert!(missing.contains("there is no account `no-such-account` on this machine"), "{missing}");
}

#[test]
fn it_tells_the_same_as_json() {
    let machine = machine();
    let bin = machine.script("borg", "echo borg 1.2.9");
    std::fs::write(machine.path("home/.borg-offsite-backup.key"), "").unwrap();
    std::fs::set_permissions(machine.path("home/.borg-offsite-backup.key"), PermissionsExt::from_mode(0o600))
        .unwrap();
    let output = machine
        .ours(["check-config", "--json"])
        .search_first(&bin)
        .env("BORG_PASSCOMMAND", "echo secret")
        .run()
        .exits(0);
    let told: serde_json::Value = serde_json::from_str(&machine.text(&output.stdout)).unwrap();
    assert_eq!(
        told,
        json!({
            "config": "x.conf",
            "repository": "DIR/repository",
            "repository_exists": false,
            "archive_suffix": null,
            "earlier_host_names": [],
            "catalog_cache_mb": null,
            "backup_server": null,
            "backup_user": null,
            "backup_path": "DIR/repository",
            "remote_path": null,
            "bridge_vm": null,
            "connection": null,
            "ssh_from": null,
            "key_file": "DIR/home/.borg-offsite-backup.key",
            "key_file_exists": true,
            "passphrase": "BORG_PASSCOMMAND",
            "borg": "borg 1.2.9",
            "filesystems_to_backup": [{"path": "/", "exists": true, "mount_point": true}],
            "datasets_to_backup": [],
            "exclude_patterns": 0,
            "exclude_caches": true,
            "compression": "auto,zstd",
            "keep_daily": 7,
            "keep_weekly": 4,
            "keep_monthly": 12,
            "prune_on_days": null,
            "compact_after_prune": false,
            "keep_bookmarks": true,
            "fail_on_warnings": false,
            "stall_limit": 3600,
            "before_backup": null,
            "after_backup": null,
            "on_success": null,
            "on_failure": null,
            "commands": {},
            "warnings": ["there is no directory DIR/repository; `borg-offsite-backup init` creates it"],
        })
    );
}

#[test]
fn what_is_wrong_on_this_machine_is_a_warning() {
    let machine = machine();
    machine
        .write("x.conf", r#"{"backup_path": "/nonexistent/b", "filesystems_to_backup": ["/nonexistent/c"]}"#);
    std::fs::write(machine.path("home/.borg-offsite-backup.key"), "").unwrap();
    std::fs::set_permissions(machine.path("home/.borg-offsite-backup.key"), PermissionsExt::from_mode(0o644))
        .unwrap();
    let output = machine
        .ours(["--quiet", "check-config"])
        .env("PATH", "/nonexistent")
        .env("BORG_REPO", "/elsewhere")
        .run()
        .exits(0);
    assert_eq!(
        machine.text(&output.stderr).replacen("; apt install borgbackup\n", "\n", 1),
        "warning: cannot start borg: there is no such program on PATH
warning: there is no directory /nonexistent/b; `borg-offsite-backup init` creates it
warning: others on this machine can read the key: chmod 600 DIR/home/.borg-offsite-backup.key
warning: there is no directory /nonexistent/c
warning: BORG_REPO is set, but ignored: the configuration names the repository
"
    );
}

#[test]
fn nothing_to_back_up_is_a_warning_since_restoring_works() {
    let machine = with_directory();
    machine.write("x.conf", format!(r#"{{"backup_path": "{}"}}"#, machine.repository().display()));
    let output = machine.ours(["check-config"]).run().exits(0);
    assert_eq!(
        machine.text(&output.stderr),
        "warning: x.conf names nothing to back up: `create` cannot work, restoring can\n"
    );
}

#[test]
fn the_passphrase_is_never_shown() {
    let machine = machine();
    for args in [&["check-config"][..], &["-vvv", "check-config", "--json"]] {
        let output = machine.ours(args).env("BORG_PASSPHRASE", "sesame").run();
        let all = [output.stdout, output.stderr].concat();
        assert!(!machine.text(&all).contains("sesame"));
        assert!(machine.text(&all).contains("BORG_PASSPHRASE"));
    }
}

#[test]
fn commands_around_the_backup_are_shown_and_a_missing_one_is_a_warning() {
    let machine = with_directory();
    machine.write(
        "x.conf",
        format!(
            r#"{{"backup_path": "{}", "filesystems_to_backup": ["/"], "before_backup": ["sh", "-c", "a b"],
            "on_failure": {{"command": ["/nowhere/tell"], "deadline": 9}}}}"#,
            machine.repository().display()
        ),
    );
    let output = machine.ours(["check-config"]).run().exits(0);
    let told = machine.text(&output.stdout);
    assert!(told.contains("\n  commands    before_backup: sh -c 'a b' (at most 3600 s)\n"), "{told}");
    assert!(told.contains("on_failure: /nowhere/tell (at most 9 s)\n"), "{told}");
    assert_eq!(machine.text(&output.stderr), "warning: on_failure: there is no program /nowhere/tell\n");
    let output = machine.ours(["check-config", "--json"]).run();
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(told["commands"]["on_failure"], json!({"command": ["/nowhere/tell"], "deadline": 9}));
}
