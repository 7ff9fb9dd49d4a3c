//! Several machines, or several configurations of one, in a repository.

use std::fs;
use std::path::Path;

use nix::mount::{MsFlags, mount};
use serde_json::Value;

use crate::common::{Machine, Program, Run, today};

const A: (&str, &str) = ("hosta", "11111111111111111111111111111111");
const B: (&str, &str) = ("hostb", "22222222222222222222222222222222");

/// Takes the place of another machine: a host's name and a machine-id.
fn as_machine(machine: &Machine, (host, id): (&str, &str), program: Program) -> Program {
    let file = machine.path("machine-id");
    if !file.exists() {
        fs::write(&file, "").unwrap();
        let ids = ["/etc/machine-id", "/var/lib/dbus/machine-id"].map(Path::new);
        for id in ids.into_iter().filter(|id| id.exists()) {
            mount(Some(&file), id, None::<&str>, MsFlags::MS_BIND, None::<&str>).unwrap();
        }
    }
    fs::write(&file, id).unwrap();
    let on_host = ["unshare", "-u", "sh", "-c", "hostname \"$0\" && exec \"$@\"", host];
    program.under(on_host).env("XDG_CACHE_HOME", machine.path("home").join(id))
}

fn run(machine: &Machine, identity: (&str, &str), args: &[&str]) -> Run {
    as_machine(machine, identity, machine.offsite(args)).run()
}

/// An archive without a mark, as an earlier version or another program makes it.
fn unmarked(machine: &Machine, host: &str, name: &str, time: &str) {
    let data = machine.path("data");
    let args = ["create", "--timestamp", time, &format!("::{name}"), data.to_str().unwrap()];
    as_machine(machine, (host, A.1), machine.borg(args)).env("TZ", "UTC").ok();
}

/// What is in the repository, by name, with ids.
fn ids(machine: &Machine) -> Vec<(String, String)> {
    let output = machine.borg(["list", "--json", "--consider-checkpoints"]).run();
    let list: Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = |archive: &Value, key| archive[key].as_str().unwrap().to_owned();
    let archives = list["archives"].as_array().unwrap().iter();
    let mut ids: Vec<_> = archives.map(|a| (text(a, "name"), text(a, "id"))).collect();
    ids.sort();
    ids
}

fn names(machine: &Machine) -> Vec<String> {
    ids(machine).into_iter().map(|(name, _)| name).collect()
}

fn keep_one(machine: &mut Machine) {
    machine.set("keep_daily", 1);
    machine.set("keep_weekly", 0);
    machine.set("keep_monthly", 0);
}

fn machine() -> Machine {
    let mut machine = Machine::with_repository();
    machine.write("data/x", "of a");
    machine.write("other/y", "of b");
    machine.list(&["data"]);
    machine
}

