//! Repositories on a server in which its account can write nothing.

use crate::common::{Flavour, Machine, Need, available, binary, each_borg};

const PLACE: &str = "/var/backups/machine/backup";

#[test]
fn what_only_reads_works_where_the_server_can_take_no_lock() {
    if !available(&[Need::Root, Need::Fuse, Need::Sshd]) {
        return;
    }
    each_borg(|flavour| {
        let (machine, letter) = made(flavour);
        machine.shell(&format!("chown -R root: {PLACE}; chmod -R u=rwX,go=rX {PLACE}")).ok();
        reads(&machine, &letter);
        machine.shell(&format!("chown -R machine: {PLACE}")).ok();
        // Nothing is bypassed where nothing is in the way, and no lock stays behind.
        let said = machine.offsite(["list"]).ok().stderr();
        assert!(!said.contains("without a lock"), "{said}");
        machine.shell(&format!("! ls -d {PLACE}/lock.*")).ok();
    });
}

#[test]
fn who_would_write_where_the_server_can_take_no_lock_is_told_so_and_so_is_who_wants_streams() {
    if !available(&[Need::Root, Need::Fuse, Need::Sshd]) {
        return;
    }
    let Some(flavour) = Flavour::any() else { return };
    let (machine, letter) = made(flavour);
    machine.shell(&format!("mount --bind {PLACE} {PLACE}; mount -o remount,bind,ro {PLACE}")).ok();
    reads(&machine, &letter);
    let name = format!("::{}", machine.offsite(["list", "--short"]).ok().stdout().trim());
    let said = machine.offsite(["delete", &name]).fails();
    assert!(said.contains("lock") && !said.contains("read without a lock"), "{said}");
    let point = machine.mount_point();
    let said = machine.offsite(["mount", "--source", "stream", "::latest", point.to_str().unwrap()]).fails();
    assert!(said.contains("cannot be locked") && said.contains("without `--source stream`"), "{said}");
    machine.shell(&format!("umount {PLACE}")).ok();
}

/// With one archive of a letter, whose path in it is given back.
fn made(flavour: Flavour) -> (Machine, String) {
    let machine = Machine::with_server(flavour);
    let letter = machine.source().join("letter");
    std::fs::write(&letter, "dear").unwrap();
    machine.offsite(["init", "-e", "repokey-blake2"]).ok();
    machine.offsite(["create"]).ok();
    (machine, letter.to_str().unwrap().trim_start_matches('/').to_owned())
}

/// The same table says for local repositories what else is read so.
fn reads(machine: &Machine, letter: &str) {
    let out = machine.path("out");
    // Borg is told to take no lock; we need none.
    let said = |words: &[&str], notes| {
        let ours = machine.program("env").arg("-C").arg(&out).arg(binary());
        let ran = ours.arg("--config").arg(machine.config()).args(words).ok();
        assert_eq!(ran.stderr().matches("read without a lock").count(), notes, "{words:?}: {ran}");
        assert!(!ran.stderr().contains("the server says"), "{words:?}: {ran}");
        ran.stdout()
    };
    assert!(!said(&["list"], 1).is_empty());
    said(&["extract", "::latest", letter], 1);
    assert_eq!(std::fs::read(out.join(letter)).unwrap(), b"dear");
    let to = out.join("restored");
    let source = machine.source();
    said(&["restore", "::latest", letter, source.to_str().unwrap(), "--to", to.to_str().unwrap()], 0);
    assert!(to.read_dir().unwrap().next().is_some());
}
