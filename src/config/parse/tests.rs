use std::time::Duration;

use proptest::prelude::*;

use super::super::{Dataset, Hook, Hooks, Selection, server};
use super::*;

fn read(text: &str) -> Result<Config, String> {
    match parse(Path::new("f"), text.as_bytes()) {
        Ok((config, None)) => Ok(config),
        Ok((_, Some(diagnosis))) | Err(diagnosis) => Err(diagnosis.to_string()),
    }
}

/// The diagnosis of a configuration that, besides a good repository, holds `entry`.
fn wrong(entry: &str) -> String {
    read(&format!("{{\"backup_path\": \"/b\", \"backup_server\": \"s\",\n{entry}}}")).unwrap_err()
}

#[test]
fn what_is_left_out_or_null_has_its_default() {
    let config = read(r#"{"backup_path": "/b", "keep_daily": null, "bridge_vm": null}"#).unwrap();
    assert_eq!((config.keep_daily, config.keep_weekly, config.keep_monthly), (7, 4, 12));
    assert_eq!(config.compression, "auto,zstd");
    assert_eq!((config.prune_on_days, config.bridge_vm, config.fail_on_warnings), (None, None, false));
    assert!(config.exclude_caches);
}

#[test]
fn every_key_is_read() {
    let config = read(
        r#"{"backup_server": "h", "backup_user": "u", "backup_path": "p", "bridge_vm": "v",
            "remote_path": "borg{borgmajor}", "ssh_from": "me", "datasets_to_backup": ["t/a", {"name": "t/*/x", "glob": true},
            {"name": "t/b", "recursive": true}, {"name": "t/c", "glob": false}],
            "filesystems_to_backup": ["/", "/boot/"], "exclude_patterns": ["fm:*.log", "a:b", "re:^x\\.y"],
            "keep_daily": -1, "keep_weekly": 0, "keep_monthly": 3, "compression": "zlib,9",
            "prune_on_days": [1, 31], "compact_after_prune": true, "keep_bookmarks": false,
            "exclude_caches": false, "stall_limit": 90,
            "fail_on_warnings": true, "archive_suffix": "media-2", "earlier_host_names": ["dom0", "old.example.org"],
            "catalog_cache_mb": 500,
            "before_backup": ["dump", "--all", ""],
            "on_failure": {"command": ["tell me"], "deadline": 5}}"#,
    );
    let dataset = |name: &str, selection| Dataset { name: name.into(), selection };
    let hook = |command: &[&str], seconds| Hook {
        command: command.iter().map(ToString::to_string).collect(),
        deadline: Duration::from_secs(seconds),
    };
    let expected = Config {
        file: Some("f".into()),
        key_file: None,
        backup_server: Some("h".into()),
        backup_user: Some("u".into()),
        backup_path: "p".into(),
        remote_path: Some("borg{borgmajor}".into()),
        bridge_vm: Some("v".into()),
        ssh_from: Some("me".into()),
        datasets_to_backup: vec![
            dataset("t/a", Selection::Only),
            dataset("t/*/x", Selection::Glob),
            dataset("t/b", Selection::Recursive),
            dataset("t/c", Selection::Only),
        ],
        filesystems_to_backup: vec!["/".into(), "/boot".into()],
        exclude_patterns: vec!["fm:*.log".into(), "a:b".into(), "re:^x\\.y".into()],
        keep_daily: -1,
        keep_weekly: 0,
        keep_monthly: 3,
        compression: "zlib,9".into(),
        prune_on_days: Some(vec![1, 31]),
        compact_after_prune: true,
        keep_bookmarks: false,
        fail_on_warnings: true,
        exclude_caches: false,
        stall_limit: Duration::from_secs(90),
        archive_suffix: Some("media-2".into()),
        earlier_host_names: vec!["dom0".into(), "old.example.org".into()],
        catalog_cache_mb: Some(500),
        hooks: Hooks {
            before_backup: Some(hook(&["dump", "--all", ""], 3600)),
            on_failure: Some(hook(&["tell me"], 5)),
            ..Hooks::default()
        },
    };
    assert_eq!(config, Ok(expected));
}

#[test]
fn the_values_of_all_keys_make_the_same_configuration_again() {
    let text = r#"{"backup_server": "h:22", "backup_path": "p", "ssh_from": "me", "stall_limit": 90,
            "datasets_to_backup": ["t/a", {"name": "t/*/x", "glob": true}, {"name": "t/b", "recursive": true}],
            "filesystems_to_backup": ["/boot"], "exclude_patterns": ["fm:*.log"], "keep_daily": -1,
            "prune_on_days": [1, 31], "exclude_caches": false, "archive_suffix": "media-2",
            "before_backup": ["dump", ""], "on_failure": {"command": ["tell me"], "deadline": 5}}"#;
    let config = read(text).unwrap();
    let values = KEYS.iter().map(|key| (key.name.to_owned(), (key.value)(&config)));
    let again = serde_json::Value::Object(values.collect()).to_string();
    assert_eq!(read(&again), Ok(config));
}

