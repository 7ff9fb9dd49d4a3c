//! What a person sees who made a mistake in the configuration.

use std::os::unix::fs::PermissionsExt;

use crate::support::{Console, machine, with_directory};

/// Runs `check-config` on `text`, which must be refused with exit code 2 and nothing on standard
/// output; returns what standard error shows.
#[track_caller]
fn refused(text: impl AsRef<[u8]>) -> String {
    let machine = machine();
    machine.write("x.conf", text);
    let output = machine.ours(["check-config"]).run().exits(2);
    assert!(output.stdout.is_empty());
    machine.text(&output.stderr)
}

const QUBES: &str = include_str!("samples/qubes.conf");
const MACHINE: &str = include_str!("samples/machine.conf");

#[test]
fn the_first_sample_of_the_readme_misses_a_comma() {
    assert_eq!(
        refused(QUBES),
        r#"x.conf:7:5: expected `,` or `}`
  6 |     "ssh_from": "user"
  7 |     "datasets_to_backup": [
    |     ^ a comma is missing at the end of line 6
"#
    );
}

#[test]
fn the_second_sample_of_the_readme_misses_a_comma_and_has_one_too_many() {
    assert_eq!(
        refused(MACHINE),
        r#"x.conf:6:5: expected `,` or `}`
  5 |     "ssh_from": "user"
  6 |     "exclude_patterns": [
    |     ^ a comma is missing at the end of line 5
"#
    );
    assert_eq!(
        refused(MACHINE.replace("\"user\"\n", "\"user\",\n")),
        r#"x.conf:25:6: expected another key
  24 |         "/boot/efi"
  25 |     ],
     |      ^ this comma is one too many: the last one before `}`
"#
    );
}

#[test]
fn the_samples_of_the_readme_load_once_they_are_corrected() {
    for text in [include_str!("samples/qubes-corrected.conf"), include_str!("samples/machine-corrected.conf")]
    {
        let machine = machine();
        machine.write("x.conf", text);
        machine.ours(["check-config"]).run().exits(0);
    }
}

#[test]
fn all_mistakes_of_meaning_are_shown_at_once() {
    assert_eq!(
        refused(
            r#"{
    "backup_path": "backup",
    "keep_wekly": 4,
	"keep_daily": "7",
    "filesystems_to_backup": ["/", "boot"],
    "compression": "gzip"
}"#
        ),
        r#"x.conf:2:20: expected an absolute path
  1 | {
  2 |     "backup_path": "backup",
    |                    ^ without `backup_server` this is a directory on this machine
x.conf:3:5: expected a known key
  2 |     "backup_path": "backup",
  3 |     "keep_wekly": 4,
    |     ^ did you mean `keep_weekly`?
x.conf:4:16: expected a whole number: -1 (all), 0 or more
  3 |     "keep_wekly": 4,
  4 |     "keep_daily": "7",
    |                   ^ this is a string
x.conf:5:36: expected an absolute path
  4 |     "keep_daily": "7",
  5 |     "filesystems_to_backup": ["/", "boot"],
    |                                    ^ this does not begin with `/`
x.conf:6:20: expected a compression that borg knows
  5 |     "filesystems_to_backup": ["/", "boot"],
  6 |     "compression": "gzip"
    |                    ^ none, lz4, zstd[,1-22], zlib[,0-9], lzma[,0-9], auto,X or obfuscate,SPEC,X
"#
    );
}

#[test]
fn an_unknown_key_that_is_like_none_is_told_with_those_there_are() {
    let told = refused(r#"{"backup_path": "/b", "colour": 1}"#);
    assert!(told.contains("x.conf:1:23: expected a known key"), "{told}");
    assert!(told.contains("known are backup_server, backup_user, backup_path, "), "{told}");
}

#[test]
fn an_empty_file_is_told_to_be_empty() {
    assert_eq!(
        refused(""),
        "x.conf:1:1: expected `{`
  1 |
    | ^ the file is empty
"
    );
}

#[test]
fn bytes_that_are_no_utf8_are_shown_where_they_stand() {
    assert_eq!(
        refused(b"{\n    \"backup_path\": \"/srv/\xe9\"\n}\n"),
        "x.conf:2:26: expected text in UTF-8
  1 | {
  2 |     \"backup_path\": \"/srv/\u{fffd}\"
    |                          ^ byte 0xe9 at offset 27 of the file is no UTF-8
"
    );
}

#[test]
fn comments_are_told_to_be_no_json() {
    assert_eq!(
        refused("{\n    // where it goes\n    \"backup_path\": \"/b\"\n}\n"),
        "x.conf:2:5: expected JSON
  1 | {
  2 |     // where it goes
    |     ^ JSON has no comments; take this out
"
    );
}

#[test]
fn a_log_of_json_lines_gets_the_mistakes_as_data() {
    let machine = machine();
    machine.write("x.conf", "{\"backup_path\": 5,\n\"keep_daily\": -7}");
    let output = machine.ours(["--log-format", "json", "check-config"]).run().exits(2);
    let lines: Vec<&[u8]> = output.stderr.split(|b| *b == b'\n').filter(|l| !l.is_empty()).collect();
    assert_eq!(lines.len(), 1);
    let event: serde_json::Value = serde_json::from_slice(lines[0]).unwrap();
    assert_eq!(event["level"], "ERROR");
    assert_eq!(event["message"], "x.conf has mistakes");
    assert_eq!((&event["mistakes"][0]["line"], &event["mistakes"][0]["column"]), (&1.into(), &17.into()));
    assert_eq!(event["mistakes"][1]["line"], 2);
    assert_eq!(event["mistakes"][1]["note"], "-7 is none of these");
}

#[test]
fn a_missing_configuration_is_named_with_the_way_to_another() {
    let machine = machine();
    let output = machine.command(machine.binary()).args(["--config", "no.conf", "list"]).run().exits(2);
    assert_eq!(
        machine.text(&output.stderr),
        "error: there is no configuration no.conf [usage]
  README.md shows one to begin with; `--config FILE` names another
  without one, `--repository URL` reads a repository
"
    );
}

#[test]
fn a_configuration_that_may_not_be_read_is_told_so() {
    let machine = machine();
    std::fs::set_permissions(machine.path("x.conf"), PermissionsExt::from_mode(0o000)).unwrap();
    // Root without its capabilities is bound by permissions as anyone is.
    let is_root = std::fs::read(machine.path("x.conf")).is_ok();
    let program = if is_root {
        let program = machine.command("setpriv").args(["--bounding-set=-all", "--inh-caps=-all"]);
        program.arg(machine.binary())
    } else {
        machine.command(machine.binary())
    };
    let output = program.args(["--config", "x.conf", "check-config"]).run().exits(2);
    assert_eq!(
        machine.text(&output.stderr),
        "error: cannot read the configuration x.conf [usage]\n  because: Permission denied (os error 13)\n"
    );
}

#[test]
fn a_configuration_that_everyone_can_write_is_warned_of() {
    let machine = with_directory();
    std::fs::set_permissions(machine.path("x.conf"), PermissionsExt::from_mode(0o664)).unwrap();
    let output = machine.ours(["check-config"]).run();
    assert_eq!(machine.text(&output.stderr), "");
    std::fs::set_permissions(machine.path("x.conf"), PermissionsExt::from_mode(0o666)).unwrap();
    let output = machine.ours(["check-config"]).env("QUIET", "yes").run().exits(0);
    assert_eq!(
        machine.text(&output.stderr),
        "warning: everyone on this machine can write x.conf: chmod o-w x.conf\n"
    );
}
