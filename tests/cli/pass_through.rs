//! Commands that are borg's own, on a real local repository.

use std::ffi::OsString;
use std::io::Read;
use std::os::unix::ffi::OsStringExt;

use crate::support::{Console, machine, with_archives};

#[test]
fn init_puts_the_key_where_the_tool_expects_it() {
    let machine = machine();
    machine.ours(["init", "-v", "-e", "keyfile-blake2"]).ok();
    assert!(machine.path("repository/config").is_file());
    let key = std::fs::read_to_string(machine.path("home/.borg-offsite-backup.key")).unwrap();
    assert!(key.starts_with("BORG_KEY "));
    machine.ours(["info"]).run().exits(0);
}

#[test]
fn list_has_borgs_options_and_borgs_output() {
    let machine = with_archives(&["2026-11-22", "2026-11-23"]);
    let output = machine.ours(["list", "--json", "-v"]).run().exits(0);
    let list: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(list["archives"][1]["name"], "2026-11-23");
    let output = machine.ours(["list", "--short", "::2026-11-22"]).run();
    assert_eq!(machine.text(&output.stdout), "files\nfiles/letter\n");
}

#[test]
fn options_before_the_command_are_ours_and_those_after_it_are_borgs() {
    let machine = machine();
    let bin = machine.script("borg", "printf '%s\\n' \"$@\"");
    let program = machine.ours(["-q", "-v", "list", "-q", "-v", "--config", "x", "--version", "--quiet"]);
    let output = program.search_first(bin).run().exits(0);
    assert_eq!(machine.text(&output.stdout), "list\n-q\n-v\n--config\nx\n--version\n--quiet\n");
}

#[test]
fn the_exit_code_is_borgs() {
    let machine = with_archives(&["a"]);
    let output = machine.ours(["extract", "::nope"]).run().exits(2);
    assert!(machine.text(&output.stderr).contains("Archive nope does not exist"));
    let bin = machine.script("borg", "exit 107");
    machine.ours(["check"]).search_first(&bin).run().exits(107);
}

#[test]
fn latest_is_the_archive_that_was_made_last() {
    let machine = with_archives(&["z-first", "m-second", "a-last"]);
    let output = machine.ours(["extract", "--stdout", "::latest", "files/letter"]).run().exits(0);
    assert_eq!(machine.text(&output.stdout), "a-last");
}

#[test]
fn latest_in_an_empty_repository_is_told() {
    let machine = with_archives(&[]);
    let output = machine.ours(["list", "::latest"]).run().exits(1);
    assert_eq!(
        machine.text(&output.stderr),
        "error: there is no archive in DIR/repository yet [not-found]\n  `borg-offsite-backup create` makes the first one\n"
    );
}

#[test]
fn an_exact_name_needs_no_look_into_the_repository() {
    let machine = machine();
    let bin = machine.script("borg", "echo \"$@\" >> calls");
    for name in ["::a", "::2026-11-23T10:00", "::latest.checkpoint"] {
        let _ = std::fs::remove_file(machine.path("calls"));
        machine.ours(["info", name]).search_first(&bin).ok();
        assert_eq!(std::fs::read_to_string(machine.path("calls")).unwrap(), format!("info {name}\n"));
    }
}

#[test]
fn two_archives_are_compared_by_their_words() {
    let machine = with_archives(&["a", "b"]);
    let output = machine.ours(["diff", "::a", "::latest"]).run().exits(0);
    assert!(machine.text(&output.stdout).contains("files/letter"), "{}", machine.text(&output.stdout));
}

#[test]
fn raw_bytes_in_arguments_reach_borg_and_its_output_reaches_us() {
    let machine = with_archives(&[]);
    let name = OsString::from_vec(b"files/b\xe4d".to_vec());
    std::fs::write(machine.path("files").join(OsString::from_vec(b"b\xe4d".to_vec())), "raw").unwrap();
    machine.borg_here(["create", "::a", "files"]);
    let mut path = OsString::from("pf:");
    path.push(name);
    let output = machine.ours(["extract".into(), "--stdout".into(), "::latest".into(), path]).run();
    assert_eq!(machine.text(&output.stdout), "raw", "{}", machine.text(&output.stderr));
}

#[test]
fn a_passphrase_from_a_descriptor_is_read_once_and_serves_every_borg() {
    let machine = machine();
    let keyed = |args: &str| {
        std::fs::write(machine.path("secret"), "sesame\n").unwrap();
        let program = machine.binary();
        let script = format!("exec 9<secret; exec {} --config x.conf {args}", program.display());
        machine.command("sh").args(["-c", &script]).env("BORG_PASSPHRASE_FD", "9").run()
    };
    keyed("init -e repokey-blake2").exits(0);
    keyed("info").exits(0);
    // With ::latest there are two borgs: one that looks it up, and the one we become.
    let output = keyed("list ::latest");
    assert!(machine.text(&output.stderr).contains("there is no archive"), "{}", machine.text(&output.stderr));
    let create = machine.borg(["create", "::a", "x.conf"]).current_dir(&machine.path(""));
    create.env("BORG_PASSPHRASE", "sesame").ok();
    let output = keyed("list --short ::latest").exits(0);
    assert_eq!(machine.text(&output.stdout), "x.conf\n");
}

