//! Where borg and we look for what belongs to a repository, and whom its configuration serves.

use crate::support::{Home, ends_with_code};

#[test]
fn a_key_in_borgs_own_directory_is_found_by_borg_and_by_us() {
    let home = Home::new();
    // Made by borg alone, with nothing of ours.
    let repository = home.path("repository");
    let mut init = home.command("borg");
    init.args(["init", "-e", "keyfile"]).arg(&repository).env("BORG_PASSPHRASE", "");
    assert!(init.output().unwrap().status.success());
    std::fs::create_dir(home.path("files")).unwrap();
    std::fs::write(home.path("files/letter"), "dear").unwrap();
    let mut create = home.command("borg");
    create.args(["create"]).arg(format!("{}::2026-03-14", repository.display())).arg("files");
    assert!(create.env("BORG_PASSPHRASE", "").output().unwrap().status.success());
    for args in [&["list"][..], &["info", "::2026-03-14"], &["verify", "::2026-03-14"]] {
        let output = home.ours(args).output().unwrap();
        ends_with_code(&output, 0);
    }
    // A key of ours is made where it is said to be, and found there.
    std::fs::rename(&repository, home.path("old")).unwrap();
    ends_with_code(&home.ours(["init", "-e", "keyfile-blake2"]).output().unwrap(), 0);
    assert!(home.path(".borg-offsite-backup.key").exists());
    ends_with_code(&home.ours(["list"]).output().unwrap(), 0);
}

#[test]
fn an_exported_key_is_imported_on_a_blank_machine() {
    let home = Home::new();
    ends_with_code(&home.ours(["init", "-e", "keyfile-blake2"]).output().unwrap(), 0);
    let exported = home.path("exported");
    let export = ["key", "export", "::", exported.to_str().unwrap()];
    ends_with_code(&home.ours(export).output().unwrap(), 0);
    std::fs::remove_file(home.path(".borg-offsite-backup.key")).unwrap();
    let _ = std::fs::remove_dir_all(home.path(".config"));
    let without = home.ours(["list"]).output().unwrap();
    assert!(!without.status.success() && home.text(&without.stderr).contains("key"));
    let import = ["key", "import", "::", exported.to_str().unwrap()];
    ends_with_code(&home.ours(import).output().unwrap(), 0);
    ends_with_code(&home.ours(["list"]).output().unwrap(), 0);
    // Our own reader finds it, too.
    let empty = home.ours(["verify", "::latest"]).output().unwrap();
    assert!(home.text(&empty.stderr).contains("there is no archive"), "{}", home.text(&empty.stderr));
}

#[test]
fn a_mistake_in_what_only_create_reads_stops_create_alone() {
    let home = Home::with_archives(&["2026-03-14"]);
    let config = |entry: &str| {
        home.configure(format!(r#"{{"backup_path": "{}", {entry}}}"#, home.path("repository").display()));
    };
    config(r#""compression": "brotli,5", "keep_daily": "seven""#);
    for args in [&["list"][..], &["verify", "::2026-03-14"]] {
        let output =
            home.ours(args).env("BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK", "yes").output().unwrap();
        ends_with_code(&output, 0);
        let said = home.text(&output.stderr);
        assert!(said.contains("has mistakes that stop `create`"), "{said}");
    }
    for args in ["create", "check-config"] {
        let output = home.ours([args]).output().unwrap();
        ends_with_code(&output, 2);
        assert!(home.text(&output.stderr).contains("x.conf:1:"), "{}", home.text(&output.stderr));
    }
}

#[test]
fn borg_is_the_judge_of_a_compression() {
    let home = Home::with_directory();
    let config = |compression: &str| {
        home.configure(format!(
            r#"{{"backup_path": "{}", "filesystems_to_backup": ["/boot"], "compression": "{compression}"}}"#,
            home.path("repository").display()
        ));
    };
    let borg = home.fake_borg(
        "[ \"$1\" != --version ] || { echo borg 1.4.5; exit; }\n\
         case $* in *obfuscate,250,*--help) exit 0 ;; *--help) exit 2 ;; *) exit 9 ;; esac",
    );
    let check =
        |command: &str| home.ours([command]).env("PATH", crate::support::path_with(&borg)).output().unwrap();
    config("obfuscate,250,zstd,3");
    ends_with_code(&check("check-config"), 0);
    config("zstd,30");
    for command in ["check-config", "create"] {
        let output = check(command);
        ends_with_code(&output, 2);
        let said = home.text(&output.stderr);
        assert!(said.contains("borg 1.4.5 does not take the compression `zstd,30`"), "{said}");
    }
}
