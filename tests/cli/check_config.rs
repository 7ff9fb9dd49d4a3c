//! `check-config`

use std::os::unix::fs::PermissionsExt;

use serde_json::json;

use crate::support::{Home, ends_with_code, path_with};

#[test]
fn it_tells_what_the_configuration_comes_to() {
    let home = Home::new();
    std::fs::create_dir(home.path("data")).unwrap();
    home.configure(format!(
        r#"{{"backup_server": "milena", "backup_user": "me", "backup_path": "/srv/b",
            "bridge_vm": "backup", "ssh_from": "user",
            "datasets_to_backup": ["tank/home", {{"name": "tank/*/private", "glob": true}},
                                   {{"name": "tank/vm", "recursive": true}}],
            "filesystems_to_backup": ["/", "{}"], "exclude_patterns": ["fm:*.o", "tmp/*"],
            "keep_daily": -1, "keep_weekly": 0, "keep_monthly": 3, "prune_on_days": [1, 15]}}"#,
        home.path("data").display()
    ));
    let bin = home.fake_borg("echo borg 1.2.9");
    let output = home.ours(["check-config"]).env("PATH", path_with(&bin)).output().unwrap();
    ends_with_code(&output, 0);
    assert_eq!(
        home.text(&output.stdout),
        "x.conf is good
  repository  ssh://me@milena/srv/b
  connection  ssh as user in the qube backup
  key         HOME/.borg-offsite-backup.key (not there)
  passphrase  empty
  borg        borg 1.2.9
  directories /
              HOME/data (a directory, not a mount point)
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
    let said = home.text(&output.stderr);
    let zfs = said.lines().find(|line| line.contains("cannot start zfs")).expect("here there is no ZFS");
    assert!(zfs.contains("ZFS") || zfs.contains("zfsutils-linux"), "{zfs}");
    assert!(!zfs.contains("borgbackup"), "{zfs}");
    assert!(said.contains("bridge_vm: there is no qvm-run, qvm-check, qvm-start, qvm-shutdown; "), "{said}");
    // Where they are, nothing is missing.
    let qubes = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fakes/qubes");
    let path = format!("{}:{qubes}", path_with(&bin));
    let output = home.ours(["check-config"]).env("PATH", path).output().unwrap();
    assert!(!home.text(&output.stderr).contains("qvm-"));
    // It is not used with a way of the user's own.
    let output =
        home.ours(["check-config"]).env("PATH", path_with(&bin)).env("BORG_RSH", "ssh").output().unwrap();
    assert!(!home.text(&output.stderr).contains("qvm-"));
}