#[test]
fn another_machines_archive_is_no_reason_to_skip_and_is_neither_replaced_nor_pruned() {
    let mut machine = machine();
    for day in 1..4 {
        unmarked(&machine, A.0, &format!("2020-01-0{day}"), &format!("2020-01-0{day}T10:00:00"));
    }
    run(&machine, A, &["create", "--", "--comment", "mine {hostname}"]).succeeds();
    let output = machine.borg(["info", "--json", &format!("::{}", today())]).run();
    let info: Value = serde_json::from_slice(&output.stdout).unwrap();
    let comment = info["archives"][0]["comment"].as_str().unwrap();
    assert!(comment.starts_with("mine hosta [borg-offsite-backup machine="), "{comment}");
    assert!(!comment.contains(A.1), "the machine-id itself is not shown");

    machine.list(&["other"]);
    keep_one(&mut machine);
    let before = ids(&machine);
    let telemetry = machine.path("telemetry.prom");
    for how in ["skip", "replace", "fail"] {
        let file = telemetry.to_str().unwrap();
        run(&machine, B, &["create", "--if-exists", how, "--telemetry-file", file])
            .exits(2)
            .says(&format!("the archive {} in", today()))
            .says("was made by host hosta (machine ")
            .says("a repository of its own")
            .says("archive_suffix");
        let told = fs::read_to_string(&telemetry).unwrap();
        assert!(!told.contains("archive=\""), "{told}");
        let of = format!("{{dataset=\"{}\"}}", machine.path("other").display());
        assert!(told.contains(&format!("borg_backup_last_success_timestamp_seconds{of} 0\n")), "{told}");
        assert!(told.contains(&format!("borg_backup_last_exit_code{of} 2\n")), "{told}");
    }
    assert_eq!(ids(&machine), before);

    // With a suffix each looks after its own.
    machine.set("archive_suffix", "b");
    machine.set("fail_on_warnings", true);
    let mine = format!("{}-b", today());
    run(&machine, B, &["create"]).succeeds().says(&format!("::{mine}"));
    run(&machine, B, &["create", "--if-exists", "replace"]).succeeds();
    run(&machine, B, &["create", "--if-exists", "skip"]).succeeds();
    let ours: Vec<String> = names(&machine).into_iter().filter(|name| name.ends_with("-b")).collect();
    assert_eq!(ours, [mine.as_str()]);
    let others =
        |machine: &Machine| ids(machine).into_iter().filter(|(name, _)| *name != mine).collect::<Vec<_>>();
    assert_eq!(others(&machine), before);
    let listed = run(&machine, B, &["list", "--short", "::latest"]).succeeds();
    assert!(listed.stdout().contains("other/y"), "{}", listed.stdout());
    let listed = run(&machine, B, &["list", "--short", &format!("::{}", today())]).succeeds().says(&mine);
    assert!(listed.stdout().contains("other/y"), "{}", listed.stdout());

    machine.set("archive_suffix", Value::Null);
    machine.list(&["data"]);
    run(&machine, A, &["create", "--if-exists", "skip"]).succeeds().says("older ones were pruned");
    assert_eq!(names(&machine), [today(), mine.clone()]);
    let listed = run(&machine, A, &["list", "--short", "::latest"]).succeeds();
    assert!(listed.stdout().contains("data/x"), "{}", listed.stdout());
}

#[test]
fn while_dated_archives_of_others_are_there_nothing_is_pruned_and_that_is_a_warning() {
    let mut machine = machine();
    unmarked(&machine, A.0, "2020-01-01", "2020-01-01T10:00:00");
    unmarked(&machine, B.0, "2020-01-02", "2020-01-02T10:00:00");
    keep_one(&mut machine);
    machine.set("fail_on_warnings", true);
    run(&machine, A, &["create"])
        .exits(3)
        .says("nothing was pruned")
        .says("2020-01-02 by host hostb")
        .says("archive_suffix");
    assert_eq!(names(&machine), ["2020-01-01".into(), "2020-01-02".into(), today()]);
}

#[test]
fn two_machines_of_one_name_differ_and_a_renamed_one_with_a_moved_configuration_does_not() {
    let machine = machine();
    run(&machine, ("dom0", A.1), &["create"]).succeeds();
    run(&machine, ("dom0", B.1), &["create", "--if-exists", "skip"]).exits(2).says("host dom0 (machine ");
    let moved = machine.path("moved.conf");
    fs::rename(machine.path("x.conf"), &moved).unwrap();
    let program = machine.program(machine.binary()).arg("--config").arg(moved);
    let program = program.args(["create", "--if-exists", "skip"]);
    let output = as_machine(&machine, ("renamed", A.1), program).run();
    output.succeeds().says("already; nothing was done");
}

#[test]
fn what_bears_no_mark_is_known_by_the_host_and_a_key_adopts_what_that_does_not_tell() {
    let mut machine = machine();
    unmarked(&machine, "dom0", &today(), "2020-01-01T10:00:00");
    let skip = ["create", "--if-exists", "skip"];
    run(&machine, ("dom0", A.1), &skip).exits(2).says("host dom0").says("earlier_host_names");
    run(&machine, ("later", A.1), &skip).exits(2);
    for earlier in ["dom0", "dom0.example.org"] {
        machine.set("earlier_host_names", vec![earlier]);
        run(&machine, ("later", A.1), &skip).succeeds();
    }
    machine.set("earlier_host_names", Value::Null);
    machine.borg(["delete", &format!("::{}", today())]).run();
    unmarked(&machine, "web", &today(), "2020-01-01T10:00:00");
    run(&machine, ("web.example.org", A.1), &skip).succeeds();
    let ran = run(&machine, ("web", ""), &skip).succeeds();
    ran.says("/etc/machine-id cannot be read");
}

