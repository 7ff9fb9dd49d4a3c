//! The user's own commands around a backup.

use std::fs;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::world::{World, mounts, today, until};

fn world() -> World {
    let mut world = World::new();
    world.write("data/x", "content");
    world.list(&["data"]);
    world
}

/// Sets a hook that keeps what it is told in a file of its name, which is there when it is whole, then
/// goes on with `script`.
fn hook(world: &mut World, key: &str, script: &str) {
    let (file, part) = (world.path(key), world.path(&format!("{key}.part")));
    let keep = format!("cat > {0} && mv {0} {1}", part.display(), file.display());
    world.set(key, json!(["sh", "-c", format!("{keep}; {script}")]));
}

/// What the hook was told.
fn told(world: &World, key: &str) -> Value {
    serde_json::from_slice(&fs::read(world.path(key)).unwrap()).unwrap()
}

fn ran(world: &World, key: &str) -> bool {
    world.path(key).exists()
}

#[test]
fn what_before_backup_makes_is_in_the_archive() {
    let mut world = world();
    let dump = format!("echo dumped > {}", world.path("data/dump").display());
    hook(&mut world, "before_backup", &dump);
    let remove = format!("rm {}", world.path("data/dump").display());
    hook(&mut world, "after_backup", &remove);
    world.run(&["create"]).succeeds();
    assert_eq!(world.content(&today(), "data/dump"), "dumped\n");
    assert!(!world.path("data/dump").exists());
    let before = told(&world, "before_backup");
    assert_eq!((&before["event"], &before["archive"]), (&json!("before_backup"), &json!(today())));
    assert_eq!(before["repository"], json!(world.path("repository")));
    assert_eq!(before["config"], json!(world.path("x.conf")));
    let after = told(&world, "after_backup");
    assert_eq!((&after["outcome"], &after["error"]), (&json!("made"), &Value::Null));
}

#[test]
fn a_failing_before_backup_stops_the_backup_and_after_backup_runs() {
    let mut world = world();
    hook(&mut world, "before_backup", "echo the database is down >&2; exit 7");
    hook(&mut world, "after_backup", "");
    world
        .run(&["create"])
        .exits(1)
        .says("error: before_backup failed: `sh` ended with exit code 7")
        .says("it said: the database is down")
        .says("nothing was backed up");
    assert!(world.archives().is_empty());
    let after = told(&world, "after_backup");
    assert_eq!(after["outcome"], "failed");
    assert_eq!(after["error"], "before_backup failed: `sh` ended with exit code 7");
    world.assert_nothing_is_left();
}

#[test]
fn a_program_that_is_not_there_is_named() {
    let mut world = world();
    world.set("before_backup", json!(["/nowhere/dump"]));
    world.run(&["create"]).exits(1).says("before_backup failed: cannot start /nowhere/dump");
    assert!(world.archives().is_empty());
}

#[test]
fn a_hook_has_a_deadline() {
    let mut world = world();
    world.set("before_backup", json!({"command": ["sleep", "600"], "deadline": 1}));
    world
        .run(&["create"])
        .exits(1)
        .says("before_backup failed: `sleep` took longer than 1 s and was stopped");
    assert!(world.archives().is_empty());
}

#[test]
fn after_backup_runs_when_a_signal_ends_the_backup() {
    for (key, moment) in [("before_backup", true), ("archive", false)] {
        let mut world = world();
        hook(&mut world, "after_backup", "sleep 0.2; echo done >> \"$HOME/after\"");
        if moment {
            hook(&mut world, "before_backup", "sleep 600");
        } else {
            world.write_random("data/big", 3_000_000);
            world.slow();
        }
        let started = world.start(&[]);
        match moment {
            true => until("the hook", || ran(&world, "before_backup").then_some(())),
            false => drop(world.wait_for_borg(&today())),
        }
        started.signal(Signal::SIGTERM);
        started.end().exits(1);
        assert_eq!(fs::read_to_string(world.path("home/after")).unwrap(), "done\n", "{key}");
        assert_eq!(told(&world, "after_backup")["outcome"], "failed", "{key}");
        assert!(world.archives().is_empty());
        world.assert_nothing_is_left();
    }
}

#[test]
fn what_after_backup_mounts_is_mounted_for_everyone() {
    let mut world = world();
    fs::create_dir(world.path("place")).unwrap();
    let mount = format!("mount -t tmpfs of-the-hook {}", world.path("place").display());
    hook(&mut world, "after_backup", &mount);
    world.run(&["create"]).succeeds();
    assert!(mounts().contains("of-the-hook"), "it went away with the staged tree");
}

#[test]
fn on_success_and_on_failure_are_told_how_it_went() {
    let mut world = world();
    hook(&mut world, "on_success", "");
    hook(&mut world, "on_failure", "");
    world.run(&["create"]).succeeds();
    assert!(!ran(&world, "on_failure"));
    let success = told(&world, "on_success");
    assert_eq!((&success["outcome"], &success["exit_code"]), (&json!("made"), &json!(0)));
    assert!(success["seconds"]["total"].as_f64().unwrap() > 0.0);
    assert!(success["original_size"].as_u64().unwrap() >= 7);
    assert_eq!((&success["files"], &success["warnings"]), (&json!(1), &json!(0)));
    fs::remove_file(world.path("on_success")).unwrap();

    world.run(&["create"]).exits(1);
    assert!(!ran(&world, "on_success"));
    let failure = told(&world, "on_failure");
    assert_eq!((&failure["outcome"], &failure["exit_code"]), (&json!("failed"), &json!(1)));
    assert!(failure["error"].as_str().unwrap().starts_with("there is an archive"), "{failure}");
    assert!(failure["hints"][0].as_str().unwrap().contains("--if-exists replace"), "{failure}");
}