#[test]
fn it_tells_who_would_connect_and_warns_when_nobody_can() {
    let home = Home::with_directory();
    let told = |members: &str| {
        home.configure(format!(r#"{{"backup_server": "milena", "backup_path": "b"{members}}}"#));
        let output = home.ours(["check-config"]).output().unwrap();
        ends_with_code(&output, 0);
        home.text(&[output.stdout, output.stderr].concat())
    };
    assert!(told("").contains("connection  ssh as this account"));
    assert!(told(r#", "bridge_vm": "backup""#).contains("connection  ssh in the qube backup"));
    let missing = told(r#", "ssh_from": "no-such-account""#);
    assert!(missing.contains("connection  ssh as no-such-account"), "{missing}");
    assert!(missing.contains("there is no account `no-such-account` on this machine"), "{missing}");
}

#[test]
fn it_tells_the_same_as_json() {
    let home = Home::new();
    let bin = home.fake_borg("echo borg 1.2.9");
    std::fs::write(home.path(".borg-offsite-backup.key"), "").unwrap();
    std::fs::set_permissions(home.path(".borg-offsite-backup.key"), PermissionsExt::from_mode(0o600))
        .unwrap();
    let output = home
        .ours(["check-config", "--json"])
        .env("PATH", path_with(&bin))
        .env("BORG_PASSCOMMAND", "echo secret")
        .output()
        .unwrap();
    ends_with_code(&output, 0);
    let told: serde_json::Value = serde_json::from_str(&home.text(&output.stdout)).unwrap();
    assert_eq!(
        told,
        json!({
            "config": "x.conf",
            "repository": "HOME/repository",
            "repository_exists": false,
            "archive_suffix": null,
            "earlier_host_names": [],
            "backup_server": null,
            "backup_user": null,
            "backup_path": "HOME/repository",
            "remote_path": null,
            "bridge_vm": null,
            "connection": null,
            "ssh_from": null,
            "key_file": "HOME/.borg-offsite-backup.key",
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
            "warnings": ["there is no directory HOME/repository; `borg-offsite-backup init` creates it"],
        })
    );
}

#[test]
fn what_is_wrong_on_this_machine_is_a_warning() {
    let home = Home::new();
    home.configure(r#"{"backup_path": "/nonexistent/b", "filesystems_to_backup": ["/nonexistent/c"]}"#);
    std::fs::write(home.path(".borg-offsite-backup.key"), "").unwrap();
    std::fs::set_permissions(home.path(".borg-offsite-backup.key"), PermissionsExt::from_mode(0o644))
        .unwrap();
    let output = home
        .ours(["--quiet", "check-config"])
        .env("PATH", "/nonexistent")
        .env("BORG_REPO", "/elsewhere")
        .output()
        .unwrap();
    ends_with_code(&output, 0);
    assert_eq!(
        home.text(&output.stderr).replacen("; apt install borgbackup\n", "\n", 1),
        "warning: cannot start borg: there is no such program on PATH
warning: there is no directory /nonexistent/b; `borg-offsite-backup init` creates it
warning: others on this machine can read the key: chmod 600 HOME/.borg-offsite-backup.key
warning: there is no directory /nonexistent/c
warning: BORG_REPO is set, but ignored: the configuration names the repository
"
    );
}

#[test]
fn nothing_to_back_up_is_a_warning_since_restoring_works() {
    let home = Home::with_directory();
    home.configure(format!(r#"{{"backup_path": "{}"}}"#, home.path("repository").display()));
    let output = home.ours(["check-config"]).output().unwrap();
    ends_with_code(&output, 0);
    assert_eq!(
        home.text(&output.stderr),
        "warning: x.conf names nothing to back up: `create` cannot work, restoring can\n"
    );
}

#[test]
fn the_passphrase_is_never_shown() {
    let home = Home::new();
    for args in [&["check-config"][..], &["-vvv", "check-config", "--json"]] {
        let output = home.ours(args).env("BORG_PASSPHRASE", "sesame").output().unwrap();
        let all = [output.stdout, output.stderr].concat();
        assert!(!home.text(&all).contains("sesame"));
        assert!(home.text(&all).contains("BORG_PASSPHRASE"));
    }
}

#[test]
fn commands_around_the_backup_are_shown_and_a_missing_one_is_a_warning() {
    let home = Home::with_directory();
    home.configure(format!(
        r#"{{"backup_path": "{}", "filesystems_to_backup": ["/"], "before_backup": ["sh", "-c", "a b"],
            "on_failure": {{"command": ["/nowhere/tell"], "deadline": 9}}}}"#,
        home.path("repository").display()
    ));
    let output = home.ours(["check-config"]).output().unwrap();
    ends_with_code(&output, 0);
    let told = home.text(&output.stdout);
    assert!(told.contains("\n  commands    before_backup: sh -c 'a b' (at most 3600 s)\n"), "{told}");
    assert!(told.contains("on_failure: /nowhere/tell (at most 9 s)\n"), "{told}");
    assert_eq!(home.text(&output.stderr), "warning: on_failure: there is no program /nowhere/tell\n");
    let output = home.ours(["check-config", "--json"]).output().unwrap();
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(told["commands"]["on_failure"], json!({"command": ["/nowhere/tell"], "deadline": 9}));
}
