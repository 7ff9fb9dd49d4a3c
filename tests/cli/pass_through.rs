//! Commands that are borg's own, on a real local repository.

use std::ffi::OsString;
use std::io::Read;
use std::os::unix::ffi::OsStringExt;
use std::process::Stdio;

use crate::support::{Home, PROGRAM, ends_with_code, path_with};

#[test]
fn init_puts_the_key_where_the_tool_expects_it() {
    let home = Home::new();
    let output = home.ours(["init", "-v", "-e", "keyfile-blake2"]).output().unwrap();
    ends_with_code(&output, 0);
    assert!(home.path("repository/config").is_file());
    let key = std::fs::read_to_string(home.path(".borg-offsite-backup.key")).unwrap();
    assert!(key.starts_with("BORG_KEY "));
    ends_with_code(&home.ours(["info"]).output().unwrap(), 0);
}

#[test]
fn list_has_borgs_options_and_borgs_output() {
    let home = Home::with_archives(&["2026-11-22", "2026-11-23"]);
    let output = home.ours(["list", "--json", "-v"]).output().unwrap();
    ends_with_code(&output, 0);
    let list: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(list["archives"][1]["name"], "2026-11-23");
    let output = home.ours(["list", "--short", "::2026-11-22"]).output().unwrap();
    assert_eq!(home.text(&output.stdout), "files\nfiles/letter\n");
}

#[test]
fn options_before_the_command_are_ours_and_those_after_it_are_borgs() {
    let home = Home::new();
    let bin = home.fake_borg("printf '%s\\n' \"$@\"");
    let mut command = home.ours(["-q", "-v", "list", "-q", "-v", "--config", "x", "--version", "--quiet"]);
    let output = command.env("PATH", path_with(&bin)).output().unwrap();
    ends_with_code(&output, 0);
    assert_eq!(home.text(&output.stdout), "list\n-q\n-v\n--config\nx\n--version\n--quiet\n");
}

#[test]
fn the_exit_code_is_borgs() {
    let home = Home::with_archives(&["a"]);
    let output = home.ours(["extract", "::nope"]).output().unwrap();
    ends_with_code(&output, 2);
    assert!(home.text(&output.stderr).contains("Archive nope does not exist"));
    let bin = home.fake_borg("exit 107");
    ends_with_code(&home.ours(["check"]).env("PATH", path_with(&bin)).output().unwrap(), 107);
}

#[test]
fn latest_is_the_archive_that_was_made_last() {
    let home = Home::with_archives(&["z-first", "m-second", "a-last"]);
    let output = home.ours(["extract", "--stdout", "::latest", "files/letter"]).output().unwrap();
    ends_with_code(&output, 0);
    assert_eq!(home.text(&output.stdout), "a-last");
}

#[test]
fn latest_in_an_empty_repository_is_told() {
    let home = Home::with_archives(&[]);
    let output = home.ours(["list", "::latest"]).output().unwrap();
    ends_with_code(&output, 1);
    assert_eq!(
        home.text(&output.stderr),
        "error: there is no archive in HOME/repository yet [not-found]\n  `borg-offsite-backup create` makes the first one\n"
    );
}

#[test]
fn an_exact_name_needs_no_look_into_the_repository() {
    let home = Home::new();
    let bin = home.fake_borg("echo \"$@\" >> calls");
    for name in ["::a", "::2026-11-23T10:00", "::latest.checkpoint"] {
        let _ = std::fs::remove_file(home.path("calls"));
        let output = home.ours(["info", name]).env("PATH", path_with(&bin)).output().unwrap();
        ends_with_code(&output, 0);
        assert_eq!(std::fs::read_to_string(home.path("calls")).unwrap(), format!("info {name}\n"));
    }
}

