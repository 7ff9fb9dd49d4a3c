//! A flag that the given job ignores is refused, and nothing is done.

use crate::support::{Console, with_archives};

#[test]
fn what_a_job_would_ignore_is_a_mistake() {
    let machine = with_archives(&["2026-11-23"]);
    let to = machine.path("restored");
    let to = to.to_str().unwrap();
    let archive = "::2026-11-23";
    let letter = machine.path("files/letter");
    let letter = letter.to_str().unwrap();
    for (flag, words) in [
        ("--telemetry-file", &["create", "--dry-run", "--telemetry-file", "x"][..]),
        ("--json", &["create", "--dry-run", "--json"]),
        ("--telemetry-file", &["telemetry", "--json", "--telemetry-file", "x"]),
        ("--first", &["mount", archive, to, "--first", "1"]),
        ("--last", &["mount", archive, to, "--last", "1"]),
        ("--glob-archives", &["mount", archive, to, "-a", "*"]),
        ("--sort-by", &["mount", archive, to, "--sort-by", "name"]),
        ("--consider-checkpoints", &["mount", archive, to, "--consider-checkpoints"]),
        ("--in-host", &["attach", archive, "files/letter", "--in-host"]),
        ("--writable", &["attach", archive, "files/letter", "--keep-changes", "x"]),
        ("--sample", &["verify", archive, "files/letter", "--against", to, "--sample", "5%"]),
        ("--against", &["verify", archive, "--against", to]),
        ("--create", &["restore", archive, "files", "--to", to, "--create"]),
        ("--full", &["restore", archive, "files", "--to", to, "--full"]),
        ("--no-verify", &["restore", archive, "files", "--to", to, "--no-verify"]),
        ("--dry-run", &["restore", archive, "files/letter:/x", "--to", to, "--dry-run"]),
        ("--delete", &["restore", archive, "files/letter", "--to", to, "--delete"]),
        ("--trust-times", &["restore", archive, "files/letter", "--to", to, "--trust-times"]),
        ("--in-place", &["restore", archive, "files/letter", "--to", to, "--overwrite", "--in-place"]),
        ("--overwrite", &["restore", archive, "files", "--to", to, "--in-place"]),
        ("--salvage", &["restore", archive, "files/letter:/x", "--list", "--salvage"]),
        ("--seed", &["restore", archive, "files/letter:/x", "--to", to, "--seed", "."]),
        ("--no-verify", &["restore", archive, "files/letter", "--to", to, "--dry-run", "--no-verify"]),
        ("--numeric-ids", &["restore", archive, "files/letter", "--to", letter, "--numeric-ids"]),
        ("--partition", &["restore", archive, "files", "--to", to, "--partition", "1"]),
        ("--in-host", &["restore", archive, "files", "--to", to, "--in-host"]),
        ("--list", &["restore", archive, "files", "--list"]),
        ("--numeric-ids", &["restore", archive, "files/letter:/x", "--to", to, "--numeric-ids"]),
        ("--source", &["restore", archive, "files/letter:/x", "--to", to, "--source", "native"]),
        ("--json", &["restore", archive, "files/letter:/x", "--to", to, "--json"]),
        ("--no-verify", &["restore", archive, "files/letter:/x", "--to", to, "--no-verify"]),
        ("--overwrite", &["restore", archive, "files/letter:/x", "--list", "--overwrite"]),
    ] {
        let output = machine.ours(words).run().exits(2);
        let said = machine.text(&output.stderr);
        assert!(said.contains(flag) || said.contains("required"), "{words:?}: {said}");
        assert!(!std::path::Path::new(to).exists(), "{words:?}");
    }
}
