//! How attachments end: in any order, busy, killed, interrupted. `cleanup` and `--all` are about all
//! attachments of the machine, so each of these runs alone.

use std::fs::File;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serial_test::serial;

use crate::common::{ARCHIVE, Program, is_mounted, wait_until};
use crate::images::{SOON, Scene, is_free, letter};

#[test]
#[serial]
fn attachments_of_one_archive_share_its_mount_and_end_in_any_order() {
    let Some(scene) = Scene::plain() else { return };
    for order in [[0, 1, 2], [1, 2, 0], [2, 0, 1]] {
        let dir = scene.directory("inside");
        let devices = [
            scene.attach("tank/v", &[]),
            scene.attach("tank/v", &["--mount", dir.to_str().unwrap()]),
            scene.attach("tank/v", &["--writable"]),
        ];
        // One for the archive, one for the changes.
        assert_eq!(scene.daemons().len(), 2);
        for (n, which) in order.into_iter().enumerate() {
            scene.detach(&devices[which]);
            assert!(is_free(&devices[which]));
            for left in &order[n + 1..] {
                assert_eq!(std::fs::read(&devices[*left]).unwrap().len(), 24 << 20);
            }
        }
        scene.assert_nothing_left();
    }
}

#[test]
#[serial]
fn what_is_in_use_is_not_detached_and_who_holds_it_is_told() {
    let Some(scene) = Scene::plain() else { return };
    let dir = scene.directory("inside");
    let device = scene.attach("tank/v", &["--mount", dir.to_str().unwrap()]);
    let me = format!("(pid {})", std::process::id());
    for path in [dir.join("letter"), device.clone()] {
        let open = File::open(&path).unwrap();
        let run = scene.machine.offsite(["detach"]).arg(&device).run();
        assert_eq!(run.code(), Some(75), "{run}");
        assert!(run.stderr().contains(&me) && run.stderr().contains(path.to_str().unwrap()), "{run}");
        assert_eq!(scene.attached()[0]["state"], "up");
        drop(open);
    }
    scene.detach(&device);
    scene.assert_nothing_left();
}

#[test]
#[serial]
fn a_killed_daemon_is_told_and_detached() {
    let Some(scene) = Scene::plain() else { return };
    for options in [&[][..], &["--writable"]] {
        for end in ["detach", "cleanup"] {
            let dir = scene.directory("inside");
            let device = scene.attach("tank/v", &[options, &["--mount", dir.to_str().unwrap()]].concat());
            scene.kill_daemons();
            assert!(wait_until(SOON, || scene.attached()[0]["state"] == "dead"));
            let told = scene.machine.offsite(["attached"]).ok();
            assert!(told.stdout().contains("was killed") && told.stderr().contains("cleanup"), "{told}");
            let dry = scene.machine.offsite(["cleanup"]).arg("--dry-run").ok().stdout();
            assert!(dry.contains(device.to_str().unwrap()), "{dry}");
            assert_eq!(scene.attached().len(), 1);
            match end {
                "detach" => scene.detach(&dir),
                _ => drop(scene.machine.offsite(["cleanup"]).ok()),
            }
            assert!(!is_mounted(&dir) && is_free(&device));
            scene.assert_nothing_left();
        }
    }
}

#[test]
#[serial]
fn a_device_that_losetup_took_away_leaves_what_cleanup_ends() {
    let Some(scene) = Scene::plain() else { return };
    let device = scene.attach("tank/v", &[]);
    Program::new("losetup").arg("--detach").arg(&device).ok();
    assert!(wait_until(SOON, || is_free(&device)));
    assert_eq!(scene.attached()[0]["why"], "its device is gone");
    scene.machine.offsite(["cleanup"]).ok();
    scene.assert_nothing_left();
}

#[test]
#[serial]
fn archives_of_the_same_name_in_two_repositories_are_not_detached_together() {
    let (Some(one), Some(other)) = (Scene::plain(), Scene::plain()) else { return };
    let devices = [one.attach("tank/v", &[]), other.attach("tank/v", &[])];
    let said = one.machine.offsite(["detach"]).arg(ARCHIVE).fails();
    assert!(said.contains("from several repositories"), "{said}");
    for (scene, device) in [&one, &other].into_iter().zip(&devices) {
        assert!(said.contains(&format!("detach {}", device.display())), "{said}");
        assert_eq!(scene.attached().len(), 1);
    }
    one.detach(&devices[0]);
    other.detach(ARCHIVE);
    one.assert_nothing_left();
    other.assert_nothing_left();
}

#[test]
#[serial]
fn cleanup_leaves_what_is_alive() {
    let Some(scene) = Scene::plain() else { return };
    let dir = scene.directory("inside");
    scene.attach("tank/v", &["--mount", dir.to_str().unwrap()]);
    scene.machine.offsite(["cleanup"]).ok();
    assert!(std::fs::read(dir.join("letter")).unwrap() == letter());
    scene.machine.offsite(["detach"]).arg("--all").ok();
    scene.assert_nothing_left();
    let said = scene.machine.offsite(["detach"]).arg(ARCHIVE).fails();
    assert!(said.contains("nothing of ::2026-03-14 is attached"), "{said}");
}

#[test]
#[serial]
fn an_attach_that_is_interrupted_leaves_nothing_and_a_killed_one_is_cleaned_up() {
    let Some(mut scene) = Scene::plain() else { return };
    // Everything else stands when it asks for the qube.
    let script = "[ $1 = attach ] || exit 1\ntouch \"$0.called\"\nexec sleep 60";
    let bin = scene.machine.script("qvm-block", script);
    scene.machine.search_first(bin.clone());
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        let mut attach = scene.command("tank/v", &["--to-qube", "work", "--writable"]).spawn_piped();
        let called = bin.join("qvm-block.called");
        assert!(wait_until(SOON, || called.exists()), "it does not get there");
        std::fs::remove_file(called).unwrap();
        kill(Pid::from_raw(attach.id() as i32), signal).unwrap();
        assert!(!attach.wait().unwrap().success());
        if signal == Signal::SIGKILL {
            scene.machine.offsite(["detach"]).arg(ARCHIVE).ok();
        }
        scene.assert_nothing_left();
    }
}
