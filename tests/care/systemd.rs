//! contrib/systemd: the units are valid and closed as far as they promise, and their very command
//! lines do what they promise. No systemd runs here: what it would hand to them, they are handed.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::contrib;
use crate::machine::{command, installed, setting};
use crate::world::{World, mounts, today, until};

const SERVICE: &str = "borg-offsite-backup.service";
const MOUNT: &str = "borg-offsite-backup-mount@.service";
const INSTANCE: &str = "borg-offsite-backup-mount@mnt-restore.service";

/// A machine with something to back up.
fn machine() -> World {
    let mut world = World::new();
    world.write("data/x", "content");
    world.list(&["data"]);
    installed(&world);
    world
}

/// The service's command line, with all that the unit sets.
fn backup(world: &World) -> Command {
    command(world, SERVICE, "/")
}

#[track_caller]
fn says_nothing(output: &Output) {
    let said = [&output.stdout[..], &output.stderr].concat();
    assert!(output.status.success() && said.is_empty(), "{}", String::from_utf8_lossy(&said));
}

/// A directory with all units, also the instance of a template.
fn units(world: &World) -> Vec<String> {
    let mut files = Vec::new();
    fs::create_dir(world.path("units")).unwrap();
    for entry in fs::read_dir(contrib("systemd")).unwrap().flatten() {
        let name = entry.file_name().into_string().unwrap().replace(MOUNT, INSTANCE);
        fs::copy(entry.path(), world.path("units").join(&name)).unwrap();
        files.push(world.path("units").join(name).to_str().unwrap().to_owned());
    }
    assert_eq!(files.len(), 5);
    files
}

#[test]
fn systemd_has_nothing_to_complain_about() {
    let world = machine();
    let output = Command::new("systemd-analyze").args(["verify", "--man=no"]).args(units(&world)).output();
    says_nothing(&output.unwrap());
}

#[test]
fn the_services_are_as_closed_as_the_documentation_says() {
    let world = machine();
    units(&world);
    let page = |name| fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap();
    let told = page("docs/client.md");
    for (unit, at_most) in [(SERVICE, 4.3), (INSTANCE, 4.8)] {
        let mut command = Command::new("systemd-analyze");
        command.args(["security", "--offline=true", "--no-pager"]).arg(world.path("units").join(unit));
        let said = String::from_utf8(command.output().unwrap().stdout).unwrap();
        let level = said.lines().last().unwrap().split(": ").nth(1).unwrap().split(' ').next().unwrap();
        assert!(level.parse::<f64>().unwrap() <= at_most, "{unit}: {said}");
        assert!(told.contains(&format!("{level} of 10")), "docs/client.md does not say {level}");
    }
}

#[test]
fn the_timer_fires_each_day_and_catches_up() {
    let timer = fs::read_to_string(contrib("systemd/borg-offsite-backup.timer")).unwrap();
    assert_eq!(setting(&timer, "Persistent"), ["yes"]);
    let output = Command::new("systemd-analyze")
        .args(["calendar", "--iterations=2", &setting(&timer, "OnCalendar")[0]])
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let times = said.lines().filter(|line| line.contains("09:30:00") && !line.contains("form"));
    assert_eq!(times.count(), 2, "{said}");
}

#[test]
fn the_service_makes_one_backup_a_day_and_says_nothing() {
    let world = machine();
    says_nothing(&backup(&world).output().unwrap());
    let ids = || {
        let output = world.borg(&["list", "--format", "{name} {id}{NL}"]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let first = ids();
    assert!(first.starts_with(&today()) && first.lines().count() == 1, "{first}");
    // The timer that catches up, and that of the day.
    says_nothing(&backup(&world).output().unwrap());
    assert_eq!(ids(), first);
}

#[test]
fn a_retry_after_a_failure_makes_the_backup() {
    let world = machine();
    fs::rename(world.path("repository"), world.path("away")).unwrap();
    let output = backup(&world).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).starts_with("error: "), "a failure is told");
    // systemd tries again after 1 and 75, not after 2 and 3.
    let unit = fs::read_to_string(contrib("systemd").join(SERVICE)).unwrap();
    assert_eq!(setting(&unit, "Restart"), ["on-failure"]);
    assert_eq!(setting(&unit, "RestartPreventExitStatus"), ["2 3"]);
    fs::rename(world.path("away"), world.path("repository")).unwrap();
    says_nothing(&backup(&world).output().unwrap());
    assert_eq!(world.archives(), [today()]);
}

