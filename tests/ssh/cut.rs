//! A line that is cut in the middle of the work.

use std::time::Duration;

use crate::common::mounted::wait_until;
use crate::common::{Flavour, Need, Random, SOURCES, available, binary, each_borg};
use crate::lab::Lab;

/// Longer than a read bears any other failure.
const OUTAGE: Duration = Duration::from_secs(15);

fn lab_with(flavour: Flavour, name: &str, size: usize) -> Lab {
    let lab = Lab::new(flavour);
    std::fs::write(lab.sandbox.source().join(name), Random::new(7).bytes(size)).unwrap();
    lab.offsite(&["init", "-e", "repokey-blake2"]).ok();
    lab
}

#[test]
fn a_reader_of_a_mount_sees_no_more_than_a_pause_while_the_server_starts_anew() {
    if !available(&[Need::Root, Need::Fuse, Need::Sshd]) {
        return;
    }
    for source in SOURCES {
        sees_no_more_than_a_pause(source);
    }
}

fn sees_no_more_than_a_pause(source: &str) {
    let Some(flavour) = Flavour::any() else { return };
    let mut lab = lab_with(flavour, "image", 40 << 20);
    lab.offsite(&["create"]).ok();
    let point = lab.sandbox.mount_point();
    lab.offsite(&["mount", "--source", source, "::latest", point.to_str().unwrap()]).ok();
    let image = format!("{}{}/image", point.display(), lab.sandbox.source().display());
    let head = lab.inside("dd").args([&format!("if={image}"), "bs=64k", "count=1"]).ok();
    assert_eq!(head.stdout.len(), 65536);
    assert!(wait_until(Duration::from_secs(10), || lab.sessions() > 0), "a line is there");
    lab.stop_sshd();
    let mut reader = lab.inside("dd").args([&format!("if={image}"), "of=/run/copy", "bs=64k"]).spawn();
    std::thread::sleep(OUTAGE);
    lab.start_sshd();
    let ended = reader.wait().unwrap();
    let log = lab.root("cat /run/borg-offsite-backup/mount-*.log").run().stdout();
    assert!(ended.success(), "{log}");
    let copy = std::fs::read(lab.on_server("run/copy")).unwrap();
    assert!(copy == Random::new(7).bytes(40 << 20), "the bytes are others");
    assert!(log.contains("connecting again"), "{log}");
}

#[test]
fn a_reader_that_pauses_longer_than_an_outage_reads_on() {
    if !available(&[Need::Root, Need::Fuse, Need::Sshd]) {
        return;
    }
    let Some(flavour) = Flavour::any() else { return };
    let mut lab = lab_with(flavour, "image", 40 << 20);
    lab.offsite(&["create"]).ok();
    let point = lab.sandbox.mount_point();
    for source in SOURCES {
        lab.offsite(&["mount", "--source", source, "::latest", point.to_str().unwrap()]).ok();
        let image = format!("{}{}/image", point.display(), lab.sandbox.source().display());
        // It writes until the pipe is full.
        let reader = lab.inside("dd").args([&format!("if={image}"), "bs=64k"]).spawn();
        std::thread::sleep(Duration::from_secs(2));
        lab.stop_sshd();
        std::thread::sleep(OUTAGE);
        lab.start_sshd();
        let output = reader.wait_with_output().unwrap();
        let log = lab.root("cat /run/borg-offsite-backup/mount-*.log").run().stdout();
        assert!(output.status.success(), "{source}: {} {log}", output.status);
        assert!(output.stdout == Random::new(7).bytes(40 << 20), "{source}: the bytes are others");
        lab.offsite(&["umount", point.to_str().unwrap()]).ok();
    }
}

#[test]
fn create_goes_on_over_a_new_line_with_the_same_tree() {
    if !available(&[Need::Root, Need::Sshd]) {
        return;
    }
    // Each says it in another way.
    each_borg(|flavour| {
        let lab = lab_with(flavour, "large", 20 << 20);
        lab.configure(r#", "compression": "lzma,9""#);
        let said = cut_while_it_creates(&lab, || lab.cut());
        assert!(said.contains("was closed") && said.contains("trying again in 5 s"), "{said}");
        assert_eq!(said.lines().filter(|line| line.starts_with("  stage ")).count(), 1, "{said}");
        let archives = lab.offsite(&["list", "--short", "--consider-checkpoints"]).ok().stdout();
        assert_eq!(archives.lines().count(), 1, "{archives}");
        let path = lab.sandbox.source().join("large");
        let bytes =
            lab.offsite(&["extract", "--stdout", "::latest", &path.to_str().unwrap()[1..]]).ok().stdout;
        assert!(bytes == Random::new(7).bytes(20 << 20));
    });
}

/// Calls `cut` when some of the archive is on the server; what `create`, which succeeds, said.
pub fn cut_while_it_creates(lab: &Lab, cut: impl FnOnce()) -> String {
    let (config, out) = (lab.sandbox.config(), lab.sandbox.path("said"));
    let script =
        format!("{:?} --config {config:?} create -- --checkpoint-interval 1 > {out:?} 2>&1", binary());
    let mut create = lab.root(&script).spawn();
    let arrived = || {
        let data = std::fs::read_dir(lab.on_server("var/backups/machine/backup/data/0"));
        let sizes = data.into_iter().flatten().flatten().filter_map(|e| e.metadata().ok());
        sizes.map(|m| m.len()).sum::<u64>() > 4 << 20
    };
    assert!(wait_until(Duration::from_secs(100), arrived));
    cut();
    let ended = create.wait().unwrap();
    let said = std::fs::read_to_string(out).unwrap();
    assert!(ended.success(), "{said}");
    said
}
