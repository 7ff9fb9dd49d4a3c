//! The whole path for a user who is not root, as far as FUSE allows.

use std::os::unix::fs::PermissionsExt;

use serial_test::serial;

use crate::common::{Flavour, Machine, Need, Program, available, each_borg, is_mounted};

const DEVICE: &str = "/dev/fuse";

/// Lets everybody use /dev/fuse, as desktops do; some machines leave it to root.
struct OpenDevice(u32);

impl OpenDevice {
    fn new() -> Self {
        let mode = std::fs::metadata(DEVICE).unwrap().permissions().mode();
        std::fs::set_permissions(DEVICE, PermissionsExt::from_mode(0o666)).unwrap();
        OpenDevice(mode)
    }
}

impl Drop for OpenDevice {
    fn drop(&mut self) {
        std::fs::set_permissions(DEVICE, PermissionsExt::from_mode(self.0)).unwrap();
    }
}

/// A machine of a user who is not root, with a letter to back up.
fn of_a_user(flavour: Flavour) -> Machine {
    let mut machine = Machine::new(flavour);
    std::fs::write(machine.source().join("letter"), "dear reader").unwrap();
    machine.list(&["source"]);
    machine.hand_over();
    machine
}

/// `script`, in which `offsite` is the program, by the user.
fn by_the_user(machine: &Machine, script: &str) -> Program {
    let letter = machine.source().join("letter");
    let begin = "offsite() { \"$PROGRAM\" --config \"$CONFIG\" \"$@\"; }\n";
    machine
        .shell(&format!("{begin}{script}"))
        .env("PROGRAM", machine.binary())
        .env("CONFIG", machine.config())
        .env("DIR", machine.mount_point())
        .env("LETTER", letter.strip_prefix("/").unwrap())
        .current_dir(&machine.path("home"))
}

#[test]
#[serial(device)]
fn a_user_who_is_not_root_backs_up_mounts_reads_and_unmounts() {
    if !available(&[Need::Root, Need::Fuse]) {
        return;
    }
    let _device = OpenDevice::new();
    each_borg(|flavour| {
        let machine = of_a_user(flavour);
        let script = r#"
            offsite init -e repokey
            offsite create
            offsite mount ::today "$DIR"
            findmnt -n -o FSTYPE "$DIR"
            cat "$DIR/$LETTER"
            offsite umount "$DIR"
            rmdir "$DIR""#;
        let run = by_the_user(&machine, script).ok();
        assert!(run.stdout().ends_with("fuse.borg-offsite-backup\ndear reader"), "{run}");
        std::fs::create_dir(machine.mount_point()).unwrap();
    });
}

#[test]
#[serial(device)]
fn flags_that_protect_are_set_for_a_user_too_or_the_mount_is_refused() {
    if !available(&[Need::Root, Need::Fuse]) {
        return;
    }
    let Some(flavour) = Flavour::any() else { return };
    let _device = OpenDevice::new();
    let machine = of_a_user(flavour);
    let runs = machine.source().join("runs");
    std::fs::write(&runs, "#!/bin/sh\necho it runs\n").unwrap();
    std::fs::set_permissions(&runs, PermissionsExt::from_mode(0o755)).unwrap();
    by_the_user(&machine, "offsite init -e repokey; offsite create").ok();
    let mounted = |options: &str| {
        let script = format!(
            r#"offsite mount -o {options} ::today "$DIR"
            findmnt -n -o OPTIONS "$DIR"; "$DIR/${{LETTER%letter}}runs" || echo refused
            offsite umount "$DIR""#
        );
        by_the_user(&machine, &script)
    };
    let shown = mounted("ro").ok().stdout();
    for flag in ["ro", "nosuid", "nodev", "user_id=65534"] {
        assert!(shown.lines().next().unwrap().split(',').any(|f| f == flag), "{flag}: {shown}");
    }
    assert!(!shown.contains("noexec") && shown.ends_with("it runs\n"), "{shown}");
    let shown = mounted("noexec").ok().stdout();
    assert!(shown.contains(",noexec,") && shown.ends_with("refused\n"), "{shown}");
    // Not every fusermount3 knows this one.
    let run = mounted("nosymfollow").run();
    if run.code() == Some(0) {
        assert!(run.stdout().contains("nosymfollow"), "{run}");
    } else {
        assert!(run.stderr().contains("fusermount3") && run.stderr().contains("nosymfollow"), "{run}");
        assert!(!is_mounted(&machine.mount_point()), "{run}");
    }
}