#[test]
fn options_are_taken_from_the_file_of_defaults() {
    let world = machine();
    let target = world.path("offsite.prom");
    let line = format!("CREATE_OPTIONS=--telemetry-file {}\n", target.display());
    fs::write("/etc/default/borg-offsite-backup", line).unwrap();
    says_nothing(&backup(&world).output().unwrap());
    assert!(fs::read_to_string(target).unwrap().contains("borg_backup_last_exit_code"));
}

#[test]
fn a_sigterm_at_any_moment_leaves_nothing_behind() {
    let mut world = machine();
    world.write_random("data/big", 3_000_000);
    world.slow();
    installed(&world);
    let stop = |moment: &dyn Fn()| {
        let mut child = backup(&world).stderr(Stdio::piped()).spawn().unwrap();
        moment();
        let _ = kill(Pid::from_raw(child.id() as i32), Signal::SIGTERM);
        let status = child.wait().unwrap();
        // Before it heeds signals there is nothing to clean up.
        assert!(!status.success(), "{status}");
        if Path::new(crate::world::STAGING).exists() {
            world.assert_nothing_is_left();
        }
    };
    for millis in [0, 5, 20, 60, 150, 300] {
        stop(&|| std::thread::sleep(Duration::from_millis(millis)));
    }
    stop(&|| {
        world.wait_for_borg(&today());
    });
    assert!(world.archives().is_empty());
}

#[test]
fn key_and_passphrase_come_out_of_the_credentials() {
    let mut world = World::without_repository();
    world.write("data/x", "content");
    world.list(&["data"]);
    world.set("backup_path", world.path("repository").to_str().unwrap());
    let mut init = world.command(&["init", "-e", "keyfile-blake2"]);
    assert!(init.env("BORG_PASSPHRASE", "sesame").output().unwrap().status.success());
    installed(&world);

    let unit = fs::read_to_string(contrib("systemd").join(SERVICE)).unwrap();
    let names = setting(&unit, "LoadCredential");
    assert_eq!(names, ["borg-offsite-backup.key", "borg-offsite-backup.passphrase"]);
    let credentials = world.path("credentials");
    fs::create_dir(&credentials).unwrap();
    fs::rename(world.path("home/.borg-offsite-backup.key"), credentials.join(&names[0])).unwrap();
    fs::write(credentials.join(&names[1]), "sesame\n").unwrap();
    for name in &names {
        fs::set_permissions(credentials.join(name), PermissionsExt::from_mode(0o400)).unwrap();
    }
    let output = backup(&world).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("key"), "without them it cannot work");
    says_nothing(&backup(&world).env("CREDENTIALS_DIRECTORY", &credentials).output().unwrap());
    let mut check = world.command(&["check-config"]);
    let output = check.env("CREDENTIALS_DIRECTORY", &credentials).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("passphrase  from the credential of systemd"), "{said}");
    assert!(said.contains(&format!("key         {}", credentials.join(&names[0]).display())), "{said}");
    fs::write(credentials.join(&names[1]), "wrong\n").unwrap();
    let output = backup(&world).env("CREDENTIALS_DIRECTORY", &credentials).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("passphrase is wrong"));
}

#[test]
fn the_mount_service_is_ready_when_the_directory_can_be_used() {
    let world = machine();
    says_nothing(&backup(&world).output().unwrap());
    let dir = world.path("mnt");
    let socket = UnixDatagram::bind(world.path("notify")).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut mount = command(&world, MOUNT, dir.to_str().unwrap());
    let mut child = mount.env("NOTIFY_SOCKET", world.path("notify")).spawn().unwrap();
    let mut said = [0; 100];
    let length = socket.recv(&mut said).unwrap();
    assert_eq!(said[..length].trim_ascii(), b"READY=1");
    let names: Vec<_> = fs::read_dir(&dir).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(names.contains(&today().into()) && names.contains(&"latest".into()), "{names:?}");
    kill(Pid::from_raw(child.id() as i32), Signal::SIGTERM).unwrap();
    assert!(child.wait().unwrap().success());
    assert!(!mounts().contains(dir.to_str().unwrap()));
}