#[test]
fn two_archives_are_compared_by_their_words() {
    let home = Home::with_archives(&["a", "b"]);
    let output = home.ours(["diff", "::a", "::latest"]).output().unwrap();
    ends_with_code(&output, 0);
    assert!(home.text(&output.stdout).contains("files/letter"), "{}", home.text(&output.stdout));
}

#[test]
fn raw_bytes_in_arguments_reach_borg_and_its_output_reaches_us() {
    let home = Home::with_archives(&[]);
    let name = OsString::from_vec(b"files/b\xe4d".to_vec());
    std::fs::write(home.path("files").join(OsString::from_vec(b"b\xe4d".to_vec())), "raw").unwrap();
    home.borg(["create", "::a", "files"]);
    let mut path = OsString::from("pf:");
    path.push(name);
    let output = home.ours(["extract".into(), "--stdout".into(), "::latest".into(), path]).output().unwrap();
    assert_eq!(home.text(&output.stdout), "raw", "{}", home.text(&output.stderr));
}

#[test]
fn a_passphrase_from_a_descriptor_is_read_once_and_serves_every_borg() {
    let home = Home::new();
    let keyed = |args: &str| {
        std::fs::write(home.path("secret"), "sesame\n").unwrap();
        let mut shell = home.command("sh");
        shell.arg("-c").arg(format!("exec 9<secret; exec {PROGRAM} --config x.conf {args}"));
        shell.env("BORG_PASSPHRASE_FD", "9").output().unwrap()
    };
    ends_with_code(&keyed("init -e repokey-blake2"), 0);
    ends_with_code(&keyed("info"), 0);
    // With ::latest there are two borgs: one that looks it up, and the one we become.
    let output = keyed("list ::latest");
    assert!(home.text(&output.stderr).contains("there is no archive"), "{}", home.text(&output.stderr));
    let made = home
        .command("borg")
        .args(["create", "::a", "x.conf"])
        .env("BORG_REPO", home.path("repository"))
        .env("BORG_PASSPHRASE", "sesame")
        .output()
        .unwrap();
    ends_with_code(&made, 0);
    let output = keyed("list --short ::latest");
    ends_with_code(&output, 0);
    assert_eq!(home.text(&output.stdout), "x.conf\n");
}

#[test]
fn a_wrong_passphrase_is_borgs_affair_or_told_by_us() {
    let home = Home::new();
    let with = |passphrase: &str, args: &[&str]| {
        home.ours(args).env("BORG_PASSPHRASE", passphrase).output().unwrap()
    };
    ends_with_code(&with("sesame", &["init", "-e", "repokey-blake2"]), 0);
    let output = with("wrong", &["list"]);
    ends_with_code(&output, 2);
    // "passphrase supplied in …" and in borg 1.4 "Passphrase supplied in …"
    assert!(home.text(&output.stderr).contains("assphrase supplied in"), "{}", home.text(&output.stderr));
    let output = with("wrong", &["list", "::latest"]);
    ends_with_code(&output, 1);
    assert!(
        home.text(&output.stderr).starts_with("error: cannot list the archives: the passphrase is wrong"),
        "{}",
        home.text(&output.stderr)
    );
}

#[test]
fn signals_reach_borg_because_the_process_is_borg() {
    let home = Home::new();
    home.borg(["init", "-e", "none"]);
    std::fs::write(home.path("big"), vec![b'x'; 8 << 20]).unwrap();
    home.borg(["create", "::a", "big"]);
    let mut child = home
        .ours(["extract", "--stdout", "::a", "big"])
        .env("BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK", "yes")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Once it writes it runs, and it cannot end: the pipe is full.
    child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
    let command_line = std::fs::read(format!("/proc/{}/cmdline", child.id())).unwrap();
    assert!(String::from_utf8_lossy(&command_line).contains("borg\0extract\0"));
    let pid = nix::unistd::Pid::from_raw(child.id() as i32);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.code().is_some_and(|code| code != 0), "{:?}", output.status);
    assert!(home.text(&output.stderr).contains("SIGTERM"), "{}", home.text(&output.stderr));
    assert!(!home.path("repository/lock.exclusive").exists());
}

