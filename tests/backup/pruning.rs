//! Which archives a `create` leaves.

use crate::common::{Machine, today};

/// With an archive `name`, started on `time`, for each of `archives`.
fn machine(archives: &[(&str, &str)]) -> Machine {
    let mut machine = Machine::with_repository();
    machine.write("data/x", "x");
    machine.list(&["data"]);
    let data = machine.path("data");
    for (name, time) in archives {
        let name = format!("::{name}");
        let borg = machine.borg(["create", "--timestamp", time, &name, data.to_str().unwrap()]);
        borg.env("TZ", "UTC").ok();
    }
    machine
}

fn sorted(mut names: Vec<String>) -> Vec<String> {
    names.sort();
    names
}

const OLD: [(&str, &str); 6] = [
    ("2020-01-01", "2020-01-01T10:00:00"),
    ("2020-01-02", "2020-01-02T10:00:00"),
    ("2020-01-02.new", "2020-01-02T11:00:00"),
    ("before-2020-01-02", "2020-01-02T12:00:00"),
    ("2020-01-02-evening", "2020-01-02T13:00:00"),
    ("2020-02-01", "2020-02-01T10:00:00"),
];

#[test]
fn rules_touch_nothing_but_dates_and_never_the_newest() {
    for (daily, weekly, monthly, kept) in [(1, 0, 0, vec![]), (0, 3, 0, vec!["2020-01-02", "2020-02-01"])] {
        let mut machine = machine(&OLD);
        machine.set("keep_daily", daily);
        machine.set("keep_weekly", weekly);
        machine.set("keep_monthly", monthly);
        machine.run(["create"]).succeeds().says("; removed 2020-0");
        let mut expected = vec![today()];
        expected.extend(kept.iter().map(ToString::to_string));
        let foreign = ["2020-01-02.new", "before-2020-01-02", "2020-01-02-evening"];
        expected.extend(foreign.map(str::to_owned));
        assert_eq!(sorted(machine.archives()), sorted(expected), "{daily} {weekly} {monthly}");
    }
}

#[test]
fn days_begin_when_they_do_for_the_user() {
    // In Auckland the last two are of two days, in UTC of one.
    let mut machine = machine(&[
        ("2020-01-01", "2020-01-01T01:00:00"),
        ("2020-01-02", "2020-01-02T01:00:00"),
        ("2020-01-03", "2020-01-02T21:00:00"),
    ]);
    machine.set("keep_daily", 3);
    machine.set("keep_weekly", 0);
    machine.set("keep_monthly", 0);
    machine.offsite(["create"]).env("TZ", "Pacific/Auckland").ok();
    let archives = machine.archives();
    assert_eq!(archives[..2], ["2020-01-02", "2020-01-03"], "{archives:?}");
    assert_eq!(archives.len(), 3);
}

#[test]
fn an_archive_from_the_future_stops_it_with_a_warning() {
    let mut machine =
        machine(&[("2020-01-01", "2020-01-01T10:00:00"), ("2090-01-01", "2090-01-01T10:00:00")]);
    machine.set("keep_daily", 1);
    machine.set("keep_weekly", 0);
    machine.set("keep_monthly", 0);
    let next = "`borg-offsite-backup delete ::2090-01-01`";
    machine.run(["create"]).succeeds().says("warning:").says("2090-01-01 was made later").says(next);
    assert_eq!(machine.archives().len(), 3);
    machine.set("fail_on_warnings", true);
    let file = machine.path("telemetry.prom");
    let skip = ["create", "--if-exists", "skip", "--telemetry-file", file.to_str().unwrap()];
    machine.run(skip).exits(3).says("2090-01-01 was made later");
    let told = std::fs::read_to_string(&file).unwrap();
    let counted = |line: &str| line.starts_with("borg_backup_warnings{") && line.ends_with("} 1");
    assert!(told.lines().any(counted), "{told}");
}

#[test]
fn on_other_days_than_those_listed_nothing_is_removed() {
    let mut machine = machine(&OLD[..2]);
    machine.set("keep_daily", 1);
    machine.set("keep_weekly", 0);
    machine.set("keep_monthly", 0);
    let day: u8 = today()[8..].parse().unwrap();
    machine.set("prune_on_days", vec![day % 28 + 1]);
    machine.run(["create"]).succeeds().says("not today");
    assert_eq!(machine.archives().len(), 3);
    machine.set("prune_on_days", vec![day]);
    machine.run(["create", "--if-exists", "replace"]).succeeds();
    assert_eq!(machine.archives(), [today()]);
}

#[test]
fn when_it_fails_the_backup_is_complete_and_both_are_told() {
    let mut machine = machine(&OLD[..2]);
    machine.set("keep_daily", 1);
    machine.set("keep_weekly", 0);
    machine.set("keep_monthly", 0);
    let ran = machine.with_borg("[ \"$1\" != delete ] || exit 2", ["create"]).run().exits(1);
    ran.says("cannot remove the archives that are not to be kept").says("the backup itself is complete");
    assert!(machine.archives().contains(&today()));
}

/// A machine whose oldest archive lost its metadata, which borg's cache knows nothing of. It keeps one day.
fn with_a_damaged_archive() -> Machine {
    let mut machine = machine(&OLD[..2]);
    machine.run(["create"]).succeeds();
    machine.set("keep_daily", 1);
    machine.set("keep_weekly", 0);
    machine.set("keep_monthly", 0);
    let told = machine.borg(["info", "--json", "::2020-01-01"]).run();
    let told: serde_json::Value = serde_json::from_slice(&told.stdout).unwrap();
    let id = told["archives"][0]["id"].as_str().unwrap();
    let repository = machine.repository();
    let debug = ["debug", "delete-obj", repository.to_str().unwrap(), id];
    machine.borg(debug).ok();
    machine.set("fail_on_warnings", true);
    machine
}

#[test]
fn a_damaged_archive_of_ours_that_is_to_go_stays_and_the_others_go() {
    let machine = with_a_damaged_archive();
    let ran = machine.run(["create", "--if-exists", "replace"]).exits(3);
    ran.says("2020-01-01 is not to be kept and cannot be removed, since it is damaged");
    assert_eq!(machine.archives(), ["2020-01-01".to_owned(), today()]);
    // Also when it is the only one; and what its repair says holds.
    machine.run(["create", "--if-exists", "skip"]).exits(3).says("2020-01-01 is not to be kept");
    let repair = machine.offsite(["check", "--repair"]);
    repair.env("BORG_CHECK_I_KNOW_WHAT_I_AM_DOING", "YES").run().says("Archive metadata block");
    assert_eq!(machine.archives(), [today()]);
    machine.run(["create", "--if-exists", "skip"]).succeeds();
}

#[test]
fn a_damaged_archive_stops_neither_the_backup_nor_pruning_and_is_named() {
    let machine = with_a_damaged_archive();
    // What we know of the archives is forgotten.
    std::fs::remove_dir_all(machine.path("home/.cache/borg-offsite-backup")).unwrap();
    let calls = machine.path("calls");
    let script = format!("case \"$*\" in *glob-archives?2020-01-01*) echo x >> {};; esac", calls.display());
    let replace = ["create", "--if-exists", "replace"];
    let ran = machine.with_borg(&script, replace).run().exits(3);
    assert!(!ran.stderr().contains("archive_suffix"), "{}", ran.stderr());
    ran.says("2020-01-01 cannot be read").says("removed 2020-01-02");
    assert_eq!(machine.archives(), ["2020-01-01".to_owned(), today()]);
    assert_eq!(std::fs::read_to_string(&calls).unwrap(), "x\n", "it is asked for once in a run");
}