#[test]
fn mount_8_fstab_and_mount_units_mount_an_archive() {
    let world = machine();
    says_nothing(&backup(&world).output().unwrap());
    for name in ["mount.borg-offsite-backup", "mount.fuse.borg-offsite-backup"] {
        symlink("/usr/local/bin/borg-offsite-backup", Path::new("/usr/sbin").join(name)).unwrap();
    }
    let dir = world.path("mnt");
    fs::create_dir(&dir).unwrap();
    let place = dir.to_str().unwrap();
    let data = |archive: &str| dir.join(archive).join(world.path("data/x").strip_prefix("/").unwrap());
    // mount(8) takes HOME and PATH from its helpers; nothing else is found where this test has it.
    let run = |program: &str, args: &[&str]| {
        let mut command = world.surrounded(program);
        command.args(args).env("BORG_BASE_DIR", world.path("home")).output().unwrap()
    };
    let ends = || {
        says_nothing(&run("umount", &[place]));
        until("the mount to end", || (!mounts().contains(place)).then_some(()));
    };

    let unit = fs::read_to_string(contrib("systemd/mnt-restore.mount")).unwrap();
    let of_unit = |key: &str| setting(&unit, key).remove(0);
    let (what, kind, options) = (of_unit("What"), of_unit("Type"), of_unit("Options"));
    // As systemd calls it.
    says_nothing(&run("mount", &[&what, place, "-t", &kind, "-o", &options]));
    assert_eq!(fs::read_to_string(data("")).unwrap(), "content");
    ends();

    world.write("fstab", format!("none {place} borg-offsite-backup noauto,_netdev,allow_other 0 0\n"));
    says_nothing(&run("mount", &["--fstab", world.path("fstab").to_str().unwrap(), place]));
    assert_eq!(fs::read_to_string(data(&today())).unwrap(), "content");
    ends();

    says_nothing(&run("mount", &["-f", "-t", "borg-offsite-backup", "::latest", place]));
    assert!(!mounts().contains(place), "that was a rehearsal");

    let output = run("mount", &["-t", "borg-offsite-backup", "::1999-01-01", place]);
    assert!(!output.status.success() && !mounts().contains(place));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("there is no archive 1999-01-01"), "{said}");

    let other = world.path("x.conf");
    fs::remove_file("/etc/borg-offsite-backup.conf").unwrap();
    let options = format!("config={}", other.display());
    says_nothing(&run("mount", &["-t", "borg-offsite-backup", "::latest", place, "-o", &options]));
    assert_eq!(fs::read_to_string(data("")).unwrap(), "content");
    ends();
}

#[test]
fn make_install_puts_everything_in_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let output = Command::new("make")
        .args(["install-contrib", "PREFIX=/opt/x", &format!("DESTDIR={}", dir.path().display())])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let there = |path: &str| fs::symlink_metadata(dir.path().join(path)).unwrap();
    for unit in [SERVICE, MOUNT, "borg-offsite-backup.timer"] {
        assert_eq!(there(&format!("opt/x/lib/systemd/system/{unit}")).permissions().mode() & 0o777, 0o644);
    }
    let unit = fs::read_to_string(dir.path().join("opt/x/lib/systemd/system").join(SERVICE)).unwrap();
    assert!(setting(&unit, "ExecStart")[0].starts_with("/opt/x/bin/borg-offsite-backup create"), "{unit}");
    for name in ["mount.borg-offsite-backup", "mount.fuse.borg-offsite-backup"] {
        let link = fs::read_link(dir.path().join("sbin").join(name)).unwrap();
        assert_eq!(link, Path::new("/opt/x/bin/borg-offsite-backup"));
    }
    for sample in ["notices/mail", "monitoring/alerts.yml", "samples/mnt-restore.mount", "samples/plain.conf"]
    {
        there(&format!("opt/x/share/borg-offsite-backup/{sample}"));
    }
}