#[test]
fn an_archive_is_a_reason_to_skip_only_if_it_holds_all_and_is_replaced_only_by_what_holds_it() {
    let mut machine = machine();
    machine.run(["create"]).succeeds();
    let first = ids(&machine);
    machine.list(&["data", "other"]);
    let other = machine.path("other");
    let file = machine.path("telemetry.prom");
    machine
        .run(["create", "--if-exists", "skip", "--telemetry-file", file.to_str().unwrap()])
        .exits(3)
        .says(&format!("{} does not hold {}", today(), other.display()));
    let told = fs::read_to_string(&file).unwrap();
    let of_archives = told.lines().filter(|line| line.contains("archive=\""));
    assert!(
        of_archives.clone().count() > 0 && !of_archives.clone().any(|line| line.contains("other")),
        "{told}"
    );
    assert!(told.contains("borg_backup_last_exit_code") && told.contains("} 3\n"), "{told}");
    assert_eq!(ids(&machine), first);

    machine.run(["create", "--if-exists", "replace"]).succeeds();
    machine.run(["create", "--if-exists", "skip"]).succeeds();
    let both = ids(&machine);
    assert_eq!(names(&machine), [today()]);

    machine.list(&["other"]);
    let beside = format!("{}.beside", today());
    machine
        .run(["create", "--if-exists", "replace"])
        .exits(3)
        .says(&format!("is not replaced, since it holds {}", machine.path("data").display()))
        .says(&format!("the new archive is {beside}"));
    assert_eq!(names(&machine), [today(), beside.clone()]);
    assert_eq!(ids(&machine)[0], both[0]);
    assert!(!machine.paths(&beside).contains(&"data/x".to_owned()));
}

#[test]
fn the_archive_of_another_configuration_is_no_success_for_monitoring() {
    let mut machine = machine();
    machine.run(["create"]).succeeds();
    machine.list(&["other"]);
    // What this configuration's runs left.
    let forget = || {
        for entry in fs::read_dir(machine.path("home/.cache/borg-offsite-backup")).unwrap().flatten() {
            if entry.file_name().to_str().unwrap().starts_with("telemetry-") {
                fs::remove_file(entry.path()).unwrap();
            }
        }
    };
    let file = machine.path("telemetry.prom");
    let to = ["--telemetry-file", file.to_str().unwrap()];
    let success = || {
        let told = fs::read_to_string(&file).unwrap();
        let line =
            told.lines().find(|l| l.starts_with("borg_backup_last_success_timestamp_seconds")).unwrap();
        line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap()
    };
    for (args, code) in
        [(&["create", "--if-exists", "skip"][..], 3), (&["create"][..], 1), (&["telemetry"][..], 0)]
    {
        forget();
        machine.run([args, &to[..]].concat()).exits(code);
        assert_eq!(success(), 0.0, "{args:?}");
    }
    machine.run([&["telemetry"][..], &to].concat()).succeeds();
    assert_eq!(success(), 0.0);
    let (date, aside) = (format!("::{}", today()), "aside");
    machine.borg(["rename", &date, aside]).ok();
    machine.run(["create"]).succeeds();
    forget();
    machine.run([&["telemetry"][..], &to].concat()).succeeds();
    assert!(success() > 0.0);
}

