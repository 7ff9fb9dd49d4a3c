//! Which day an archive is of.

use serde_json::Value;

use crate::common::{Machine, Run};

/// `create` while the clock shows `time`, in UTC, and goes on from there.
fn create_at(machine: &Machine, time: &str) -> Run {
    machine.offsite(["create"]).under(["faketime", time]).env("TZ", "UTC").run()
}

#[test]
fn a_run_over_midnight_is_of_the_day_on_which_it_began_and_the_next_one_keeps_it() {
    let mut machine = Machine::with_repository();
    machine.write("data/x", "x");
    machine.list(&["data"]);
    machine.set("keep_weekly", 0);
    machine.set("keep_monthly", 0);
    machine.set("before_backup", vec!["sh", "-c", "until [ $(date +%d) = 26 ]; do sleep 0.2; done"]);
    create_at(&machine, "2026-11-25 23:59:54").succeeds();
    assert_eq!(machine.archives(), ["2026-11-25"]);
    let output = machine.borg(["list", "--json"]).env("TZ", "UTC").run();
    let list: Value = serde_json::from_slice(&output.stdout).unwrap();
    let start = list["archives"][0]["start"].as_str().unwrap();
    assert!(start.starts_with("2026-11-25T23:59:5"), "{start}");
    machine.set("before_backup", Value::Null);
    create_at(&machine, "2026-11-26 23:00:00").succeeds();
    assert_eq!(machine.archives(), ["2026-11-25", "2026-11-26"]);
}