#[test]
fn a_wrong_passphrase_is_borgs_affair_or_told_by_us() {
    let machine = machine();
    let with = |passphrase: &str, args: &[&str]| machine.ours(args).env("BORG_PASSPHRASE", passphrase).run();
    with("sesame", &["init", "-e", "repokey-blake2"]).exits(0);
    let output = with("wrong", &["list"]).exits(2);
    // "passphrase supplied in …" and in borg 1.4 "Passphrase supplied in …"
    assert!(
        machine.text(&output.stderr).contains("assphrase supplied in"),
        "{}",
        machine.text(&output.stderr)
    );
    let output = with("wrong", &["list", "::latest"]).exits(1);
    assert!(
        machine.text(&output.stderr).starts_with("error: cannot list the archives: the passphrase is wrong"),
        "{}",
        machine.text(&output.stderr)
    );
}

#[test]
fn signals_reach_borg_because_the_process_is_borg() {
    let machine = machine();
    machine.borg_here(["init", "-e", "none"]);
    std::fs::write(machine.path("big"), vec![b'x'; 8 << 20]).unwrap();
    machine.borg_here(["create", "::a", "big"]);
    let mut child = machine
        .ours(["extract", "--stdout", "::a", "big"])
        .env("BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK", "yes")
        .spawn_piped();
    // Once it writes it runs, and it cannot end: the pipe is full.
    child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
    let command_line = std::fs::read(format!("/proc/{}/cmdline", child.id())).unwrap();
    assert!(String::from_utf8_lossy(&command_line).contains("borg\0extract\0"));
    let pid = nix::unistd::Pid::from_raw(child.id() as i32);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.code().is_some_and(|code| code != 0), "{:?}", output.status);
    assert!(machine.text(&output.stderr).contains("SIGTERM"), "{}", machine.text(&output.stderr));
    assert!(!machine.path("repository/lock.exclusive").exists());
}

#[test]
fn borg_gets_a_clean_set_of_signals_and_the_locale_of_the_user() {
    let machine = machine();
    let bin =
        machine.script("borg", "grep -E 'SigIgn|SigBlk|SigCgt' /proc/self/status; echo \"${LC_ALL-unset}\"");
    let direct = machine.command(bin.join("borg")).run();
    let output = machine.ours(["list"]).search_first(&bin).run();
    assert_eq!(machine.text(&output.stdout), machine.text(&direct.stdout));
    assert!(machine.text(&output.stdout).ends_with("unset\n"));
}

#[test]
fn help_of_borgs_commands_is_borgs_and_needs_no_configuration() {
    let machine = machine();
    for args in [&["list", "--help"][..], &["--config", "/nonexistent", "init", "-h"], &["help", "patterns"]]
    {
        let output = machine.command(machine.binary()).args(args).run().exits(0);
        let told = machine.text(&output.stdout);
        assert!(told.contains("usage: borg") || told.contains("Shell-style"), "{told}");
    }
}

#[test]
fn a_mistyped_command_is_told_with_the_nearest_one() {
    let machine = machine();
    let output = machine.ours(["extarct", "::today"]).run().exits(2);
    assert_eq!(
        machine.text(&output.stderr),
        "error: there is no command `extarct` [usage]
  did you mean `extract`?
  `borg-offsite-backup --help` shows all
"
    );
    let output = machine.ours(["frobnicate"]).run().exits(2);
    assert!(!machine.text(&output.stderr).contains("did you mean"));
}

#[test]
fn the_connection_is_kept_alive_unless_the_user_knows_better() {
    let machine = machine();
    let fake = machine.script(
        "borg",
        "printf '%s\\n' \"$BORG_REPO\" \"$BORG_RSH\" \"$BORG_KEY_FILE\" \"[$BORG_PASSPHRASE]\"",
    );
    // Where ssh leads to something that speaks as borg does.
    for ssh in ["ssh", "my"] {
        std::fs::copy(fake.join("borg"), fake.join(ssh)).unwrap();
        std::fs::write(fake.join(ssh), "#!/bin/sh\nprintf '\\202'\n").unwrap();
    }
    machine.write("x.conf", r#"{"backup_server": "milena", "backup_user": "me", "backup_path": "/srv/b"}"#);
    let said = |more: &[(&str, &str)]| {
        let list = machine.ours(["list"]).search_first(&fake);
        let list = more.iter().fold(list, |list, (key, value)| list.env(key, value));
        machine.text(&list.ok().stdout)
    };
    // Where there is no key of ours, borg looks for one itself.
    assert_eq!(said(&[]).lines().nth(2), Some(""));
    std::fs::write(machine.path("home/.borg-offsite-backup.key"), "").unwrap();
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