#[test]
fn what_could_not_be_read_is_told_and_replaces_nothing() {
    let mut machine = machine();
    machine.list(&["data", "data/x", "other"]);
    machine.set("on_failure", vec!["sh", "-c", &format!("cat > {}", machine.path("told").display())]);
    machine.run(["create"]).succeeds();
    let first = ids(&machine);
    break_file(&machine, "data/x");
    machine.write("other/y", "newer");
    let beside = format!("{}.beside", today());
    let file = machine.path("telemetry.prom");
    machine
        .run(["create", "--if-exists", "replace", "--telemetry-file", file.to_str().unwrap()])
        .exits(3)
        .says("[Errno 5]")
        .says(&format!("{} is not replaced, since not everything could be read", today()))
        .says(&format!("{beside} lacks 1 file or directory that could not be read"));
    assert_eq!(names(&machine), [today(), beside.clone()]);
    assert_eq!(ids(&machine)[0], first[0]);
    assert_eq!(machine.content(&today(), "data/x"), "of a");
    assert_eq!(machine.content(&beside, "other/y"), "newer");
    let told: Value = serde_json::from_slice(&fs::read(machine.path("told")).unwrap()).unwrap();
    assert_eq!((&told["exit_code"], &told["unread"], &told["kept"]), (&3.into(), &1.into(), &today().into()));
    let metrics = fs::read_to_string(&file).unwrap();
    let value = |name: &str| {
        let line = metrics.lines().find(|line| line.starts_with(name)).unwrap();
        line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap()
    };
    assert_eq!((value("borg_backup_last_exit_code"), value("borg_backup_unread_files")), (3.0, 1.0));

    // Which one a date takes is said, and later runs leave it.
    let listed = machine.run(["list", "--short", &format!("::{}", today())]).succeeds();
    listed.says(&format!("{beside} is beside it"));
    // The first archive of a day stays, too, and is no reason to be content.
    machine.borg(["delete", &format!("::{}", today())]).run();
    machine.run(["create"]).exits(3).says("lacks 1 file or directory");
    machine.run(["create", "--if-exists", "skip"]).exits(3).says("lacks 1 file or directory");
    nix::mount::umount(&machine.path("data/x")).unwrap();
    machine
        .run(["create", "--if-exists", "replace"])
        .succeeds()
        .says(&format!("{beside}, beside {}", today()));
    assert_eq!(names(&machine), [today(), beside]);
    assert_eq!(machine.content(&today(), "data/x"), "of a");
    machine.run(["create", "--if-exists", "skip"]).succeeds();
    machine.assert_nothing_is_left();
}

/// Reading the memory at address 0 is an I/O error for everyone.
fn break_file(machine: &Machine, path: &str) {
    let broken = format!("/proc/{}/mem", std::process::id());
    mount(Some(broken.as_str()), &machine.path(path), None::<&str>, MsFlags::MS_BIND, None::<&str>).unwrap();
}

#[test]
fn the_only_whole_archive_of_a_cut_replace_stays_until_there_is_another() {
    let mut machine = machine();
    machine.list(&["data", "data/x", "other"]);
    machine.run(["create"]).succeeds();
    // It is killed when the new one stands and the old one is gone.
    let new = format!("{}.new", today());
    let script = format!(
        "if [ \"$1\" = create ] && [ -e $0.new ]; then kill -9 $PPID; exit 2; fi; case \"$*\" in create*::{new}*) touch $0.new;; esac"
    );
    let output = machine.with_borg(&script, ["create", "--if-exists", "replace"]).run();
    assert_eq!(output.code(), None);
    machine.wait_for_no_borg();
    assert_eq!(names(&machine), [new.as_str()]);
    let whole = ids(&machine)[0].clone();

    break_file(&machine, "data/x");
    machine.run(["create"]).exits(3).says(&format!("{new} is a whole archive"));
    machine.run(["create", "--if-exists", "replace"]).exits(3);
    let beside = format!("{}.beside", today());
    assert_eq!(names(&machine), [today(), beside.clone(), new.clone()]);
    assert!(ids(&machine).contains(&whole));
    nix::mount::umount(&machine.path("data/x")).unwrap();
    machine.run(["create", "--if-exists", "replace"]).succeeds();
    assert_eq!(names(&machine), [today(), beside]);
    assert_eq!(machine.content(&today(), "data/x"), "of a");
}

#[test]
fn what_a_cut_replace_left_stays_while_it_holds_more_than_the_archive_of_the_day() {
    let mut machine = machine();
    machine.list(&["data", "other"]);
    let new = format!("{}.new", today());
    machine.run(["create"]).succeeds();
    machine.borg(["rename", &format!("::{}", today()), &new]).run();
    machine.list(&["other"]);
    machine.run(["create"]).succeeds();
    assert_eq!(names(&machine), [today(), new.clone()]);
    machine.run(["create", "--if-exists", "replace"]).succeeds();
    assert_eq!(names(&machine), [today(), new]);
    machine.list(&["data", "other"]);
    machine.run(["create", "--if-exists", "replace"]).succeeds();
    assert_eq!(names(&machine), [today()]);
}

