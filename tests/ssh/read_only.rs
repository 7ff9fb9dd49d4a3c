//! Repositories on a server in which its account can write nothing.

use crate::common::{Flavour, Need, available, binary, each_borg};
use crate::lab::Lab;

const PLACE: &str = "/var/backups/machine/backup";

#[test]
fn what_only_reads_works_where_the_server_can_take_no_lock() {
    if !available(&[Need::Root, Need::Fuse, Need::Sshd]) {
        return;
    }
    each_borg(|flavour| {
        let (lab, letter) = made(flavour);
        lab.root(&format!("chown -R root: {PLACE}; chmod -R u=rwX,go=rX {PLACE}")).ok();
        reads(&lab, &letter);
        lab.root(&format!("chown -R machine: {PLACE}")).ok();
        // Nothing is bypassed where nothing is in the way, and no lock stays behind.
        let said = lab.offsite(&["list"]).ok().stderr();
        assert!(!said.contains("without a lock"), "{said}");
        lab.root(&format!("! ls -d {PLACE}/lock.*")).ok();
    });
}

#[test]
fn who_would_write_where_the_server_can_take_no_lock_is_told_so_and_so_is_who_wants_streams() {
    if !available(&[Need::Root, Need::Fuse, Need::Sshd]) {
        return;
    }
    let Some(flavour) = Flavour::any() else { return };
    let (lab, letter) = made(flavour);
    lab.root(&format!("mount --bind {PLACE} {PLACE}; mount -o remount,bind,ro {PLACE}")).ok();
    reads(&lab, &letter);
    let name = format!("::{}", lab.offsite(&["list", "--short"]).ok().stdout().trim());
    let said = lab.offsite(&["delete", &name]).fails();
    assert!(said.contains("lock") && !said.contains("read without a lock"), "{said}");
    let point = lab.sandbox.mount_point();
    let said = lab.offsite(&["mount", "--source", "stream", "::latest", point.to_str().unwrap()]).fails();
    assert!(said.contains("cannot be locked") && said.contains("without `--source stream`"), "{said}");
    lab.root(&format!("umount {PLACE}")).ok();
}

/// With one archive of a letter, whose path in it is given back.
fn made(flavour: Flavour) -> (Lab, String) {
    let lab = Lab::new(flavour);
    let letter = lab.sandbox.source().join("letter");
    std::fs::write(&letter, "dear").unwrap();
    lab.offsite(&["init", "-e", "repokey-blake2"]).ok();
    lab.offsite(&["create"]).ok();
    (lab, letter.to_str().unwrap().trim_start_matches('/').to_owned())
}

/// The same table says for local repositories what else is read so.
fn reads(lab: &Lab, letter: &str) {
    let out = lab.sandbox.path("out");
    let said = |words: &[&str]| {
        let ours = lab.inside("env").arg("-C").arg(&out).arg(binary());
        let ran = ours.arg("--config").arg(lab.sandbox.config()).args(words).ok();
        assert_eq!(ran.stderr().matches("read without a lock").count(), 1, "{words:?}: {ran}");
        ran.stdout()
    };
    assert!(!said(&["list"]).is_empty());
    said(&["extract", "::latest", letter]);
    assert_eq!(std::fs::read(out.join(letter)).unwrap(), b"dear");
    let to = out.join("restored");
    said(&[
        "restore",
        "::latest",
        letter,
        lab.sandbox.source().to_str().unwrap(),
        "--to",
        to.to_str().unwrap(),
    ]);
    assert!(to.read_dir().unwrap().next().is_some());
}