#[test]
fn values_of_a_wrong_kind_are_told_where_they_stand() {
    for (entry, expected) in [
        (r#""stall_limit": 0"#, "f:2:16: expected a whole number: seconds, 1 or more (0 is none of these)"),
        (r#""backup_user": 5"#, "f:2:16: expected a string (this is a number)"),
        (r#""backup_user": "a b""#, "f:2:16: expected an account's name (it may not hold a space)"),
        (r#""backup_user": "-l""#, "f:2:16: expected an account's name (it may not begin with `-`)"),
        (r#""ssh_from": """#, "f:2:13: expected a text (this is empty)"),
        (r#""ssh_from": "a\u0000""#, "f:2:13: expected a text of one line (a control character is in it)"),
        (r#""keep_daily": "7""#, "f:2:15: expected a whole number: -1 (all), 0 or more (this is a string)"),
        (r#""keep_daily": -2"#, "f:2:15: expected a whole number: -1 (all), 0 or more (-2 is none of these)"),
        (
            r#""keep_daily": 1.5"#,
            "f:2:15: expected a whole number: -1 (all), 0 or more (1.5 is none of these)",
        ),
        (
            r#""keep_daily": 2147483648"#,
            "f:2:15: expected a whole number: -1 (all), 0 or more (2147483648 is none of these)",
        ),
        (r#""fail_on_warnings": "yes""#, "f:2:21: expected `true` or `false` (this is a string)"),
        (
            r#""archive_suffix": "a.new""#,
            "f:2:19: expected a part of a name (at most 64 letters, digits, `-` and `_`)",
        ),
        (r#""archive_suffix": "-a""#, "f:2:19: expected a part of a name (it may not begin with `-`)"),
        (r#""earlier_host_names": "dom0""#, "f:2:23: expected a list, `[ … ]` (this is a string)"),
        (r#""earlier_host_names": ["a b"]"#, "f:2:24: expected a host's name (it may not hold a space)"),
        (r#""exclude_patterns": "a""#, "f:2:21: expected a list, `[ … ]` (this is a string)"),
        (
            r#""exclude_patterns": ["xx:a"]"#,
            "f:2:22: expected a pattern style that borg knows (fm:, sh:, re:, pp: or pf:)",
        ),
        (r#""prune_on_days": [1, 32]"#, "f:2:22: expected a day of the month, 1 to 31 (32 is no such day)"),
        (
            r#""on_success": "mail me""#,
            "f:2:15: expected a command as a list, [\"program\", \"argument\", …] (this is a string)",
        ),
        (r#""on_failure": []"#, "f:2:15: expected a program (the list is empty)"),
        (r#""on_failure": ["mail", 5]"#, "f:2:24: expected a string (this is a number)"),
        (r#""on_failure": {}"#, "f:2:16: expected the key `command` (nothing is to be run)"),
        (
            r#""after_backup": {"command": ["x"], "deadline": 0}"#,
            "f:2:48: expected a whole number: seconds, 1 or more (0 is none of these)",
        ),
        (r#""before_backup": {"comand": ["x"]}"#, "f:2:19: expected a known key (did you mean `command`?)"),
        (r#""prune_on_days": [0]"#, "f:2:19: expected a day of the month, 1 to 31 (0 is no such day)"),
        (
            r#""prune_on_days": []"#,
            "f:2:18: expected at least one day of the month (leave the key out to prune after each backup)",
        ),
        (
            r#""filesystems_to_backup": ["boot"]"#,
            "f:2:27: expected an absolute path (this does not begin with `/`)",
        ),
        (
            r#""filesystems_to_backup": ["/a/../b"]"#,
            "f:2:27: expected a path without `..` (write where it leads to)",
        ),
        (
            r#""filesystems_to_backup": ["/a", "/a/"]"#,
            "f:2:33: expected each directory once (it stands in the list before)",
        ),
        (
            r#""compression": "-gzip 3""#,
            "f:2:16: expected a compression that borg knows (none, lz4, zstd[,1-22], zlib[,0-9], lzma[,0-9], auto,X or obfuscate,SPEC,X)",
        ),
        (
            r#""datasets_to_backup": [{"name": "t", "glob": true, "recursive": true}]"#,
            "f:2:52: expected `glob` or `recursive` (a dataset cannot have both)",
        ),
        (
            r#""datasets_to_backup": [{"glob": true}]"#,
            "f:2:37: expected the key `name` (the dataset has no name)",
        ),
        (r#""datasets_to_backup": [{"nmae": "t"}]"#, "f:2:25: expected a known key (did you mean `name`?)"),
        (
            r#""datasets_to_backup": ["t@snap"]"#,
            "f:2:24: expected a dataset's name (written as `zfs list` shows it: pool/path/name)",
        ),
        (
            r#""datasets_to_backup": [5]"#,
            "f:2:24: expected a dataset's name, or {\"name\": …, \"glob\" or \"recursive\": true} (this is a number)",
        ),
        (r#""keep_wekly": 4"#, "f:2:1: expected a known key (did you mean `keep_weekly`?)"),
        (
            r#""backup_server": "t""#,
            "f:2:1: expected each key once (`backup_server` stands in the file before)",
        ),
        (
            r#""keep_daily": 0, "keep_weekly": 0, "keep_monthly": 0"#,
            "f:2:52: expected one keep_… above 0 (with all three 0 no archive would be kept)",
        ),
    ] {
        assert_eq!(wrong(entry), expected);
    }
}

#[test]
fn a_server_is_an_address_and_may_have_a_port() {
    let server = |text: &str| {
        read(&format!(r#"{{"backup_path": "/b", "backup_server": "{text}"}}"#))
            .map(|c| c.backup_server.unwrap())
    };
    assert_eq!(server("2001:db8::1").as_deref(), Ok("[2001:db8::1]"));
    let syntax = server::SYNTAX;
    for (text, note) in [
        ("host:", "there is no port after the colon"),
        ("host:99999", "a port is a number from 1 to 65535, and not 99999"),
        ("[::1", "the bracket is not closed"),
    ] {
        let expected = format!("f:1:40: expected a server: {syntax} ({note})");
        assert_eq!(server(text), Err(expected));
    }
}

#[test]
fn all_mistakes_are_told_at_once_in_the_order_of_the_file() {
    let message = read("{\"keep_daily\": -5,\n\"colour\": 1,\n\"fail_on_warnings\": 0}").unwrap_err();
    let lines: Vec<&str> = message.split("; f:").collect();
    assert_eq!(lines.len(), 4, "{message}");
    assert!(lines[0].starts_with("f:1:16: ") && lines[1].starts_with("2:1: "), "{message}");
    assert!(
        lines[2].starts_with("3:21: ") && lines[3].contains("expected the key `backup_path`"),
        "{message}"
    );
}

#[test]
fn one_misspelt_key_is_one_mistake() {
    assert_eq!(read(r#"{"backup_pth": "/b"}"#).unwrap_err().matches("expected").count(), 1);
    let server = r#"{"backup_path": "b", "backup_sever": "s", "backup_user": "u"}"#;
    assert_eq!(read(server).unwrap_err().matches("expected").count(), 1);
}

#[test]
fn a_local_repository_has_an_absolute_path_and_no_account_or_bridge() {
    let relative = read(r#"{"backup_path": "b"}"#).unwrap_err();
    assert!(relative.contains("f:1:17: expected an absolute path"), "{relative}");
    for key in ["backup_user", "remote_path", "bridge_vm", "ssh_from"] {
        let message = read(&format!(r#"{{"backup_path": "/b", "{key}": "x"}}"#)).unwrap_err();
        assert!(message.contains(&format!("`{key}` has no meaning without it")), "{message}");
    }
}

#[test]
fn mistakes_of_syntax_are_named_as_a_person_made_them() {
    for (text, expected) in [
        ("", "f:1:1: expected `{` (the file is empty)"),
        (" \n ", "f:1:1: expected `{` (the file is empty)"),
        ("[]", "f:1:1: expected an object, `{ … }` (this is a list)"),
        ("{\"a\": 1\n \"b\": 2}", "f:2:2: expected `,` or `}` (a comma is missing at the end of line 1)"),
        ("{\"a\": 1 \"b\": 2}", "f:1:9: expected `,` or `}` (a comma is missing before this)"),
        ("{\"a\": [1\n\n2]}", "f:3:1: expected `,` or `]` (a comma is missing at the end of line 1)"),
        (
            "{\"a\": 1,\n}",
            "f:1:8: expected another key (this comma is one too many: the last one before `}`)",
        ),
        (
            "{\"a\": [1, ]}",
            "f:1:9: expected another value (this comma is one too many: the last one before `]`)",
        ),
        ("{\"a\": 1", "f:1:8: expected `}` (the file ends here, within an object)"),
        ("{\"a\": [1,\n", "f:1:10: expected a value (the file ends here)"),
        ("{\"a\": \"x\n\"}", "f:1:9: expected `\"` (a string ends on the line where it begins)"),
        ("{\"a\": \"x\r\n\"}", "f:1:9: expected `\"` (a string ends on the line where it begins)"),
        ("{\"a\": \"\\d\"}", "f:1:9: expected an escape (in a string, a backslash is written `\\\\`)"),
        ("{\"a\": \"\\u00éx\"}", "f:1:12: expected an escape (in a string, a backslash is written `\\\\`)"),
        ("{ // why\n}", "f:1:3: expected JSON (JSON has no comments; take this out)"),
        ("{\"a\": 1, # why\n}", "f:1:10: expected JSON (JSON has no comments; take this out)"),
        ("/* x */ {}", "f:1:1: expected JSON (JSON has no comments; take this out)"),
        ("{\"a\": [1}", "f:1:9: expected `,` or `]` (this is neither)"),
        ("{\"a\": }", "f:1:7: expected a value (a value goes here)"),
        ("{'a': 1}", "f:1:2: expected `\"` (JSON has strings in double quotes only)"),
        ("{a: 1}", "f:1:2: expected `\"` (a key in double quotes goes here)"),
        ("{\"a\" 1}", "f:1:6: expected `:` (a colon is missing between key and value)"),
        ("{\"a\": True}", "f:1:7: expected a value (write `true`)"),
        ("{\"a\": nul}", "f:1:7: expected a value (a string stands in double quotes)"),
        ("{\"a\": tank}", "f:1:7: expected a value (a string stands in double quotes)"),
        ("{\"a\": 07}", "f:1:7: expected a number (no JSON number is written so)"),
        ("{\"a\": 1}}", "f:1:9: expected the end of the file (this follows the closing bracket)"),
        ("{\"ä\": 'x'}", "f:1:7: expected `\"` (JSON has strings in double quotes only)"),
    ] {
        assert_eq!(read(text).unwrap_err(), expected, "{text}");
    }
    let deep = read(&"[".repeat(100_000)).unwrap_err();
    assert!(deep.contains("this is nested too deeply"), "{deep}");
}

#[test]
fn a_byte_that_is_no_utf8_is_named_with_its_offset() {
    let message = parse(Path::new("f"), b"{\n\"\xc3\xa4\": \"x\xff\"}").unwrap_err().to_string();
    assert_eq!(message, "f:2:8: expected text in UTF-8 (byte 0xff at offset 10 of the file is no UTF-8)");
}

#[test]
fn a_byte_order_mark_is_forgiven() {
    assert!(read("\u{feff}{\"backup_path\": \"/b\"}").is_ok());
    assert!(read("\u{feff}{,").unwrap_err().starts_with("f:1:2:"));
}

const VALID: &str = r#"{
    "backup_path": "/var/bäckups", "backup_server": "milena", "bridge_vm": null,
	"datasets_to_backup": ["tank/a", {"name": "tank/*/p", "glob": true}],
    "exclude_patterns": ["fm:*.log", "var/\u00e4/*"],
    "keep_daily": 7, "keep_monthly": -1, "compression": "auto,zstd,3",
    "prune_on_days": [1, 15], "fail_on_warnings": false, "filesystems_to_backup": ["/", "/boot"]
}
"#;

#[test]
fn what_the_changes_start_from_is_valid() {
    read(VALID).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn whatever_is_done_to_the_text_there_is_a_config_or_a_place_inside_it(
        changes in prop::collection::vec((any::<prop::sample::Index>(), 0u8..4, any::<u8>()), 1..6)
    ) {
        let mut bytes = VALID.as_bytes().to_vec();
        for (index, kind, byte) in changes {
            let at = index.index(bytes.len().max(1)).min(bytes.len());
            let structural = b"{}[],:\"\\\n\t /#'-0.teufn"[byte as usize % 22];
            match kind {
                0 if at < bytes.len() => drop(bytes.remove(at)),
                1 => bytes.insert(at, byte),
                2 => bytes.insert(at, structural),
                _ if at < bytes.len() => bytes[at] = byte,
                _ => {}
            }
        }
        if let Ok((_, Some(diagnosis))) | Err(diagnosis) = parse(Path::new("f"), &bytes) {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            let lines: Vec<&str> = text.split('\n').collect();
            prop_assert!(diagnosis.places().count() > 0);
            for place in diagnosis.places() {
                diagnosis.excerpt(&place);
                prop_assert!(place.line <= lines.len(), "{}", diagnosis.headline(&place));
                let line = lines[place.line - 1];
                prop_assert!(place.column <= line.chars().count() + 1, "{}", diagnosis.headline(&place));
            }
        }
    }
}
