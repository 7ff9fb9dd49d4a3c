//! The whole path for a user who is not root, as far as FUSE allows.

use std::os::unix::fs::PermissionsExt;

use serial_test::serial;

use crate::common::mounted::is_mounted;
use crate::common::{Flavour, Need, Program, Sandbox, available, binary, each_borg};

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

/// A sandbox of the user's, with a letter to back up and a program that nobody else built.
fn of_a_user(flavour: Flavour) -> Sandbox {
    let sandbox = Sandbox::new(flavour);
    let home = sandbox.path("home");
    std::fs::write(sandbox.source().join("letter"), "dear reader").unwrap();
    // A program that nobody may run, wherever it was built.
    std::fs::copy(binary(), sandbox.path("offsite")).unwrap();
    let config = format!(
        "{{\"backup_path\": {:?}, \"filesystems_to_backup\": [{:?}]}}",
        home.join("repo"),
        sandbox.source()
    );
    std::fs::write(sandbox.config(), config).unwrap();
    let dir = sandbox.path("");
    Program::new("chown").args(["-R", "65534:65534"]).arg(&dir).ok();
    Program::new("chmod").arg("755").arg(&dir).ok();
    sandbox
}

/// `script`, in which `offsite` is the program, by the user.
fn by_the_user(sandbox: &Sandbox, script: &str) -> Program {
    let home = sandbox.path("home");
    let letter = sandbox.source().join("letter");
    let begin = "set -e; offsite() { \"$PROGRAM\" --config \"$CONFIG\" \"$@\"; }\n";
    sandbox
        .program("setpriv")
        .args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "sh", "-c"])
        .arg(format!("{begin}{script}"))
        .env("HOME", &home)
        .env("PROGRAM", sandbox.path("offsite"))
        .env("CONFIG", sandbox.config())
        .env("DIR", sandbox.mount_point())
        .env("LETTER", letter.strip_prefix("/").unwrap())
        .current_dir(&home)
}

#[test]
#[serial(device)]
fn a_user_who_is_not_root_backs_up_mounts_reads_and_unmounts() {
    if !available(&[Need::Root, Need::Fuse]) {
        return;
    }
    let _device = OpenDevice::new();
    each_borg(|flavour| {
        let sandbox = of_a_user(flavour);
        let script = r#"
            offsite init -e repokey
            offsite create
            offsite mount ::today "$DIR"
            findmnt -n -o FSTYPE "$DIR"
            cat "$DIR/$LETTER"
            offsite umount "$DIR"
            rmdir "$DIR""#;
        let run = by_the_user(&sandbox, script).ok();
        assert!(run.stdout().ends_with("fuse.borg-offsite-backup\ndear reader"), "{run}");
        std::fs::create_dir(sandbox.mount_point()).unwrap();
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
    let sandbox = of_a_user(flavour);
    let runs = sandbox.source().join("runs");
    std::fs::write(&runs, "#!/bin/sh\necho it runs\n").unwrap();
    std::fs::set_permissions(&runs, PermissionsExt::from_mode(0o755)).unwrap();
    by_the_user(&sandbox, "offsite init -e repokey; offsite create").ok();
    let mounted = |options: &str| {
        let script = format!(
            r#"offsite mount -o {options} ::today "$DIR"
            findmnt -n -o OPTIONS "$DIR"; "$DIR/${{LETTER%letter}}runs" || echo refused
            offsite umount "$DIR""#
        );
        by_the_user(&sandbox, &script)
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
        assert!(!is_mounted(&sandbox.mount_point()), "{run}");
    }
}
