//! `init`, which ends by saying what must be kept.

use crate::support::{Console, machine, with_archives};

const NEEDED: &str = "To restore when this machine is gone you need";

#[test]
fn a_new_key_file_is_to_be_kept_with_passphrase_and_configuration() {
    let machine = machine();
    let output = machine.ours(["init", "-e", "keyfile-blake2"]).run().exits(0);
    let said = machine.text(&output.stderr);
    assert!(
        said.ends_with(
            "
To restore when this machine is gone you need, on another machine or on paper:
  key            DIR/home/.borg-offsite-backup.key
                 borg-offsite-backup key export --paper      (to print; or copy the file)
  passphrase     empty: whoever has the key can read the backups
  configuration  x.conf
Without the key nobody, you included, can ever read the backups.
"
        ),
        "{said}"
    );
    // The way it names works.
    let output = machine.ours(["key", "export", "--paper"]).run().exits(0);
    assert!(machine.text(&output.stdout).contains("BORG PAPER KEY"), "{}", machine.text(&output.stdout));
}

#[test]
fn a_key_in_the_repository_is_to_be_exported() {
    let machine = machine();
    let output =
        machine.ours(["init", "--encryption=repokey"]).env("BORG_PASSCOMMAND", "echo sesame").run().exits(0);
    let said = machine.text(&output.stderr);
    assert!(said.contains("  key            in the repository, and lost with it\n"), "{said}");
    assert!(said.contains("  passphrase     what BORG_PASSCOMMAND gives; write it down\n"), "{said}");
    assert!(!said.contains("sesame"));
    machine.ours(["key", "export", "::", "exported"]).env("BORG_PASSCOMMAND", "echo sesame").ok();
    assert!(std::fs::read_to_string(machine.path("exported")).unwrap().starts_with("BORG_KEY "));
}

#[test]
fn without_encryption_there_is_no_key_to_keep() {
    let machine = machine();
    let output = machine.ours(["init", "-e", "none"]).run().exits(0);
    let said = machine.text(&output.stderr);
    assert!(said.contains("none: whoever has the repository can read it"), "{said}");
    assert!(!said.contains("passphrase     "), "{said}");
}

#[test]
fn quiet_says_nothing_of_it() {
    for quiet in [&["--quiet", "init", "-e", "none"][..], &["init", "-e", "none"]] {
        let machine = machine();
        let output = machine.ours(quiet).env("QUIET", "yes").run().exits(0);
        assert!(!machine.text(&output.stderr).contains(NEEDED));
    }
}

#[test]
fn an_init_that_failed_ends_as_borg_did_and_says_nothing_of_keys() {
    let machine = with_archives(&[]);
    let output = machine.ours(["init", "-e", "keyfile"]).run().exits(2);
    assert!(!machine.text(&output.stderr).contains(NEEDED));
    let bin = machine.script("borg", "exit 107");
    machine.ours(["init", "-e", "keyfile"]).search_first(bin).run().exits(107);
}

#[test]
fn borg_has_the_users_streams_and_a_signal_reaches_it() {
    let machine = machine();
    let bin = machine.script("borg", "read word; echo got $word; trap 'echo ended; exit 9' TERM; echo up >&2; while :; do sleep 0.05; done");
    let mut child = machine.ours(["init", "-e", "keyfile"]).search_first(bin).spawn_piped();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"hello\n").unwrap();
    std::io::Read::read_exact(child.stderr.as_mut().unwrap(), &mut [0; 3]).unwrap();
    let pid = nix::unistd::Pid::from_raw(child.id() as i32);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(9));
    assert_eq!(machine.text(&output.stdout), "got hello\nended\n");
}
