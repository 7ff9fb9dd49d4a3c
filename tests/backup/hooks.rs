//! The user's own commands around a backup.

use std::fs;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::common::{Machine, SOON, mounts, today, wait_until};

fn machine() -> Machine {
    let mut machine = Machine::with_repository();
    machine.write("data/x", "content");
    machine.list(&["data"]);
    machine
}

/// Sets a hook that keeps what it is told in a file of its name, which is there when it is whole, then
/// goes on with `script`.
fn hook(machine: &mut Machine, key: &str, script: &str) {
    let (file, part) = (machine.path(key), machine.path(&format!("{key}.part")));
    let keep = format!("cat > {0} && mv {0} {1}", part.display(), file.display());
    machine.set(key, json!(["sh", "-c", format!("{keep}; {script}")]));
}

/// What the hook was told.
fn told(machine: &Machine, key: &str) -> Value {
    serde_json::from_slice(&fs::read(machine.path(key)).unwrap()).unwrap()
}

fn ran(machine: &Machine, key: &str) -> bool {
    machine.path(key).exists()
}

fn wait_for_hook(machine: &Machine) {
    assert!(wait_until(SOON, || ran(machine, "before_backup")), "the hook did not run");
}

#[test]
fn what_before_backup_makes_is_in_the_archive() {
    let mut machine = machine();
    let dump = format!("echo dumped > {}", machine.path("data/dump").display());
    hook(&mut machine, "before_backup", &dump);
    let remove = format!("rm {}", machine.path("data/dump").display());
    hook(&mut machine, "after_backup", &remove);
    machine.run(["create"]).succeeds();
    assert_eq!(machine.content(&today(), "data/dump"), "dumped\n");
    assert!(!machine.path("data/dump").exists());
    let before = told(&machine, "before_backup");
    assert_eq!((&before["event"], &before["archive"]), (&json!("before_backup"), &json!(today())));
    assert_eq!(before["repository"], json!(machine.repository()));
    assert_eq!(before["config"], json!(machine.path("x.conf")));
    let after = told(&machine, "after_backup");
    assert_eq!((&after["outcome"], &after["error"]), (&json!("made"), &Value::Null));
}

#[test]
fn a_failing_before_backup_stops_the_backup_and_after_backup_runs() {
    let mut machine = machine();
    hook(&mut machine, "before_backup", "echo the database is down >&2; exit 7");
    hook(&mut machine, "after_backup", "");
    machine
        .run(["create"])
        .exits(1)
        .says("error: before_backup failed: `sh` ended with exit code 7")
        .says("it said: the database is down")
        .says("nothing was backed up");
    assert!(machine.archives().is_empty());
    let after = told(&machine, "after_backup");
    assert_eq!(after["outcome"], "failed");
    assert_eq!(after["error"], "before_backup failed: `sh` ended with exit code 7");
    machine.assert_nothing_is_left();
}

#[test]
fn a_program_that_is_not_there_is_named() {
    let mut machine = machine();
    machine.set("before_backup", json!(["/nowhere/dump"]));
    machine.run(["create"]).exits(1).says("before_backup failed: cannot start /nowhere/dump");
    assert!(machine.archives().is_empty());
}

#[test]
fn a_hook_has_a_deadline() {
    let mut machine = machine();
    machine.set("before_backup", json!({"command": ["sleep", "600"], "deadline": 1}));
    machine
        .run(["create"])
        .exits(1)
        .says("before_backup failed: `sleep` took longer than 1 s and was stopped");
    assert!(machine.archives().is_empty());
}

#[test]
fn after_backup_runs_when_a_signal_ends_the_backup() {
    for (key, moment) in [("before_backup", true), ("archive", false)] {
        let mut machine = machine();
        hook(&mut machine, "after_backup", "sleep 0.2; echo done >> \"$HOME/after\"");
        if moment {
            hook(&mut machine, "before_backup", "sleep 600");
        } else {
            machine.write_random("data/big", 3_000_000);
            machine.slow();
        }
        let started = machine.start(&[]);
        match moment {
            true => wait_for_hook(&machine),
            false => drop(machine.wait_for_borg(&today())),
        }
        started.signal(Signal::SIGTERM);
        started.end().exits(1);
        assert_eq!(fs::read_to_string(machine.path("home/after")).unwrap(), "done\n", "{key}");
        assert_eq!(told(&machine, "after_backup")["outcome"], "failed", "{key}");
        assert!(machine.archives().is_empty());
        machine.assert_nothing_is_left();
    }
}

#[test]
fn what_after_backup_mounts_is_mounted_for_everyone() {
    let mut machine = machine();
    fs::create_dir(machine.path("place")).unwrap();
    let mount = format!("mount -t tmpfs of-the-hook {}", machine.path("place").display());
    hook(&mut machine, "after_backup", &mount);
    machine.run(["create"]).succeeds();
    assert!(mounts().contains("of-the-hook"), "it went away with the staged tree");
}

#[test]
fn on_success_and_on_failure_are_told_how_it_went() {
    let mut machine = machine();
    hook(&mut machine, "on_success", "");
    hook(&mut machine, "on_failure", "");
    machine.run(["create"]).succeeds();
    assert!(!ran(&machine, "on_failure"));
    let success = told(&machine, "on_success");
    assert_eq!((&success["outcome"], &success["exit_code"]), (&json!("made"), &json!(0)));
    assert!(success["seconds"]["total"].as_f64().unwrap() > 0.0);
    assert!(success["original_size"].as_u64().unwrap() >= 7);
    assert_eq!((&success["files"], &success["warnings"]), (&json!(1), &json!(0)));
    fs::remove_file(machine.path("on_success")).unwrap();

    machine.run(["create"]).exits(1);
    assert!(!ran(&machine, "on_success"));
    let failure = told(&machine, "on_failure");
    assert_eq!((&failure["outcome"], &failure["exit_code"]), (&json!("failed"), &json!(1)));
    assert!(failure["error"].as_str().unwrap().starts_with("there is an archive"), "{failure}");
    assert!(failure["hints"][0].as_str().unwrap().contains("--if-exists replace"), "{failure}");
}

