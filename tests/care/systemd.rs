//! contrib/systemd: the units are valid and closed as far as they promise, and their very command
//! lines do what they promise. No systemd runs here: what it would hand to them, they are handed.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::common::{Machine, Program, SOON, STAGING, mounts, today, wait_until};
use crate::contrib;
use crate::installed::{command, installed, setting};

const SERVICE: &str = "borg-offsite-backup.service";
const MOUNT: &str = "borg-offsite-backup-mount@.service";
const INSTANCE: &str = "borg-offsite-backup-mount@mnt-restore.service";

/// A machine with something to back up.
fn machine() -> Machine {
    let mut machine = Machine::with_repository();
    machine.write("data/x", "content");
    machine.list(&["data"]);
    installed(&machine);
    machine
}

/// The service's command line, with all that the unit sets.
fn backup(machine: &Machine) -> Program {
    command(machine, SERVICE, "/")
}

/// A directory with all units, also the instance of a template.
fn units(machine: &Machine) -> Vec<String> {
    let mut files = Vec::new();
    fs::create_dir(machine.path("units")).unwrap();
    for entry in fs::read_dir(contrib("systemd")).unwrap().flatten() {
        let name = entry.file_name().into_string().unwrap().replace(MOUNT, INSTANCE);
        fs::copy(entry.path(), machine.path("units").join(&name)).unwrap();
        files.push(machine.path("units").join(name).to_str().unwrap().to_owned());
    }
    assert_eq!(files.len(), 5);
    files
}

#[test]
fn systemd_has_nothing_to_complain_about() {
    let machine = machine();
    Program::new("systemd-analyze").args(["verify", "--man=no"]).args(units(&machine)).run().says_nothing();
}

#[test]
fn the_services_are_as_closed_as_the_documentation_says() {
    let machine = machine();
    units(&machine);
    let page = |name| fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap();
    let told = page("docs/client.md");
    for (unit, at_most) in [(SERVICE, 4.3), (INSTANCE, 4.8)] {
        let analyze = Program::new("systemd-analyze").args(["security", "--offline=true", "--no-pager"]);
        let said = analyze.arg(machine.path("units").join(unit)).run().stdout();
        let level = said.lines().last().unwrap().split(": ").nth(1).unwrap().split(' ').next().unwrap();
        assert!(level.parse::<f64>().unwrap() <= at_most, "{unit}: {said}");
        assert!(told.contains(&format!("{level} of 10")), "docs/client.md does not say {level}");
    }
}

#[test]
fn the_timer_fires_each_day_and_catches_up() {
    let timer = fs::read_to_string(contrib("systemd/borg-offsite-backup.timer")).unwrap();
    assert_eq!(setting(&timer, "Persistent"), ["yes"]);
    let calendar = ["calendar", "--iterations=2", &setting(&timer, "OnCalendar")[0]];
    let said = Program::new("systemd-analyze").args(calendar).run().stdout();
    let times = said.lines().filter(|line| line.contains("09:30:00") && !line.contains("form"));
    assert_eq!(times.count(), 2, "{said}");
}

#[test]
fn the_service_makes_one_backup_a_day_and_says_nothing() {
    let machine = machine();
    backup(&machine).run().says_nothing();
    let ids = || machine.borg(["list", "--format", "{name} {id}{NL}"]).ok().stdout();
    let first = ids();
    assert!(first.starts_with(&today()) && first.lines().count() == 1, "{first}");
    // The timer that catches up, and that of the day.
    backup(&machine).run().says_nothing();
    assert_eq!(ids(), first);
}

#[test]
fn a_retry_after_a_failure_makes_the_backup() {
    let machine = machine();
    fs::rename(machine.repository(), machine.path("away")).unwrap();
    let output = backup(&machine).run();
    assert_eq!(output.code(), Some(1));
    assert!(output.stderr().starts_with("error: "), "a failure is told");
    // systemd tries again after 1 and 75, not after 2 and 3.
    let unit = fs::read_to_string(contrib("systemd").join(SERVICE)).unwrap();
    assert_eq!(setting(&unit, "Restart"), ["on-failure"]);
    assert_eq!(setting(&unit, "RestartPreventExitStatus"), ["2 3"]);
    fs::rename(machine.path("away"), machine.repository()).unwrap();
    backup(&machine).run().says_nothing();
    assert_eq!(machine.archives(), [today()]);
}

#[test]
fn options_are_taken_from_the_file_of_defaults() {
    let machine = machine();
    let target = machine.path("offsite.prom");
    let line = format!("CREATE_OPTIONS=--telemetry-file {}\n", target.display());
    fs::write("/etc/default/borg-offsite-backup", line).unwrap();
    backup(&machine).run().says_nothing();
    assert!(fs::read_to_string(target).unwrap().contains("borg_backup_last_exit_code"));
}

#[test]
fn a_sigterm_at_any_moment_leaves_nothing_behind() {
    let mut machine = machine();
    machine.write_random("data/big", 3_000_000);
    machine.slow();
    installed(&machine);
    let stop = |moment: &dyn Fn()| {
        let child = backup(&machine).start();
        moment();
        child.signal(Signal::SIGTERM);
        let run = child.end();
        // Before it heeds signals there is nothing to clean up.
        assert_ne!(run.code(), Some(0), "{run}");
        if Path::new(STAGING).exists() {
            machine.assert_nothing_is_left();
        }
    };
    for millis in [0, 5, 20, 60, 150, 300] {
        stop(&|| std::thread::sleep(Duration::from_millis(millis)));
    }
    stop(&|| {
        machine.wait_for_borg(&today());
    });
    assert!(machine.archives().is_empty());
}

