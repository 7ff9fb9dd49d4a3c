//! Which day an archive is of.

use std::process::Command;

use serde_json::Value;

use crate::world::{Ran, World};

/// `create` while the clock shows `time`, in UTC, and goes on from there.
fn create_at(world: &World, time: &str) -> Ran {
    let create = world.command(&["create"]);
    let mut command = Command::new("faketime");
    command.arg(time).arg(create.get_program()).args(create.get_args());
    command.env_clear().envs(create.get_envs().filter_map(|(name, value)| Some((name, value?))));
    Ran::from(command.env("TZ", "UTC").output().unwrap())
}

#[test]
fn a_run_over_midnight_is_of_the_day_on_which_it_began_and_the_next_one_keeps_it() {
    let mut world = World::new();
    world.write("data/x", "x");
    world.list(&["data"]);
    world.set("keep_weekly", 0);
    world.set("keep_monthly", 0);
    world.set("before_backup", vec!["sh", "-c", "until [ $(date +%d) = 26 ]; do sleep 0.2; done"]);
    create_at(&world, "2026-11-25 23:59:54").succeeds();
    assert_eq!(world.archives(), ["2026-11-25"]);
    let output = world.borg(&["list", "--json"]).env("TZ", "UTC").output().unwrap();
    let list: Value = serde_json::from_slice(&output.stdout).unwrap();
    let start = list["archives"][0]["start"].as_str().unwrap();
    assert!(start.starts_with("2026-11-25T23:59:5"), "{start}");
    world.set("before_backup", Value::Null);
    create_at(&world, "2026-11-26 23:00:00").succeeds();
    assert_eq!(world.archives(), ["2026-11-25", "2026-11-26"]);
}