#[test]
fn a_backup_that_could_not_prune_or_that_warned_is_told_as_a_failure() {
    let mut machine = machine();
    hook(&mut machine, "on_failure", "");
    machine.set("keep_daily", 1);
    machine.set("keep_weekly", 0);
    machine.set("keep_monthly", 0);
    machine.borg(["create", "::2020-01-01", machine.path("data").to_str().unwrap()]).run();
    let script = "[ \"$1\" != delete ] || exit 2";
    let output = machine.with_borg(script, ["create"]).run();
    assert_eq!(output.code(), Some(1));
    let failure = told(&machine, "on_failure");
    assert_eq!((&failure["outcome"], &failure["exit_code"]), (&json!("made"), &json!(1)));
    assert!(failure["error"].as_str().unwrap().contains("not to be kept"), "{failure}");
    machine.set("fail_on_warnings", true);
    let script = "if [ \"$1\" = create ]; then real \"$@\"; exit 1; fi";
    let output = machine.with_borg(script, ["create", "--if-exists", "replace"]).run();
    assert_eq!(output.code(), Some(3));
    assert_eq!(told(&machine, "on_failure")["exit_code"], 3);
}

#[test]
fn a_notice_that_fails_changes_nothing_and_is_warned_about() {
    let mut machine = machine();
    hook(&mut machine, "on_success", "echo no network; exit 6");
    hook(&mut machine, "after_backup", "exit 5");
    machine
        .run(["--quiet", "create"])
        .succeeds()
        .says("warning: after_backup failed: `sh` ended with exit code 5")
        .says("warning: on_success failed: `sh` ended with exit code 6")
        .says("warning: it said: no network");
    assert_eq!(machine.archives(), [today()]);
}

#[test]
fn what_a_hook_says_is_not_shown_when_all_is_well() {
    let mut machine = machine();
    hook(&mut machine, "before_backup", "echo chatter; echo more >&2");
    let ran = machine.run(["--quiet", "create"]).succeeds();
    assert_eq!((ran.stdout().as_str(), ran.stderr().as_str()), ("", ""));
}

#[test]
fn no_shell_sees_the_command() {
    let mut machine = machine();
    let file = machine.path("said");
    let bin = machine.script("say", &format!("printf '[%s]' \"$@\" > {}", file.display()));
    let words = json!([bin.join("say"), "$HOME", "a b", "", "; rm -rf *", "`id`"]);
    machine.set("before_backup", words);
    machine.run(["create"]).succeeds();
    assert_eq!(fs::read_to_string(file).unwrap(), "[$HOME][a b][][; rm -rf *][`id`]");
}

#[test]
fn secrets_are_not_for_hooks() {
    let mut machine = machine();
    let file = machine.path("environment");
    machine.set("on_success", json!(["sh", "-c", format!("env > {}", file.display())]));
    machine.offsite(["create"]).env("BORG_PASSPHRASE", "sesame").env("OTHER", "kept").run();
    let environment = fs::read_to_string(file).unwrap();
    assert!(environment.contains("OTHER=kept") && !environment.contains("sesame"), "{environment}");
}

#[test]
fn a_dry_run_runs_no_hook_and_a_skipped_backup_only_the_notice() {
    let mut machine = machine();
    let keys = ["before_backup", "after_backup", "on_success", "on_failure"];
    for key in keys {
        hook(&mut machine, key, "");
    }
    machine.run(["create", "--dry-run"]).succeeds();
    assert_eq!(keys.map(|key| ran(&machine, key)), [false; 4]);
    machine.run(["create"]).succeeds();
    for key in &keys[..3] {
        fs::remove_file(machine.path(key)).unwrap();
    }
    machine.run(["create", "--if-exists", "skip"]).succeeds();
    assert_eq!(keys.map(|key| ran(&machine, key)), [false, false, true, false]);
    assert_eq!(told(&machine, "on_success")["outcome"], "skipped");
}

#[test]
fn a_second_run_does_not_clean_up_after_the_first() {
    let mut machine = machine();
    hook(&mut machine, "before_backup", "sleep 600");
    hook(&mut machine, "after_backup", "");
    hook(&mut machine, "on_failure", "");
    let first = machine.start(&[]);
    wait_for_hook(&machine);
    machine.run(["create", "--lock-wait", "0"]).exits(75);
    assert!(!ran(&machine, "after_backup"));
    assert_eq!(told(&machine, "on_failure")["exit_code"], 75);
    first.signal(Signal::SIGTERM);
    first.end().exits(1);
    assert!(ran(&machine, "after_backup"));
}

#[test]
fn a_skipped_backup_prunes_what_the_first_run_could_not() {
    let mut machine = machine();
    machine.set("keep_daily", 1);
    machine.set("keep_weekly", 0);
    machine.set("keep_monthly", 0);
    machine.borg(["create", "::2020-01-01", machine.path("data").to_str().unwrap()]).run();
    let script = "[ \"$1\" != delete ] || exit 2";
    machine.with_borg(script, ["create"]).run().exits(1);
    assert_eq!(machine.archives().len(), 2);
    machine.run(["create", "--if-exists", "skip"]).succeeds().says("already; older ones were pruned");
    assert_eq!(machine.archives(), [today()]);
}