#[test]
fn borg_gets_a_clean_set_of_signals_and_the_locale_of_the_user() {
    let home = Home::new();
    let bin = home.fake_borg("grep -E 'SigIgn|SigBlk|SigCgt' /proc/self/status; echo \"${LC_ALL-unset}\"");
    let direct = home.command(bin.join("borg")).output().unwrap();
    let output = home.ours(["list"]).env("PATH", path_with(&bin)).output().unwrap();
    assert_eq!(home.text(&output.stdout), home.text(&direct.stdout));
    assert!(home.text(&output.stdout).ends_with("unset\n"));
}

#[test]
fn help_of_borgs_commands_is_borgs_and_needs_no_configuration() {
    let home = Home::new();
    for args in [&["list", "--help"][..], &["--config", "/nonexistent", "init", "-h"], &["help", "patterns"]]
    {
        let output = home.command(PROGRAM).args(args).output().unwrap();
        ends_with_code(&output, 0);
        let told = home.text(&output.stdout);
        assert!(told.contains("usage: borg") || told.contains("Shell-style"), "{told}");
    }
}

#[test]
fn a_mistyped_command_is_told_with_the_nearest_one() {
    let home = Home::new();
    let output = home.ours(["extarct", "::today"]).output().unwrap();
    ends_with_code(&output, 2);
    assert_eq!(
        home.text(&output.stderr),
        "error: there is no command `extarct` [usage]
  did you mean `extract`?
  `borg-offsite-backup --help` shows all
"
    );
    let output = home.ours(["frobnicate"]).output().unwrap();
    ends_with_code(&output, 2);
    assert!(!home.text(&output.stderr).contains("did you mean"));
}

#[test]
fn the_connection_is_kept_alive_unless_the_user_knows_better() {
    let home = Home::new();
    let fake = home
        .fake_borg("printf '%s\\n' \"$BORG_REPO\" \"$BORG_RSH\" \"$BORG_KEY_FILE\" \"[$BORG_PASSPHRASE]\"");
    // Where ssh leads to something that speaks as borg does.
    for ssh in ["ssh", "my"] {
        std::fs::copy(fake.join("borg"), fake.join(ssh)).unwrap();
        std::fs::write(fake.join(ssh), "#!/bin/sh\nprintf '\\202'\n").unwrap();
    }
    home.configure(r#"{"backup_server": "milena", "backup_user": "me", "backup_path": "/srv/b"}"#);
    let said = |more: &[(&str, &str)]| {
        let mut command = home.ours(["list"]);
        command.env("PATH", path_with(&fake)).env_remove("BORG_KEY_FILE").env_remove("BORG_PASSPHRASE");
        let output = command.envs(more.iter().copied()).output().unwrap();
        ends_with_code(&output, 0);
        home.text(&output.stdout)
    };
    // Where there is no key of ours, borg looks for one itself.
    assert_eq!(said(&[]).lines().nth(2), Some(""));
    std::fs::write(home.path(".borg-offsite-backup.key"), "").unwrap();
    let plain = said(&[]);
    let mut lines = plain.lines();
    assert_eq!(lines.next(), Some("ssh://me@milena/srv/b"));
    let rsh = lines.next().unwrap();
    assert!(rsh.starts_with("ssh ") && rsh.contains("ServerAliveInterval=15"), "{rsh}");
    assert!(lines.next().unwrap().ends_with("/.borg-offsite-backup.key"));
    assert_eq!(lines.next(), Some("[]"));
    let own = said(&[("BORG_RSH", "my ssh"), ("BORG_KEY_FILE", "/k"), ("BORG_PASSPHRASE", "p")]);
    assert_eq!(own.lines().skip(1).collect::<Vec<_>>(), ["my ssh", "/k", "[p]"]);
}
