//! What the shell offers behind a command line that is not complete.

use std::path::Path;
use std::process::Command;

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
    let output = Command::new("bash")
        .args(["--norc", "-c", TAB, "bash"])
        .arg(script)
        .arg("borg-offsite-backup")
        .args(words)
        .output()
        .unwrap();
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn bash_completes_every_command_and_its_options() {
    let dir = tempfile::tempdir().unwrap();
    let program = env!("CARGO_BIN_EXE_borg-offsite-backup");
    assert!(Command::new(program).arg("generate").arg(dir.path()).output().unwrap().status.success());
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
        let help = Command::new(program).args([ours, "--help"]).output().unwrap();
        let help = String::from_utf8(help.stdout).unwrap();
        let all = offered(&[ours, "--"]);
        let listed: Vec<&str> = help
            .lines()
            .filter_map(|l| l.trim_start().strip_prefix("--")?.split([' ', '=']).next())
            .collect();
        for option in listed {
            assert!(all.contains(&format!("--{option}")), "{ours} --{option}: {all:?}");
        }
    }
}
