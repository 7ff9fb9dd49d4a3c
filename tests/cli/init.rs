//! `init`, which ends by saying what must be kept.

use std::process::Stdio;

use crate::support::{Home, ends_with_code, path_with};

const NEEDED: &str = "To restore when this machine is gone you need";

#[test]
fn a_new_key_file_is_to_be_kept_with_passphrase_and_configuration() {
    let home = Home::new();
    let output = home.ours(["init", "-e", "keyfile-blake2"]).output().unwrap();
    ends_with_code(&output, 0);
    let said = home.text(&output.stderr);
    assert!(
        said.ends_with(
            "
To restore when this machine is gone you need, on another machine or on paper:
  key            HOME/.borg-offsite-backup.key
                 borg-offsite-backup key export --paper      (to print; or copy the file)
  passphrase     empty: whoever has the key can read the backups
  configuration  x.conf
Without the key nobody, you included, can ever read the backups.
"
        ),
        "{said}"
    );
    // The way it names works.
    let output = home.ours(["key", "export", "--paper"]).output().unwrap();
    ends_with_code(&output, 0);
    assert!(home.text(&output.stdout).contains("BORG PAPER KEY"), "{}", home.text(&output.stdout));
}

#[test]
fn a_key_in_the_repository_is_to_be_exported() {
    let home = Home::new();
    let output =
        home.ours(["init", "--encryption=repokey"]).env("BORG_PASSCOMMAND", "echo sesame").output().unwrap();
    ends_with_code(&output, 0);
    let said = home.text(&output.stderr);
    assert!(said.contains("  key            in the repository, and lost with it\n"), "{said}");
    assert!(said.contains("  passphrase     what BORG_PASSCOMMAND gives; write it down\n"), "{said}");
    assert!(!said.contains("sesame"));
    let mut export = home.ours(["key", "export", "::", "exported"]);
    export.env("BORG_PASSCOMMAND", "echo sesame");
    ends_with_code(&export.output().unwrap(), 0);
    assert!(std::fs::read_to_string(home.path("exported")).unwrap().starts_with("BORG_KEY "));
}

#[test]
fn without_encryption_there_is_no_key_to_keep() {
    let home = Home::new();
    let output = home.ours(["init", "-e", "none"]).output().unwrap();
    ends_with_code(&output, 0);
    let said = home.text(&output.stderr);
    assert!(said.contains("none: whoever has the repository can read it"), "{said}");
    assert!(!said.contains("passphrase     "), "{said}");
}

#[test]
fn quiet_says_nothing_of_it() {
    for quiet in [&["--quiet", "init", "-e", "none"][..], &["init", "-e", "none"]] {
        let home = Home::new();
        let output = home.ours(quiet).env("QUIET", "yes").output().unwrap();
        ends_with_code(&output, 0);
        assert!(!home.text(&output.stderr).contains(NEEDED));
    }
}

#[test]
fn an_init_that_failed_ends_as_borg_did_and_says_nothing_of_keys() {
    let home = Home::with_archives(&[]);
    let output = home.ours(["init", "-e", "keyfile"]).output().unwrap();
    ends_with_code(&output, 2);
    assert!(!home.text(&output.stderr).contains(NEEDED));
    let bin = home.fake_borg("exit 107");
    let mut command = home.ours(["init", "-e", "keyfile"]);
    ends_with_code(&command.env("PATH", path_with(&bin)).output().unwrap(), 107);
}

#[test]
fn borg_has_the_users_streams_and_a_signal_reaches_it() {
    let home = Home::new();
    let bin = home.fake_borg("read word; echo got $word; trap 'echo ended; exit 9' TERM; echo up >&2; while :; do sleep 0.05; done");
    let mut command = home.ours(["init", "-e", "keyfile"]);
    command.env("PATH", path_with(&bin)).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"hello\n").unwrap();
    std::io::Read::read_exact(child.stderr.as_mut().unwrap(), &mut [0; 3]).unwrap();
    let pid = nix::unistd::Pid::from_raw(child.id() as i32);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    let output = child.wait_with_output().unwrap();
    ends_with_code(&output, 9);
    assert_eq!(home.text(&output.stdout), "got hello\nended\n");
}
