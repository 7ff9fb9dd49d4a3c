//! What a server may do to a backup: say nothing, say too much, be away.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use crate::common::{Machine, Program, Run, today, write_script};

/// A machine whose repository is behind a connection: `script` is the shell that makes it, in which `$n`
/// is the number of the call, and `serve` becomes the real server.
fn machine(script: &str) -> Machine {
    let mut machine = Machine::with_repository();
    machine.write("data/x", "content");
    machine.list(&["data"]);
    let count = machine.path("count");
    write_script(
        &machine.path("rsh"),
        &format!(
            "n=$(($(cat {0} 2>/dev/null) + 1)); echo $n > {0}\n\
             serve() {{ while [ \"$1\" != borg ]; do shift; done; exec \"$@\"; }}\n{script}\nserve \"$@\"",
            count.display()
        ),
    );
    machine.set("backup_server", "milena");
    machine
}

fn program(machine: &Machine, args: &[&str]) -> Program {
    let program = machine.offsite(args).env("BORG_RSH", machine.path("rsh"));
    let program = program.env("BORG_RELOCATED_REPO_ACCESS_IS_OK", "yes");
    program.env("BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK", "yes")
}

fn run(machine: &Machine, args: &[&str]) -> Run {
    program(machine, args).run()
}

#[test]
fn a_server_that_goes_silent_ends_create_and_monitoring_is_told() {
    // Before borg is started, when it lists the archives, and when it makes one.
    for call in 1..=3 {
        let mut machine = machine(&format!("[ $n -lt {call} ] || exec sleep 100000"));
        // It bounds the first look, too, in which a borg has to start.
        machine.set("stall_limit", if call == 1 { 2 } else { 8 });
        let told = machine.path("told");
        machine.set("on_failure", json!(["sh", "-c", format!("cat > {}", told.display())]));
        let telemetry = machine.path("t.prom");
        let ran =
            run(&machine, &["create", "--lock-wait", "1", "--telemetry-file", telemetry.to_str().unwrap()]);
        let ran = ran.exits(1);
        match call {
            1 => ran.says("milena does not answer").says("took longer than 2 s"),
            _ => ran.says("it did nothing for 9 s").says("`stall_limit`"),
        };
        let told: Value = serde_json::from_slice(&fs::read(told).unwrap()).unwrap();
        assert_eq!(told["outcome"], json!("failed"));
        let metrics = fs::read_to_string(telemetry).unwrap();
        assert!(metrics.contains("exit_code 1") || metrics.contains("} 1"), "{metrics}");
        machine.set("stall_limit", 600);
        // Nobody holds anything: the next one makes its backup.
        machine.write("rsh", fs::read_to_string(machine.path("rsh")).unwrap().replace("exec sleep", ": "));
        run(&machine, &["create", "--lock-wait", "30"]).succeeds();
    }
}

#[test]
fn a_server_that_sends_without_end_takes_no_memory_and_is_named() {
    let machine = machine("exec cat /dev/zero");
    let limit = ["sh", "-c", "ulimit -v 600000; exec \"$0\" \"$@\""];
    let ran = program(&machine, &["list"]).under(limit).run();
    ran.exits(1).says("milena answers with something that is not borg").says("wrote more than");
}

#[test]
fn a_name_that_is_not_resolved_at_first_is_tried_again() {
    let machine = machine(
        "[ $n -gt 1 ] || { echo 'ssh: Could not resolve hostname milena: Temporary failure' >&2; exit 255; }",
    );
    run(&machine, &["create"]).succeeds().says("there is no host milena").says("trying again in 5 s");
    // A person who asks is told at once.
    fs::remove_file(machine.path("count")).unwrap();
    run(&machine, &["list"]).exits(1).says("there is no host milena");
}

#[test]
fn what_a_server_says_does_not_steer_the_terminal() {
    let machine = machine("printf 'no\\033[2Jway\\302\\2332J \\342\\200\\256 home\\007\\n' >&2; exit 1");
    for args in [&["list"][..], &["create"], &["list", "--log-format", "json"]] {
        let said = run(&machine, args).exits(1).stderr();
        assert!(said.contains("way") && is_harmless(&said), "{said:?}");
    }
}

#[test]
fn the_names_of_files_and_archives_do_not_steer_the_terminal() {
    let mut machine = Machine::with_repository();
    let name = "data/a\u{1b}[2Jb\u{9b}3J\nerror: all is lost";
    machine.write(name, vec![7; 40 << 20]);
    machine.list(&["data"]);
    let file = machine.path(name);
    let done = std::sync::atomic::AtomicBool::new(false);
    let is_done = || done.load(std::sync::atomic::Ordering::Relaxed);
    let ran = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_done() {
                fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
            }
        });
        let ran = machine.run(["create", "--", "--list"]);
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        ran
    })
    .succeeds();
    assert!(ran.stderr().contains("file changed while we backed it up"), "{}", ran.stderr());
    assert!(
        is_harmless(&ran.stderr()) && is_harmless(&ran.stdout()),
        "{:?} {:?}",
        ran.stdout(),
        ran.stderr()
    );
    assert!(!ran.stderr().lines().any(|line| line.starts_with("error: all")), "{}", ran.stderr());
    let odd = "::2026-\u{1b}[2J-odd";
    machine.borg(["create", odd, "/etc/hostname"]).ok();
    for args in [&["mount", "::2026-01-0x", "/mnt"][..], &["attach", odd, "x"], &["verify", odd, "no/such"]] {
        let said = machine.run(args).stderr();
        assert!(!said.is_empty() && is_harmless(&said), "{args:?}: {said:?}");
    }
    let shown = machine.run(["create", "--if-exists", "skip"]);
    assert!(is_harmless(&shown.stderr()) && shown.stderr().contains(&today()), "{:?}", shown.stderr());
}

/// Nothing in it but text.
fn is_harmless(text: &str) -> bool {
    !text.chars().any(|c| c.is_control() && c != '\n' || c == '\u{202e}')
}
