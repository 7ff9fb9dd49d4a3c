//! How a mount begins, is seen, and ends.

use std::path::Path;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};

use crate::common::{
    ARCHIVE, DAY, Flavour, Machine, Mounted, Need, Program, Repository, SOURCES, assert_same_bytes,
    available, binary, each_borg, is_mounted, wait_until,
};
use crate::scene::{archived, write_random};

const SOON: Duration = Duration::from_secs(20);

fn scene() -> Option<(Machine, Repository)> {
    if !available(&[Need::Fuse]) {
        return None;
    }
    Flavour::any().map(|flavour| archived(flavour, |s| std::fs::write(s.join("file"), b"content").unwrap()))
}

fn assert_works(mounted: &Mounted) {
    assert_eq!(std::fs::read(mounted.path("file")).unwrap(), b"content");
}

/// What a mirror job or a person would see of a dead mount: an error, not an empty directory.
fn assert_dead(dir: &Path) {
    let e = std::fs::read_dir(dir).expect_err("the dead mount looks like a directory");
    // The second while the kernel still clears up.
    assert!([libc::ENOTCONN, libc::ECONNABORTED].map(Some).contains(&e.raw_os_error()), "{e}");
}

fn kill_daemon(mounted: &Mounted) {
    let daemon = mounted.daemon();
    kill(daemon, Signal::SIGKILL).unwrap();
    assert!(wait_until(SOON, || std::fs::read_dir(mounted.dir()).is_err()), "it still answers");
}

#[test]
fn umount_ends_the_mount_and_the_daemon() {
    let Some((machine, _repository)) = scene() else { return };
    for source in SOURCES {
        let mounted = Mounted::by(source, &machine, ARCHIVE, &[]);
        assert_works(&mounted);
        let daemon = mounted.daemon();
        mounted.umount(&machine);
        assert!(!is_mounted(&machine.mount_point()));
        // Nothing is left in it.
        std::fs::remove_dir(machine.mount_point()).unwrap();
        std::fs::create_dir(machine.mount_point()).unwrap();
        assert!(wait_until(SOON, || kill(daemon, None).is_err()), "the daemon lives on");
    }
}

#[test]
fn umount_of_what_is_in_use_fails_and_the_mount_lives() {
    let Some((machine, _repository)) = scene() else { return };
    for source in SOURCES {
        let mounted = Mounted::by(source, &machine, ARCHIVE, &[]);
        let file = std::fs::File::open(mounted.path("file")).unwrap();
        let said = machine.offsite(["umount"]).arg(mounted.dir()).fails();
        assert!(said.contains(mounted.dir().to_str().unwrap()), "{said}");
        drop(file);
        assert_works(&mounted);
    }
}

#[test]
fn sigterm_ends_the_mount() {
    let Some((machine, _repository)) = scene() else { return };
    for source in SOURCES {
        let mounted = Mounted::by(source, &machine, ARCHIVE, &[]);
        assert_works(&mounted);
        kill(mounted.daemon(), Signal::SIGTERM).unwrap();
        assert!(wait_until(SOON, || !is_mounted(mounted.dir())), "still mounted");
    }
}

#[test]
fn a_mount_in_the_foreground_ends_with_its_umount() {
    let Some((machine, _repository)) = scene() else { return };
    for source in SOURCES {
        let dir = machine.mount_point();
        let mut process =
            Mounted::command(&machine, ARCHIVE, &dir, &["--foreground", "--source", source]).spawn();
        assert!(wait_until(SOON, || is_mounted(&dir)), "it does not mount");
        let mounted = Mounted::at(dir);
        assert_works(&mounted);
        assert!(process.try_wait().unwrap().is_none(), "it did not stay");
        mounted.umount(&machine);
        assert!(wait_until(SOON, || process.try_wait().unwrap().is_some()), "it does not end");
        assert!(process.wait().unwrap().success());
    }
}

#[test]
fn a_killed_mount_fails_until_umount_clears_it() {
    let Some((machine, _repository)) = scene() else { return };
    for source in SOURCES {
        let mounted = Mounted::by(source, &machine, ARCHIVE, &[]);
        kill_daemon(&mounted);
        assert_dead(mounted.dir());
        mounted.umount(&machine);
        assert_works(&Mounted::by(source, &machine, ARCHIVE, &[]));
    }
}

#[test]
fn a_killed_mount_is_cleared_by_the_next_mount() {
    let Some((machine, _repository)) = scene() else { return };
    for source in SOURCES {
        let mounted = Mounted::by(source, &machine, ARCHIVE, &[]);
        kill_daemon(&mounted);
        assert_dead(mounted.dir());
        let again = Mounted::by(source, &machine, ARCHIVE, &[]);
        assert_works(&again);
        again.umount(&machine);
        assert!(!is_mounted(&machine.mount_point()), "the dead mount is still below");
    }
}

