//! What `create --telemetry-file` and `telemetry` write for monitoring.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use serde_json::Value;

use crate::common::{Machine, promtool, tmpfs, today};

fn machine() -> Machine {
    let mut machine = Machine::with_repository();
    machine.write("data/x", "content");
    machine.list(&["data"]);
    fs::create_dir(machine.path("metrics")).unwrap();
    machine
}

fn target(machine: &Machine) -> String {
    machine.path("metrics/offsite.prom").to_str().unwrap().to_owned()
}

/// The samples by name and labels, as they stand in the file, which promtool must like.
fn samples(text: &str) -> BTreeMap<String, f64> {
    promtool::is_content(["check", "metrics"], text.as_bytes());
    let sample = |line: &str| {
        let (name, value) = line.rsplit_once(' ').unwrap();
        (name.to_owned(), value.parse().unwrap())
    };
    text.lines().filter(|line| !line.starts_with('#')).map(sample).collect()
}

fn written(machine: &Machine) -> BTreeMap<String, f64> {
    samples(&fs::read_to_string(target(machine)).unwrap())
}

fn dataset(machine: &Machine) -> String {
    format!("dataset=\"{}\"", machine.path("data").display())
}

fn of_archive(machine: &Machine, metric: &str, archive: &str) -> String {
    format!("{metric}{{archive=\"{archive}\",{}}}", dataset(machine))
}

fn plain(machine: &Machine, metric: &str) -> String {
    format!("{metric}{{{}}}", dataset(machine))
}

/// What borg itself knows of an archive.
fn info(machine: &Machine, archive: &str) -> Value {
    let output = machine.borg(["info", "--json", &format!("::{archive}")]).env("TZ", "UTC").run();
    serde_json::from_slice::<Value>(&output.stdout).unwrap()["archives"][0].clone()
}

fn seconds(time: &Value) -> f64 {
    let time = chrono::NaiveDateTime::parse_from_str(time.as_str().unwrap(), "%Y-%m-%dT%H:%M:%S%.f");
    time.unwrap().and_utc().timestamp_micros() as f64 / 1e6
}

#[test]
fn a_backup_tells_what_borg_knows_of_it() {
    let machine = machine();
    machine.run(["create", "--telemetry-file", &target(&machine)]).succeeds();
    let (samples, info) = (written(&machine), info(&machine, &today()));
    let archive = |metric: &str| samples[&of_archive(&machine, metric, &today())];
    assert_eq!(archive("borg_archive_start_timestamp_seconds"), seconds(&info["start"]));
    assert_eq!(archive("borg_archive_end_timestamp_seconds"), seconds(&info["end"]));
    let took = seconds(&info["end"]) - seconds(&info["start"]);
    assert_eq!(archive("borg_archive_duration"), took);
    assert_eq!(archive("borg_archive_files"), 1.0);
    for size in ["original_size", "compressed_size", "deduplicated_size"] {
        // borg counts the metadata in one of the two, and not in the other.
        assert!(archive(&format!("borg_archive_{size}_bytes")) >= 7.0, "{size}");
    }
    let plain = |metric: &str| samples[&plain(&machine, metric)];
    assert_eq!(plain("borg_backup_last_success_timestamp_seconds"), seconds(&info["end"]));
    // The manifest is written a moment later.
    assert!(plain("borg_repository_last_modified_timestamp_seconds") >= seconds(&info["end"]));
    assert!(plain("borg_backup_last_run_timestamp_seconds") >= seconds(&info["start"]));
    assert_eq!((plain("borg_backup_last_exit_code"), plain("borg_backup_warnings")), (0.0, 0.0));
    assert!(plain("borg_collection_duration_seconds") < 60.0);
    for phase in ["prepare", "stage", "archive", "prune", "total"] {
        let sample = format!("borg_backup_phase_duration_seconds{{phase=\"{phase}\",{}}}", dataset(&machine));
        assert!(samples[&sample] >= 0.0 && samples[&sample] < 600.0, "{phase}");
    }
}

