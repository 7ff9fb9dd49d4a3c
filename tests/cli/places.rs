//! Where borg and we look for what belongs to a repository, and whom its configuration serves.

use crate::support::{Console, machine, with_archives, with_directory};

#[test]
fn a_key_in_borgs_own_directory_is_found_by_borg_and_by_us() {
    let machine = machine();
    // Made by borg alone, with nothing of ours.
    let repository = machine.repository();
    let borg = || machine.command("borg").env("BORG_PASSPHRASE", "");
    borg().args(["init", "-e", "keyfile"]).arg(&repository).ok();
    std::fs::create_dir(machine.path("files")).unwrap();
    std::fs::write(machine.path("files/letter"), "dear").unwrap();
    borg().arg("create").arg(format!("{}::2026-03-14", repository.display())).arg("files").ok();
    for args in [&["list"][..], &["info", "::2026-03-14"], &["verify", "::2026-03-14"]] {
        machine.ours(args).ok();
    }
    // A key of ours is made where it is said to be, and found there.
    std::fs::rename(&repository, machine.path("old")).unwrap();
    machine.ours(["init", "-e", "keyfile-blake2"]).run().exits(0);
    assert!(machine.path("home/.borg-offsite-backup.key").exists());
    machine.ours(["list"]).run().exits(0);
}

#[test]
fn an_exported_key_is_imported_on_a_blank_machine() {
    let machine = machine();
    machine.ours(["init", "-e", "keyfile-blake2"]).run().exits(0);
    let exported = machine.path("exported");
    let export = ["key", "export", "::", exported.to_str().unwrap()];
    machine.ours(export).run().exits(0);
    std::fs::remove_file(machine.path("home/.borg-offsite-backup.key")).unwrap();
    let _ = std::fs::remove_dir_all(machine.path("home/.config"));
    let without = machine.ours(["list"]).run();
    assert!(without.code() != Some(0) && machine.text(&without.stderr).contains("key"));
    let import = ["key", "import", "::", exported.to_str().unwrap()];
    machine.ours(import).run().exits(0);
    machine.ours(["list"]).run().exits(0);
    // Our own reader finds it, too.
    let empty = machine.ours(["verify", "::latest"]).run();
    assert!(machine.text(&empty.stderr).contains("there is no archive"), "{}", machine.text(&empty.stderr));
}

#[test]
fn a_mistake_in_what_only_create_reads_stops_create_alone() {
    let machine = with_archives(&["2026-03-14"]);
    let config = |entry: &str| {
        machine
            .write("x.conf", format!(r#"{{"backup_path": "{}", {entry}}}"#, machine.repository().display()));
    };
    config(r#""compression": "brotli,5", "keep_daily": "seven""#);
    for args in [&["list"][..], &["verify", "::2026-03-14"]] {
        let output =
            machine.ours(args).env("BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK", "yes").run().exits(0);
        let said = machine.text(&output.stderr);
        assert!(said.contains("has mistakes that stop `create`"), "{said}");
    }
    for args in ["create", "check-config"] {
        let output = machine.ours([args]).run().exits(2);
        assert!(machine.text(&output.stderr).contains("x.conf:1:"), "{}", machine.text(&output.stderr));
    }
}

#[test]
fn borg_is_the_judge_of_a_compression() {
    let machine = with_directory();
    let config = |compression: &str| {
        machine.write("x.conf", format!(
            r#"{{"backup_path": "{}", "filesystems_to_backup": ["/boot"], "compression": "{compression}"}}"#,
            machine.repository().display()
        ));
    };
    let borg = machine.script(
        "borg",
        "[ \"$1\" != --version ] || { echo borg 1.4.5; exit; }\n\
         case $* in *obfuscate,250,*--help) exit 0 ;; *--help) exit 2 ;; *) exit 9 ;; esac",
    );
    let check = |command: &str| machine.ours([command]).search_first(&borg).run();
    config("obfuscate,250,zstd,3");
    check("check-config").exits(0);
    config("zstd,30");
    for command in ["check-config", "create"] {
        let output = check(command).exits(2);
        let said = machine.text(&output.stderr);
        assert!(said.contains("borg 1.4.5 does not take the compression `zstd,30`"), "{said}");
    }
}
