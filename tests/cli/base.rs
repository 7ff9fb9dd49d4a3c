//! Help, exit codes, voices, man pages: what all commands share.

use std::os::unix::fs::PermissionsExt;

use borg_offsite_backup::config::keys::KEYS;

use crate::support::{Console, machine, with_directory};

#[test]
fn help_opens_its_examples_with_getting_data_back() {
    let machine = machine();
    let output = machine.command(machine.binary()).arg("--help").run().exits(0);
    let help = machine.text(&output.stdout);
    let (restore, create) = (help.find("mount ::yesterday").unwrap(), help.find("-backup create").unwrap());
    assert!(restore < create, "{help}");
    assert!(!help.contains("generate"), "{help}");
    assert!(help.lines().all(|l| l.chars().count() <= 100), "{help}");
}

#[test]
fn a_wrong_option_is_a_usage_error_in_both_log_formats() {
    let machine = machine();
    let output = machine.command(machine.binary()).args(["check-config", "--jsno"]).run().exits(2);
    assert!(machine.text(&output.stderr).contains("unexpected argument '--jsno'"));

    let output = machine
        .command(machine.binary())
        .args(["--log-format=json", "check-config", "--jsno"])
        .run()
        .exits(2);
    let event: serde_json::Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!(event["level"], "ERROR");
    assert_eq!(event["message"], "unexpected argument '--jsno' found");
    assert!(event["hints"][0].as_str().unwrap().contains("'--json'"), "{event}");
}

#[test]
fn nothing_at_all_is_a_usage_error() {
    let machine = machine();
    machine.command(machine.binary()).run().exits(2);
}

#[test]
fn errors_are_red_on_a_terminal_only() {
    let machine = machine();
    let on_a_terminal = |no_color: &str| {
        let call = format!("{} --config /nonexistent list", machine.binary().display());
        let script = machine.command("script").args(["-qec", &call, "/dev/null"]);
        machine.text(&script.env("TERM", "xterm").env("NO_COLOR", no_color).run().stdout)
    };
    assert!(on_a_terminal("").starts_with("\x1b[1;31merror:\x1b[0m there is no"), "{}", on_a_terminal(""));
    assert!(on_a_terminal("1").starts_with("error: there is no"), "{}", on_a_terminal("1"));
    let piped = machine.command(machine.binary()).args(["--config", "/nonexistent", "list"]).run();
    assert!(machine.text(&piped.stderr).starts_with("error: there is no"));
}

#[test]
fn a_reader_that_went_away_is_no_error() {
    let machine = with_directory();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = machine.ours(["check-config"]).stdout(writer).run().exits(0);
    assert_eq!(machine.text(&output.stderr), "");
}

#[test]
fn a_full_disk_is_an_error() {
    let machine = with_directory();
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let output = machine.ours(["check-config"]).stdout(full).run().exits(1);
    assert!(machine.text(&output.stderr).starts_with("error: cannot write to standard output"));
}

#[test]
fn quiet_is_an_option_and_a_variable_that_is_told_when_nobody_understands_it() {
    const SAID: &str = "Man pages and completions are in pages\n";
    let machine = machine();
    let told = |value: &str, args: &[&str]| {
        let program = machine.ours(args).args(["generate", "pages"]);
        machine.text(&program.env("QUIET", value).run().stderr)
    };
    for value in ["yes", "1", "true", "YES"] {
        assert_eq!(told(value, &[]), "", "{value}");
    }
    for value in ["", "no", "0", "false"] {
        assert_eq!(told(value, &[]), SAID, "{value}");
        assert_eq!(told(value, &["-q"]), "", "{value}");
    }
    assert_eq!(
        told("maybe", &[]),
        format!("warning: QUIET is neither `yes` nor `no`, and is ignored\n{SAID}")
    );
}