#[test]
fn when_the_second_making_lacks_a_file_the_first_is_the_backup_of_the_day() {
    let mut machine = machine();
    machine.list(&["data", "data/x", "other"]);
    machine.run(["create"]).succeeds();
    let (date, new) = (today(), format!("{}.new", today()));
    let file = machine.path("telemetry.prom");
    let lost = r#"{"type": "log_message", "levelname": "WARNING", "message": "data/x: read: [Errno 5] Input/output error"}"#;
    let script =
        format!("case \"$*\" in create*::{new}*) ;; create*) real \"$@\"; echo '{lost}' >&2; exit 1;; esac");
    let replace = ["create", "--if-exists", "replace", "--json", "--telemetry-file", file.to_str().unwrap()];
    let ran = machine.with_borg(&script, replace).run().exits(3);
    assert!(
        !ran.stderr().contains("is not replaced") && !ran.stderr().contains("delete ::"),
        "{}",
        ran.stderr()
    );
    let told: Value = serde_json::from_str(&ran.stdout()).unwrap();
    assert_eq!((&told["archive"], &told["kept"]), (&new.as_str().into(), &Value::Null));
    ran.says(&format!("{new} is the backup of today")).says(&format!("makes it as {date}"));
    assert_eq!(names(&machine), [new]);
    let metrics = fs::read_to_string(&file).unwrap();
    assert!(!metrics.contains(&format!("archive=\"{date}\"")), "{metrics}");
    machine.run(["create"]).succeeds();
    assert_eq!(names(&machine), [date]);
}

#[test]
fn what_was_unread_is_known_also_when_borgs_answer_got_lost() {
    let lost =
        r#"{"type": "log_message", "levelname": "ERROR", "msgid": "ConnectionClosed", "message": "x"}"#;
    for said in ["{}", lost] {
        let mut machine = machine();
        machine.list(&["data", "data/x", "other"]);
        machine.run(["create"]).succeeds();
        let first = ids(&machine);
        break_file(&machine, "data/x");
        let script = format!(
            "if [ \"$1\" = create ] && ! [ -e $0.asked ]; then touch $0.asked
            real \"$@\" > /dev/null; echo '{said}' >&2; exit 2; fi"
        );
        let output = machine.with_borg(&script, ["create", "--if-exists", "replace"]).run();
        let beside = format!("{}.beside", today());
        output.exits(3).says(&format!("{beside} lacks 1 file or directory"));
        assert_eq!(names(&machine), [today(), beside]);
        assert_eq!(ids(&machine)[0], first[0]);
    }
}

#[test]
fn every_borg_keeps_the_mark_and_says_what_it_could_not_read() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    for venv in [".venv-1.1", ".venv"] {
        let mut machine = machine();
        machine.list(&["data", "data/x"]);
        let bin = here.join(venv).join("bin");
        let run = |identity, args: &[&str]| {
            as_machine(&machine, identity, machine.offsite(args).search_first(&bin)).run()
        };
        run(A, &["create"]).succeeds();
        run(B, &["create", "--if-exists", "replace"]).exits(2).says("host hosta (machine ");
        break_file(&machine, "data/x");
        run(A, &["create", "--if-exists", "replace"]).exits(3).says("[Errno 5]").says(".beside");
        let listed = run(A, &["list", "--short", "::latest"]).succeeds().says("is beside it");
        assert!(listed.stdout().contains("data/x"), "{venv}: {}", listed.stdout());
        nix::mount::umount(&machine.path("data/x")).unwrap();
        keep_one(&mut machine);
        unmarked(&machine, A.0, "2020-01-01", "2020-01-01T10:00:00");
        let skip = machine.offsite(["create", "--if-exists", "skip"]).search_first(&bin);
        as_machine(&machine, A, skip).run().succeeds().says("older ones were pruned");
        assert_eq!(names(&machine), [today(), format!("{}.beside", today())], "{venv}");
    }
}