#[test]
fn df_and_findmnt_name_repository_and_archive() {
    let Some((machine, repository)) = scene() else { return };
    let mounted = Mounted::new(&machine, ARCHIVE, &[]);
    let findmnt =
        Program::new("findmnt").args(["-n", "-o", "FSTYPE,SOURCE"]).arg(mounted.dir()).ok().stdout();
    let df = Program::new("df").arg("--output=source").arg(mounted.dir()).ok().stdout();
    assert!(findmnt.starts_with("fuse.borg-offsite-backup"), "{findmnt}");
    for seen in [findmnt, df] {
        assert!(seen.contains(repository.dir().to_str().unwrap()) && seen.contains(DAY), "{seen}");
    }
}

#[test]
fn the_mount_is_read_only_without_devices_and_setuid() {
    let Some((machine, _repository)) = scene() else { return };
    let mounted = Mounted::new(&machine, ARCHIVE, &[]);
    let options = Program::new("findmnt").args(["-n", "-o", "OPTIONS"]).arg(mounted.dir()).ok().stdout();
    let options: Vec<&str> = options.trim().split(',').collect();
    for option in ["ro", "nosuid", "nodev"] {
        assert!(options.contains(&option), "{option} is not among {options:?}");
    }
    let e = std::fs::write(mounted.path("new"), b"").unwrap_err();
    assert_eq!(e.raw_os_error(), Some(libc::EROFS));
}

#[test]
fn systemd_is_told_when_the_mount_is_ready_and_not_before() {
    if !available(&[Need::Fuse]) {
        return;
    }
    let Some((machine, _repository)) = scene() else { return };
    let path = machine.path("notify");
    let socket = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut daemon = Mounted::command(&machine, ARCHIVE, &machine.mount_point(), &["-f"])
        .env("NOTIFY_SOCKET", &path)
        .spawn();
    let mut message = [0; 256];
    let n = socket.recv(&mut message).unwrap();
    assert!(message[..n].starts_with(b"READY=1"), "{}", message[..n].escape_ascii());
    let mounted = Mounted::at(machine.mount_point());
    assert_works(&mounted);
    mounted.umount(&machine);
    assert!(daemon.wait().unwrap().success());
}

#[test]
fn a_passphrase_from_a_descriptor_serves_the_mount_and_all_its_streams() {
    if !available(&[Need::Fuse]) {
        return;
    }
    each_borg(|flavour| {
        let mut machine = Machine::new(flavour);
        write_random(&machine.source(), "image", 3 << 20);
        write_random(&machine.source(), "small", 300);
        machine.set_variable("BORG_PASSPHRASE", "open sesame");
        let repository = Repository::init(&machine, "repokey-blake2");
        repository.create(&machine, DAY);
        let mount = |word: &str, source: &str| {
            std::fs::write(machine.path("word"), format!("{word}\n")).unwrap();
            let script = r#"unset BORG_PASSPHRASE; exec "$@" 9< "$WORD""#;
            machine
                .program("sh")
                .args(["-c", script, "sh"])
                .arg(binary())
                .arg("--config")
                .arg(machine.config())
                .args(["mount", "--source", source, ARCHIVE])
                .arg(machine.mount_point())
                .env("BORG_PASSPHRASE_FD", "9")
                .env("WORD", machine.path("word"))
                .run()
        };
        for source in SOURCES {
            let wrong = mount("open barley", source);
            assert_eq!(wrong.code(), Some(1), "{wrong}");
            assert!(wrong.stderr().contains("the passphrase is wrong for the key in"), "{wrong}");
            assert!(!wrong.stderr().contains("barley"), "{wrong}");
            assert_eq!(mount("open sesame", source).code(), Some(0));
            let mounted = Mounted::at(machine.mount_point());
            assert_same_bytes(&mounted.path("image"), &machine.source().join("image"));
            assert_same_bytes(&mounted.path("small"), &machine.source().join("small"));
            for file in ["environ", "cmdline"] {
                let told = std::fs::read(format!("/proc/{}/{file}", mounted.daemon())).unwrap();
                assert!(!told.windows(11).any(|w| w == b"open sesame"), "the passphrase is in {file}");
            }
            mounted.umount(&machine);
        }
    });
}

#[test]
fn a_daemon_keeps_no_descriptor_of_its_caller() {
    let Some((machine, _repository)) = scene() else { return };
    let script = r#"exec 9>"$LOCK"; flock 9; "$@"; exec 9>&-; flock -n "$LOCK" true"#;
    for source in SOURCES {
        let mount = machine.program("sh").args(["-c", script, "sh"]).arg(binary()).arg("--config");
        let mount = mount.arg(machine.config()).args(["mount", "--source", source, ARCHIVE]);
        mount.arg(machine.mount_point()).env("LOCK", machine.path("lock")).ok();
        let mounted = Mounted::at(machine.mount_point());
        assert_works(&mounted);
        mounted.umount(&machine);
    }
}