#[test]
fn warnings_in_a_log_of_json_lines_are_objects() {
    let machine = with_directory();
    std::fs::set_permissions(machine.path("x.conf"), PermissionsExt::from_mode(0o666)).unwrap();
    std::fs::remove_dir(machine.repository()).unwrap();
    let output = machine.ours(["--log-format", "json", "-q", "check-config"]).run().exits(0);
    let told = machine.text(&output.stderr);
    let events: Vec<serde_json::Value> = told.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let messages: Vec<&str> = events.iter().map(|e| e["message"].as_str().unwrap()).collect();
    assert!(messages[0].starts_with("everyone on this machine can write"), "{told}");
    assert!(messages[1].starts_with("there is no directory DIR/repository"), "{told}");
    assert!(events.iter().all(|e| e["level"] == "WARN" && e["timestamp"].is_string()), "{told}");
}

#[test]
fn log_lines_in_a_file_have_the_time() {
    let machine = with_directory();
    std::fs::set_permissions(machine.path("x.conf"), PermissionsExt::from_mode(0o666)).unwrap();
    let log = std::fs::File::create(machine.path("log")).unwrap();
    machine.ours(["check-config"]).stderr(log).run().exits(0);
    let log = std::fs::read_to_string(machine.path("log")).unwrap();
    let (time, message) = log.split_at("2026-11-24 07:00:00".len());
    assert!(time.bytes().filter(u8::is_ascii_digit).count() == 14, "{log}");
    assert!(message.starts_with(" warning: everyone"), "{log}");
}

#[test]
fn man_pages_and_completions_come_from_the_same_definitions() {
    let machine = machine();
    machine.command(machine.binary()).args(["generate", "out/pages"]).run().exits(0);
    let read = |name: &str| std::fs::read_to_string(machine.path("out/pages").join(name)).unwrap();
    let page = read("borg-offsite-backup.1");
    for part in [
        ".SH EXAMPLES",
        "mount ::yesterday",
        ".SH \"EXIT STATUS\"",
        "\\fB75\\fR",
        ".SH FILES",
        "/etc/borg\\-offsite\\-backup.conf",
        ".SH ENVIRONMENT",
        "BORG_PASSPHRASE",
        "borg\\-offsite\\-backup\\-check\\-config(1)",
    ] {
        assert!(page.contains(part), "{part} is not in\n{page}");
    }
    assert!(read("borg-offsite-backup-check-config.1").contains("\\-\\-json"));
    for completion in ["borg-offsite-backup.bash", "_borg-offsite-backup", "borg-offsite-backup.fish"] {
        let text = read(completion);
        assert!(text.contains("check-config") && text.contains("export-tar"), "{completion}");
    }
}

#[test]
fn each_page_about_the_configuration_has_every_key() {
    let machine = machine();
    machine.command(machine.binary()).args(["generate", "pages"]).run().exits(0);
    let read = |name: &str| std::fs::read_to_string(machine.path("pages").join(name)).unwrap();
    let (tables, man) = (read("configuration-keys.md"), read("borg-offsite-backup.conf.5"));
    let page = include_str!("../../docs/configuration.md");
    let (_, on_page) = page.split_once("<!-- keys").and_then(|(_, rest)| rest.split_once("-->\n")).unwrap();
    let (on_page, _) = on_page.split_once("<!-- end").unwrap();
    assert_eq!(on_page, tables, "`make docs` writes the tables anew");
    machine.write("x.conf", r#"{"backup_path": "/srv/backup"}"#);
    let checked = machine.ours(["check-config", "--json"]).run();
    let checked: serde_json::Value = serde_json::from_slice(&checked.stdout).unwrap();
    for key in &KEYS {
        assert!(tables.contains(&format!("| `{}` |", key.name)), "{}", key.name);
        assert!(man.contains(&format!("\\fB{}\\fR", key.name)), "{}: {man}", key.name);
        assert!(checked.get(key.name).is_some(), "{}: {checked}", key.name);
    }
}