#[test]
fn key_and_passphrase_come_out_of_the_credentials() {
    let mut machine = Machine::isolated();
    machine.write("data/x", "content");
    machine.list(&["data"]);
    machine.offsite(["init", "-e", "keyfile-blake2"]).env("BORG_PASSPHRASE", "sesame").ok();
    installed(&machine);

    let unit = fs::read_to_string(contrib("systemd").join(SERVICE)).unwrap();
    let names = setting(&unit, "LoadCredential");
    assert_eq!(names, ["borg-offsite-backup.key", "borg-offsite-backup.passphrase"]);
    let credentials = machine.path("credentials");
    fs::create_dir(&credentials).unwrap();
    fs::rename(machine.path("home/.borg-offsite-backup.key"), credentials.join(&names[0])).unwrap();
    fs::write(credentials.join(&names[1]), "sesame\n").unwrap();
    for name in &names {
        fs::set_permissions(credentials.join(name), PermissionsExt::from_mode(0o400)).unwrap();
    }
    let output = backup(&machine).run();
    assert!(output.stderr().contains("key"), "without them it cannot work");
    backup(&machine).env("CREDENTIALS_DIRECTORY", &credentials).run().says_nothing();
    let check = machine.offsite(["check-config"]);
    let said = check.env("CREDENTIALS_DIRECTORY", &credentials).run().stdout();
    assert!(said.contains("passphrase  from the credential of systemd"), "{said}");
    assert!(said.contains(&format!("key         {}", credentials.join(&names[0]).display())), "{said}");
    fs::write(credentials.join(&names[1]), "wrong\n").unwrap();
    let output = backup(&machine).env("CREDENTIALS_DIRECTORY", &credentials).run();
    assert!(output.stderr().contains("passphrase is wrong"));
}

#[test]
fn the_mount_service_is_ready_when_the_directory_can_be_used() {
    let machine = machine();
    backup(&machine).run().says_nothing();
    let dir = machine.mount_point();
    let socket = UnixDatagram::bind(machine.path("notify")).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mount = command(&machine, MOUNT, dir.to_str().unwrap());
    let mount = mount.env("NOTIFY_SOCKET", machine.path("notify")).start();
    let mut said = [0; 100];
    let length = socket.recv(&mut said).unwrap();
    assert_eq!(said[..length].trim_ascii(), b"READY=1");
    let names: Vec<_> = fs::read_dir(&dir).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(names.contains(&today().into()) && names.contains(&"latest".into()), "{names:?}");
    mount.signal(Signal::SIGTERM);
    mount.end().succeeds();
    assert!(!mounts().contains(dir.to_str().unwrap()));
}

#[test]
fn mount_8_fstab_and_mount_units_mount_an_archive() {
    let machine = machine();
    backup(&machine).run().says_nothing();
    for name in ["mount.borg-offsite-backup", "mount.fuse.borg-offsite-backup"] {
        symlink("/usr/local/bin/borg-offsite-backup", Path::new("/usr/sbin").join(name)).unwrap();
    }
    let dir = machine.mount_point();
    let place = dir.to_str().unwrap();
    let data = |archive: &str| dir.join(archive).join(machine.path("data/x").strip_prefix("/").unwrap());
    // mount(8) takes HOME and PATH from its helpers; nothing else is found where this test has it.
    let run = |program: &str, args: &[&str]| {
        machine.program(program).args(args).env("BORG_BASE_DIR", machine.path("home")).run()
    };
    let ends = || {
        run("umount", &[place]).says_nothing();
        assert!(wait_until(SOON, || !mounts().contains(place)), "it is still mounted");
    };

    let unit = fs::read_to_string(contrib("systemd/mnt-restore.mount")).unwrap();
    let of_unit = |key: &str| setting(&unit, key).remove(0);
    let (what, kind, options) = (of_unit("What"), of_unit("Type"), of_unit("Options"));
    // As systemd calls it.
    run("mount", &[&what, place, "-t", &kind, "-o", &options]).says_nothing();
    assert_eq!(fs::read_to_string(data("")).unwrap(), "content");
    ends();

    machine.write("fstab", format!("none {place} borg-offsite-backup noauto,_netdev,allow_other 0 0\n"));
    run("mount", &["--fstab", machine.path("fstab").to_str().unwrap(), place]).says_nothing();
    assert_eq!(fs::read_to_string(data(&today())).unwrap(), "content");
    ends();

    run("mount", &["-f", "-t", "borg-offsite-backup", "::latest", place]).says_nothing();
    assert!(!mounts().contains(place), "that was a rehearsal");

    let output = run("mount", &["-t", "borg-offsite-backup", "::1999-01-01", place]);
    assert!(output.code() != Some(0) && !mounts().contains(place));
    let said = output.stderr();
    assert!(said.contains("there is no archive 1999-01-01"), "{said}");

    let other = machine.path("x.conf");
    fs::remove_file("/etc/borg-offsite-backup.conf").unwrap();
    let options = format!("config={}", other.display());
    run("mount", &["-t", "borg-offsite-backup", "::latest", place, "-o", &options]).says_nothing();
    assert_eq!(fs::read_to_string(data("")).unwrap(), "content");
    ends();
}

#[test]
fn make_install_puts_everything_in_its_place() {
    let dir = tempfile::tempdir().unwrap();
    Program::new("make")
        .args(["install-contrib", "PREFIX=/opt/x", &format!("DESTDIR={}", dir.path().display())])
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")))
        .ok();
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