#[test]
fn each_metric_has_one_help_and_one_type_before_its_samples() {
    let machine = machine();
    machine.run(["create", "--telemetry-file", &target(&machine)]).succeeds();
    let text = fs::read_to_string(target(&machine)).unwrap();
    let mut last = "";
    for line in text.lines() {
        let name = line.trim_start_matches("# HELP ").split([' ', '{']).next().unwrap();
        if line.starts_with("# HELP ") {
            assert!(line.len() > name.len() + 10 && text.matches(&format!("# HELP {name} ")).count() == 1);
            last = name;
        } else {
            assert!(line == format!("# TYPE {last} gauge") || name == last, "{line}");
        }
    }
}

#[test]
fn everyone_can_read_the_file_and_nobody_ever_sees_half_of_it() {
    let machine = machine();
    machine.run(["create", "--telemetry-file", &target(&machine)]).succeeds();
    let before = fs::File::open(target(&machine)).unwrap();
    let text = fs::read_to_string(target(&machine)).unwrap();
    assert_eq!(before.metadata().unwrap().permissions().mode() & 0o7777, 0o644);
    machine.run(["telemetry", "--telemetry-file", &target(&machine)]).succeeds();
    assert_ne!(fs::metadata(target(&machine)).unwrap().ino(), before.metadata().unwrap().ino());
    assert_eq!(std::io::read_to_string(before).unwrap(), text, "who has it open reads the old one");
    let names: Vec<_> =
        fs::read_dir(machine.path("metrics")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names, ["offsite.prom"]);
}

#[test]
fn a_failed_backup_tells_so_and_keeps_what_was_known() {
    let mut machine = machine();
    machine.run(["create", "--telemetry-file", &target(&machine)]).succeeds();
    let good = written(&machine);
    let success = plain(&machine, "borg_backup_last_success_timestamp_seconds");
    let code = plain(&machine, "borg_backup_last_exit_code");
    let size = of_archive(&machine, "borg_archive_original_size_bytes", &today());

    machine.run(["create", "--telemetry-file", &target(&machine)]).exits(1);
    let failed = written(&machine);
    assert_eq!((failed[&code], failed[&success], failed[&size]), (1.0, good[&success], good[&size]));

    let repository = machine.repository();
    fs::rename(&repository, machine.path("away")).unwrap();
    machine.run(["create", "--telemetry-file", &target(&machine)]).exits(1);
    let failed = written(&machine);
    assert_eq!((failed[&code], failed[&success], failed[&size]), (1.0, good[&success], good[&size]));
    fs::rename(machine.path("away"), repository).unwrap();

    machine.set("keep_daily", "many");
    machine.run(["create", "--telemetry-file", &target(&machine)]).exits(2);
    let refused = written(&machine);
    assert_eq!((refused[&code], refused[&success], refused[&size]), (2.0, good[&success], good[&size]));
}

#[test]
fn a_backup_that_never_was_is_told_as_zero() {
    let mut machine = machine();
    machine.list(&["nowhere"]);
    machine.run(["create", "--telemetry-file", &target(&machine)]).exits(1);
    let text = fs::read_to_string(target(&machine)).unwrap();
    let sample = samples(&text).into_iter().find(|(name, _)| name.starts_with("borg_backup_last_success"));
    assert_eq!(sample.unwrap().1, 0.0);
}

#[test]
fn a_bare_name_goes_to_the_directory_of_the_collector() {
    let machine = machine();
    tmpfs(Path::new("/var/lib"), "mode=755");
    machine
        .run(["create", "--telemetry-file", "offsite.prom"])
        .succeeds()
        .says(
            "warning: cannot write telemetry to offsite.prom: there is no /var/lib/prometheus/node-exporter",
        )
        .says("--telemetry-file /var/lib/");
    machine.run(["telemetry", "--telemetry-file", "offsite.prom"]).exits(1).says("there is no /var/lib");
    for dir in ["/var/lib/node_exporter/textfile_collector", "/var/lib/prometheus/node-exporter"] {
        fs::create_dir_all(dir).unwrap();
        machine.run(["telemetry", "--telemetry-file", "offsite.prom"]).succeeds();
        assert!(Path::new(dir).join("offsite.prom").exists(), "{dir}");
    }
    assert!(!Path::new("offsite.prom").exists());
}

