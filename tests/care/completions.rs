//! What the shell offers behind a command line that is not complete.

use std::path::Path;

use crate::common::{Program, binary};

/// Calls what bash has for the program, as bash does when somebody presses Tab behind the words.
const TAB: &str = r#"
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_LINE="$*"; COMP_POINT=${#COMP_LINE}
how=$(complete -p borg-offsite-backup); how=${how#*-F }
"${how%% *}" borg-offsite-backup "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
printf '%s\n' "${COMPREPLY[@]}"
"#;

fn offered(dir: &Path, words: &[&str]) -> Vec<String> {
    let script = dir.join("borg-offsite-backup.bash");
    let run = Program::new("bash")
        .args(["--norc", "-c", TAB, "bash"])
        .arg(script)
        .arg("borg-offsite-backup")
        .args(words)
        .ok();
    assert!(run.stderr.is_empty(), "{run}");
    run.stdout().lines().map(str::to_owned).collect()
}

#[test]
fn bash_completes_every_command_and_its_options() {
    let dir = tempfile::tempdir().unwrap();
    Program::new(binary()).arg("generate").arg(dir.path()).ok();
    let offered = |words: &[&str]| offered(dir.path(), words);
    assert_eq!(offered(&["mou"]), ["mount"]);
    assert!(offered(&["check"]).contains(&"check-config".to_owned()) && offered(&["exp"]) == ["export-tar"]);
    assert_eq!(offered(&["mount", "--sou"]), ["--source"]);
    assert_eq!(offered(&["mount", "--source", ""]), ["auto", "stream", "native"]);
    assert_eq!(offered(&["--config", "x", "create", "--if-exists", "s"]), ["skip"]);
    // Each command by an option that its own help lists.
    let commands: Vec<String> = offered(&[""]).into_iter().filter(|word| !word.starts_with('-')).collect();
    for ours in [
        "attach",
        "attached",
        "check-config",
        "cleanup",
        "create",
        "detach",
        "mount",
        "restore",
        "telemetry",
        "umount",
        "verify",
    ] {
        assert!(commands.contains(&ours.to_owned()), "{ours}: {commands:?}");
        let help = Program::new(binary()).args([ours, "--help"]).ok();
        let help = help.stdout();
        let all = offered(&[ours, "--"]);
        let listed: Vec<&str> = help
            .lines()
            .filter_map(|l| l.trim_start().strip_prefix("--")?.split([' ', '=', '[']).next())
            .collect();
        for option in listed {
            assert!(all.contains(&format!("--{option}")), "{ours} --{option}: {all:?}");
        }
    }
}
