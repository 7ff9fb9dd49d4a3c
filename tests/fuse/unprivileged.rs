//! The whole path for a user who is not root, as far as FUSE allows.

use std::os::unix::fs::PermissionsExt;

use serial_test::serial;

use crate::common::{Need, Program, Sandbox, available, binary, each_borg};

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

#[test]
#[serial(device)]
fn a_user_who_is_not_root_backs_up_mounts_reads_and_unmounts() {
    if !available(&[Need::Root, Need::Fuse]) {
        return;
    }
    let _device = OpenDevice::new();
    each_borg(|flavour| {
        let sandbox = Sandbox::new(flavour);
        let home = sandbox.path("home");
        std::fs::write(sandbox.source().join("letter"), "dear reader").unwrap();
        // A program that nobody may run, wherever it was built.
        let program = sandbox.path("offsite");
        std::fs::copy(binary(), &program).unwrap();
        let config = format!(
            "{{\"backup_path\": {:?}, \"filesystems_to_backup\": [{:?}]}}",
            home.join("repo"),
            sandbox.source()
        );
        std::fs::write(sandbox.config(), config).unwrap();
        let dir = sandbox.path("");
        Program::new("chown").args(["-R", "65534:65534"]).arg(&dir).ok();
        Program::new("chmod").arg("755").arg(&dir).ok();
        let script = r#"set -e
            offsite() { "$PROGRAM" --config "$CONFIG" "$@"; }
            offsite init -e repokey
            offsite create
            offsite mount ::today "$DIR"
            findmnt -n -o FSTYPE "$DIR"
            cat "$DIR/$LETTER"
            offsite umount "$DIR"
            rmdir "$DIR""#;
        let letter = sandbox.source().join("letter");
        let run = sandbox
            .program("setpriv")
            .args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "sh", "-c", script])
            .env("HOME", &home)
            .env("PROGRAM", &program)
            .env("CONFIG", sandbox.config())
            .env("DIR", sandbox.mount_point())
            .env("LETTER", letter.strip_prefix("/").unwrap())
            .current_dir(&home)
            .ok();
        assert!(run.stdout().ends_with("fuse.borg-offsite-backup\ndear reader"), "{run}");
        std::fs::create_dir(sandbox.mount_point()).unwrap();
    });
}