/// The subcommands with which borg is called.
fn calls(machine: &Machine, args: &[&str]) -> Vec<String> {
    let log = machine.path("calls");
    let _ = fs::remove_file(&log);
    let script = format!("echo \"$1\" >> {}", log.display());
    machine.with_borg(&script, args).ok();
    fs::read_to_string(&log).unwrap_or_default().lines().map(str::to_owned).collect()
}

#[test]
fn what_a_run_knows_is_not_asked_of_the_repository_again() {
    let machine = machine();
    let target = target(&machine);
    let plainly = calls(&machine, &["create"]);
    machine.borg(["delete", &format!("::{}", today())]).run();
    assert_eq!(calls(&machine, &["create", "--telemetry-file", &target]), plainly);
    let known = written(&machine);
    assert_eq!(calls(&machine, &["telemetry", "--telemetry-file", &target]), ["list"]);
    for (sample, value) in written(&machine) {
        assert!(known[&sample] == value || sample.starts_with("borg_collection"), "{sample} {value}");
    }

    // One that somebody made by hand is asked for once: where it comes from, and its figures.
    std::thread::sleep(std::time::Duration::from_millis(1100));
    machine.borg(["create", "::other", machine.path("data").to_str().unwrap()]).run();
    assert_eq!(calls(&machine, &["telemetry", "--telemetry-file", &target]), ["list", "list", "info"]);
    assert_eq!(written(&machine)["borg_archive_files{archive=\"other\",dataset=\"\"}"], 1.0);
    assert_eq!(calls(&machine, &["telemetry", "--telemetry-file", &target]), ["list"]);
    assert_eq!(written(&machine)["borg_archive_files{archive=\"other\",dataset=\"\"}"], 1.0);
}

#[test]
fn an_archive_that_is_gone_is_told_no_more() {
    let machine = machine();
    machine.run(["create", "--telemetry-file", &target(&machine)]).succeeds();
    machine.borg(["delete", &format!("::{}", today())]).run();
    machine.run(["telemetry", "--telemetry-file", &target(&machine)]).succeeds();
    assert!(!fs::read_to_string(target(&machine)).unwrap().contains("archive=\""));
}

#[test]
fn without_what_runs_left_the_repository_is_asked() {
    let machine = machine();
    machine.run(["create"]).succeeds();
    fs::remove_dir_all(machine.path("home/.cache/borg-offsite-backup")).unwrap();
    let ran = machine.run(["telemetry", "--telemetry-file", "-"]).succeeds();
    let (samples, info) = (samples(&ran.stdout()), info(&machine, &today()));
    assert_eq!(samples[&of_archive(&machine, "borg_archive_files", &today())], 1.0);
    let success = samples[&plain(&machine, "borg_backup_last_success_timestamp_seconds")];
    assert_eq!(success, seconds(&info["start"]));
    assert!(!ran.stdout().contains("borg_backup_last_exit_code"), "that is not known");
}

#[test]
fn a_repository_that_cannot_be_asked_is_an_error_and_the_known_is_written() {
    let machine = machine();
    machine.run(["create"]).succeeds();
    fs::rename(machine.repository(), machine.path("away")).unwrap();
    machine
        .run(["telemetry", "--telemetry-file", &target(&machine)])
        .exits(1)
        .says("cannot list the archives");
    assert_eq!(written(&machine)[&of_archive(&machine, "borg_archive_files", &today())], 1.0);
}

#[test]
fn warnings_are_counted() {
    let machine = machine();
    let script = "if [ \"$1\" = create ]; then real \"$@\"; exit 1; fi";
    machine.with_borg(script, ["create", "--telemetry-file", &target(&machine)]).ok();
    assert_eq!(written(&machine)[&plain(&machine, "borg_backup_warnings")], 1.0);
}

#[test]
fn a_label_may_hold_anything() {
    let mut machine = machine();
    let name = "da\"ta\\ n ü";
    machine.write(&format!("{name}/x"), "");
    machine.list(&[name]);
    machine.run(["create", "--telemetry-file", &target(&machine)]).succeeds();
    let text = fs::read_to_string(target(&machine)).unwrap();
    samples(&text);
    assert!(text.contains("/da\\\"ta\\\\ n ü\"} "), "{text}");
}
