//! A line that is cut in the middle of the work.

use std::time::Duration;

use crate::common::{Flavour, Machine, Need, Random, SOURCES, available, binary, each_borg, wait_until};

/// Longer than a read bears any other failure.
const OUTAGE: Duration = Duration::from_secs(15);

fn machine_with(flavour: Flavour, name: &str, size: usize) -> Machine {
    let machine = Machine::with_server(flavour);
    std::fs::write(machine.source().join(name), Random::new(7).bytes(size)).unwrap();
    machine.offsite(["init", "-e", "repokey-blake2"]).ok();
    machine
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
    let mut machine = machine_with(flavour, "image", 40 << 20);
    machine.offsite(["create"]).ok();
    let point = machine.mount_point();
    machine.offsite(["mount", "--source", source, "::latest", point.to_str().unwrap()]).ok();
    let image = format!("{}{}/image", point.display(), machine.source().display());
    let head = machine.program("dd").args([&format!("if={image}"), "bs=64k", "count=1"]).ok();
    assert_eq!(head.stdout.len(), 65536);
    assert!(wait_until(Duration::from_secs(10), || machine.sessions() > 0), "a line is there");
    machine.stop_sshd();
    let mut reader = machine.program("dd").args([&format!("if={image}"), "of=/run/copy", "bs=64k"]).spawn();
    std::thread::sleep(OUTAGE);
    machine.start_sshd();
    let ended = reader.wait().unwrap();
    let log = machine.shell("cat /run/borg-offsite-backup/mount-*.log").run().stdout();
    assert!(ended.success(), "{log}");
    let copy = std::fs::read("/run/copy").unwrap();
    assert!(copy == Random::new(7).bytes(40 << 20), "the bytes are others");
    assert!(log.contains("connecting again"), "{log}");
}

#[test]
fn a_reader_that_pauses_longer_than_an_outage_reads_on() {
    if !available(&[Need::Root, Need::Fuse, Need::Sshd]) {
        return;
    }
    let Some(flavour) = Flavour::any() else { return };
    let mut machine = machine_with(flavour, "image", 40 << 20);
    machine.offsite(["create"]).ok();
    let point = machine.mount_point();
    for source in SOURCES {
        machine.offsite(["mount", "--source", source, "::latest", point.to_str().unwrap()]).ok();
        let image = format!("{}{}/image", point.display(), machine.source().display());
        // It writes until the pipe is full.
        let reader = machine.program("dd").args([&format!("if={image}"), "bs=64k"]).spawn();
        std::thread::sleep(Duration::from_secs(2));
        machine.stop_sshd();
        std::thread::sleep(OUTAGE);
        machine.start_sshd();
        let output = reader.wait_with_output().unwrap();
        let log = machine.shell("cat /run/borg-offsite-backup/mount-*.log").run().stdout();
        assert!(output.status.success(), "{source}: {} {log}", output.status);
        assert!(output.stdout == Random::new(7).bytes(40 << 20), "{source}: the bytes are others");
        machine.offsite(["umount", point.to_str().unwrap()]).ok();
    }
}

#[test]
fn create_goes_on_over_a_new_line_with_the_same_tree() {
    if !available(&[Need::Root, Need::Sshd]) {
        return;
    }
    // Each says it in another way.
    each_borg(|flavour| {
        let mut machine = machine_with(flavour, "large", 20 << 20);
        machine.slow();
        let said = cut_while_it_creates(&machine, || machine.cut());
        assert!(said.contains("was closed") && said.contains("trying again in 5 s"), "{said}");
        assert_eq!(said.lines().filter(|line| line.starts_with("  stage ")).count(), 1, "{said}");
        let archives = machine.offsite(["list", "--short", "--consider-checkpoints"]).ok().stdout();
        assert_eq!(archives.lines().count(), 1, "{archives}");
        let path = machine.source().join("large");
        let bytes =
            machine.offsite(["extract", "--stdout", "::latest", &path.to_str().unwrap()[1..]]).ok().stdout;
        assert!(bytes == Random::new(7).bytes(20 << 20));
    });
}

/// Calls `cut` when some of the archive is on the server; what `create`, which succeeds, said.
pub fn cut_while_it_creates(machine: &Machine, cut: impl FnOnce()) -> String {
    let (config, out) = (machine.config(), machine.path("said"));
    let script =
        format!("{:?} --config {config:?} create -- --checkpoint-interval 1 > {out:?} 2>&1", binary());
    let mut create = machine.shell(&script).spawn();
    let arrived = || {
        let data = std::fs::read_dir("/var/backups/machine/backup/data/0");
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
