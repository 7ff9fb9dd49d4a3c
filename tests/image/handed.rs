//! On Qubes OS: images are handed to qubes.

use std::path::{Path, PathBuf};

use serial_test::{parallel, serial};

use crate::common::ARCHIVE;
use crate::images::{Scene, letter};

/// A scene on Qubes OS with a running qube `work`, and the directory of its Qubes.
fn on_qubes() -> Option<(Scene, PathBuf)> {
    let mut scene = Scene::plain()?;
    let qubes = scene.directory("qubes");
    std::fs::write(qubes.join("work"), "").unwrap();
    std::fs::write(qubes.join("work.running"), "").unwrap();
    scene.machine.set_variable("FAKE_QUBES_DIR", &qubes);
    scene.machine.search_first(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fakes/qubes"));
    Some((scene, qubes))
}

fn calls(qubes: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(qubes.join("calls")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

#[test]
#[parallel]
fn a_qube_gets_the_device_read_only_and_gives_it_back() {
    let Some((scene, qubes)) = on_qubes() else { return };
    let run = scene.command("tank/v", &["--to-qube", "work"]).ok();
    let device = run.stdout().trim().to_owned();
    let name = device.trim_start_matches("/dev/");
    assert!(run.stderr().contains("In work:  sudo mount -o ro"), "{run}");
    assert_eq!(std::fs::read_to_string(qubes.join("work.blocks")).unwrap(), format!("{device} ro\n"));
    assert_eq!(scene.attached()[0]["qube"], "work");
    scene.detach(&device);
    let expected = [
        format!("qvm-block [attach] [--ro] [work] [dom0:{name}]"),
        format!("qvm-block [detach] [work] [dom0:{name}]"),
    ];
    assert_eq!(calls(&qubes), expected);
    scene.assert_nothing_left();
}

#[test]
// It detaches by the name of the archive, which other tests have attached, too.
#[serial]
fn a_writable_device_is_writable_in_the_qube() {
    let Some((scene, qubes)) = on_qubes() else { return };
    let device = scene.attach("tank/v", &["--to-qube", "work", "--writable"]);
    assert_eq!(
        std::fs::read_to_string(qubes.join("work.blocks")).unwrap(),
        format!("{} rw\n", device.display())
    );
    scene.detach(ARCHIVE);
    scene.assert_nothing_left();
}

#[test]
#[parallel]
fn a_qube_that_does_not_take_it_leaves_nothing() {
    let Some((scene, qubes)) = on_qubes() else { return };
    std::fs::remove_file(qubes.join("work.running")).unwrap();
    let said = scene.command("tank/v", &["--to-qube", "work"]).fails();
    assert!(said.contains("'work' is not running") && said.contains("qvm-start"), "{said}");
    scene.assert_nothing_left();
}

#[test]
#[parallel]
fn dom0_mounts_nothing_unless_it_is_told_to() {
    let Some((scene, _qubes)) = on_qubes() else { return };
    let dir = scene.directory("inside");
    let mount = ["--mount", dir.to_str().unwrap()];
    for looks in [&mount[..], &["--partition", "1"], &["--partscan"]] {
        let run = scene.command("tank/v", looks).run();
        assert_eq!(run.code(), Some(2), "{run}");
        assert!(run.stderr().contains("--to-qube VM") && run.stderr().contains("--in-host"), "{run}");
    }
    scene.assert_nothing_left();
    scene.attach("tank/v", &[&mount[..], &["--in-host"]].concat());
    assert!(std::fs::read(dir.join("letter")).unwrap() == letter());
    scene.detach(&dir);
    scene.assert_nothing_left();
}