#[test]
fn a_daemon_ends_with_its_mount_also_when_a_process_with_a_mount_table_of_its_own_keeps_it() {
    if !available(&[Need::Fuse, Need::Root]) {
        return;
    }
    let Some((machine, _repository)) = scene() else { return };
    for source in SOURCES {
        let mounted = Mounted::by(source, &machine, ARCHIVE, &[]);
        assert_works(&mounted);
        let other = ["--mount", "--propagation", "private", "sh", "-c", "echo; exec sleep 1000"];
        let mut other = Program::new("unshare").args(other).spawn();
        std::io::Read::read_exact(other.stdout.as_mut().unwrap(), &mut [0]).unwrap();
        let daemon = mounted.daemon();
        mounted.umount(&machine);
        let ended = wait_until(SOON, || kill(daemon, None).is_err());
        other.kill().unwrap();
        other.wait().unwrap();
        assert!(ended, "the daemon outlived its mount");
    }
}

#[test]
fn what_is_open_in_a_mount_that_was_taken_out_of_the_tree_can_be_read_on() {
    if !available(&[Need::Fuse, Need::Root]) {
        return;
    }
    let Some((machine, _repository)) = scene() else { return };
    let mounted = Mounted::new(&machine, ARCHIVE, &["--cache-size", "0"]);
    let daemon = mounted.daemon();
    let file = std::fs::File::open(mounted.path("file")).unwrap();
    nix::mount::umount2(mounted.dir(), nix::mount::MntFlags::MNT_DETACH).unwrap();
    // For longer than it takes the daemon to see that the mount is gone.
    let is_read = || crate::scene::read_at(&file, 0, 7).is_ok_and(|bytes| bytes == b"content");
    assert!(!wait_until(Duration::from_millis(500), || !is_read()));
    drop(file);
    assert!(wait_until(SOON, || kill(daemon, None).is_err()));
}

#[test]
fn a_mount_that_was_taken_out_of_the_tree_leaves_the_one_that_took_its_place() {
    if !available(&[Need::Fuse, Need::Root]) {
        return;
    }
    let Some((machine, _repository)) = scene() else { return };
    let old = Mounted::new(&machine, ARCHIVE, &[]);
    let daemon = old.daemon();
    let file = std::fs::File::open(old.path("file")).unwrap();
    nix::mount::umount2(old.dir(), nix::mount::MntFlags::MNT_DETACH).unwrap();
    let new = Mounted::new(&machine, ARCHIVE, &[]);
    kill(daemon, Signal::SIGTERM).unwrap();
    assert!(wait_until(SOON, || kill(daemon, None).is_err()));
    assert_works(&new);
    drop(file);
    new.umount(&machine);
}

/// An automount lets only the process group of the helper that it called touch the directory.
#[test]
fn the_mount_is_made_in_the_callers_process_group_and_the_daemon_leaves_it_afterwards() {
    let Some((mut machine, _repository)) = scene() else { return };
    let asked = machine.path("asked");
    let ask = format!("sh -c 'ps -o pgid= -p $PPID > \"{0}\".$PPID; echo'", asked.display());
    machine.set_variable("BORG_PASSCOMMAND", ask);
    let dir = machine.mount_point();
    let script = r#"unset BORG_PASSPHRASE; exec "$@""#;
    let mount = machine.program("sh").args(["-c", script, "sh"]).arg(binary()).arg("--config");
    mount.arg(machine.config()).args(["mount", "--source", "native", ARCHIVE]).arg(&dir).ok();
    let mounted = Mounted::at(dir);
    let daemon = mounted.daemon();
    let group = std::fs::read_to_string(format!("{}.{daemon}", asked.display())).unwrap();
    assert_eq!(group.trim(), nix::unistd::getpgrp().to_string());
    assert_eq!(nix::unistd::getsid(Some(daemon)).unwrap(), daemon);
}

#[test]
fn a_mount_needs_no_place_for_its_log() {
    if !available(&[Need::Fuse, Need::Root]) {
        return;
    }
    let Some((machine, _repository)) = scene() else { return };
    let script = r#"set -e
        mount --bind /run /run; mount -o remount,bind,ro /run
        "$PROGRAM" --config "$CONFIG" mount "$ARCHIVE" "$DIR"
        cat "$DIR/file"
        "$PROGRAM" --config "$CONFIG" umount "$DIR""#;
    let run = machine
        .program("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-c", script])
        .env("PROGRAM", binary())
        .env("CONFIG", machine.config())
        .env("ARCHIVE", ARCHIVE)
        .env("DIR", machine.mount_point())
        .ok();
    assert!(run.stdout().ends_with("content"), "{run}");
    assert!(run.stderr().contains("the mount's log is /dev/shm"), "{run}");
}