#[test]
fn a_backup_that_could_not_prune_or_that_warned_is_told_as_a_failure() {
    let mut world = world();
    hook(&mut world, "on_failure", "");
    world.set("keep_daily", 1);
    world.set("keep_weekly", 0);
    world.set("keep_monthly", 0);
    world.borg(&["create", "::2020-01-01", world.path("data").to_str().unwrap()]).output().unwrap();
    let script = "[ \"$1\" != delete ] || exit 2";
    let output = world.with_borg(script, &["create"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let failure = told(&world, "on_failure");
    assert_eq!((&failure["outcome"], &failure["exit_code"]), (&json!("made"), &json!(1)));
    assert!(failure["error"].as_str().unwrap().contains("not to be kept"), "{failure}");
    world.set("fail_on_warnings", true);
    let script = "if [ \"$1\" = create ]; then real \"$@\"; exit 1; fi";
    let output = world.with_borg(script, &["create", "--if-exists", "replace"]).output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    assert_eq!(told(&world, "on_failure")["exit_code"], 3);
}

#[test]
fn a_notice_that_fails_changes_nothing_and_is_warned_about() {
    let mut world = world();
    hook(&mut world, "on_success", "echo no network; exit 6");
    hook(&mut world, "after_backup", "exit 5");
    world
        .run(&["--quiet", "create"])
        .succeeds()
        .says("warning: after_backup failed: `sh` ended with exit code 5")
        .says("warning: on_success failed: `sh` ended with exit code 6")
        .says("warning: it said: no network");
    assert_eq!(world.archives(), [today()]);
}

#[test]
fn what_a_hook_says_is_not_shown_when_all_is_well() {
    let mut world = world();
    hook(&mut world, "before_backup", "echo chatter; echo more >&2");
    let ran = world.run(&["--quiet", "create"]).succeeds();
    assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("", ""));
}

#[test]
fn no_shell_sees_the_command() {
    let mut world = world();
    let file = world.path("said");
    world.write("bin/say", format!("#!/bin/sh\nprintf '[%s]' \"$@\" > {}\n", file.display()));
    std::process::Command::new("chmod").arg("755").arg(world.path("bin/say")).status().unwrap();
    let words = json!([world.path("bin/say"), "$HOME", "a b", "", "; rm -rf *", "`id`"]);
    world.set("before_backup", words);
    world.run(&["create"]).succeeds();
    assert_eq!(fs::read_to_string(file).unwrap(), "[$HOME][a b][][; rm -rf *][`id`]");
}

#[test]
fn secrets_are_not_for_hooks() {
    let mut world = world();
    let file = world.path("environment");
    world.set("on_success", json!(["sh", "-c", format!("env > {}", file.display())]));
    let mut command = world.command(&["create"]);
    command.env("BORG_PASSPHRASE", "sesame").env("OTHER", "kept").output().unwrap();
    let environment = fs::read_to_string(file).unwrap();
    assert!(environment.contains("OTHER=kept") && !environment.contains("sesame"), "{environment}");
}

#[test]
fn a_dry_run_runs_no_hook_and_a_skipped_backup_only_the_notice() {
    let mut world = world();
    let keys = ["before_backup", "after_backup", "on_success", "on_failure"];
    for key in keys {
        hook(&mut world, key, "");
    }
    world.run(&["create", "--dry-run"]).succeeds();
    assert_eq!(keys.map(|key| ran(&world, key)), [false; 4]);
    world.run(&["create"]).succeeds();
    for key in &keys[..3] {
        fs::remove_file(world.path(key)).unwrap();
    }
    world.run(&["create", "--if-exists", "skip"]).succeeds();
    assert_eq!(keys.map(|key| ran(&world, key)), [false, false, true, false]);
    assert_eq!(told(&world, "on_success")["outcome"], "skipped");
}

#[test]
fn a_second_run_does_not_clean_up_after_the_first() {
    let mut world = world();
    hook(&mut world, "before_backup", "sleep 600");
    hook(&mut world, "after_backup", "");
    hook(&mut world, "on_failure", "");
    let first = world.start(&[]);
    until("the hook", || ran(&world, "before_backup").then_some(()));
    world.run(&["create", "--lock-wait", "0"]).exits(75);
    assert!(!ran(&world, "after_backup"));
    assert_eq!(told(&world, "on_failure")["exit_code"], 75);
    first.signal(Signal::SIGTERM);
    first.end().exits(1);
    assert!(ran(&world, "after_backup"));
}

#[test]
fn a_skipped_backup_prunes_what_the_first_run_could_not() {
    let mut world = world();
    world.set("keep_daily", 1);
    world.set("keep_weekly", 0);
    world.set("keep_monthly", 0);
    world.borg(&["create", "::2020-01-01", world.path("data").to_str().unwrap()]).output().unwrap();
    let script = "[ \"$1\" != delete ] || exit 2";
    assert_eq!(world.with_borg(script, &["create"]).output().unwrap().status.code(), Some(1));
    assert_eq!(world.archives().len(), 2);
    world.run(&["create", "--if-exists", "skip"]).succeeds().says("already; older ones were pruned");
    assert_eq!(world.archives(), [today()]);
}
