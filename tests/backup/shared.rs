//! Several machines, or several configurations of one, in a repository.

use std::fs;
use std::path::Path;
use std::process::Command;

use nix::mount::{MsFlags, mount};
use serde_json::Value;

use crate::world::{Ran, World, today};

const A: (&str, &str) = ("hosta", "11111111111111111111111111111111");
const B: (&str, &str) = ("hostb", "22222222222222222222222222222222");

/// Takes the place of another machine: a host's name and a machine-id.
fn as_machine(world: &World, (host, id): (&str, &str), command: &mut Command) -> Command {
    let machine = world.path("machine-id");
    if !machine.exists() {
        fs::write(&machine, "").unwrap();
        let ids = ["/etc/machine-id", "/var/lib/dbus/machine-id"].map(Path::new);
        for id in ids.into_iter().filter(|id| id.exists()) {
            mount(Some(&machine), id, None::<&str>, MsFlags::MS_BIND, None::<&str>).unwrap();
        }
    }
    fs::write(&machine, id).unwrap();
    let mut on_host = Command::new("unshare");
    on_host.args(["-u", "sh", "-c", "hostname \"$0\" && exec \"$@\"", host]);
    on_host.arg(command.get_program()).args(command.get_args());
    on_host.env_clear().envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    on_host.env("XDG_CACHE_HOME", world.path("home").join(id));
    on_host
}

fn run(world: &World, machine: (&str, &str), args: &[&str]) -> Ran {
    Ran::from(as_machine(world, machine, &mut world.command(args)).output().unwrap())
}

/// An archive without a mark, as an earlier version or another program makes it.
fn unmarked(world: &World, host: &str, name: &str, time: &str) {
    let data = world.path("data");
    let args = ["create", "--timestamp", time, &format!("::{name}"), data.to_str().unwrap()];
    let output = as_machine(world, (host, A.1), &mut world.borg(&args)).env("TZ", "UTC").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// What is in the repository, by name, with ids.
fn ids(world: &World) -> Vec<(String, String)> {
    let output = world.borg(&["list", "--json", "--consider-checkpoints"]).output().unwrap();
    let list: Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = |archive: &Value, key| archive[key].as_str().unwrap().to_owned();
    let archives = list["archives"].as_array().unwrap().iter();
    let mut ids: Vec<_> = archives.map(|a| (text(a, "name"), text(a, "id"))).collect();
    ids.sort();
    ids
}

fn names(world: &World) -> Vec<String> {
    ids(world).into_iter().map(|(name, _)| name).collect()
}

fn keep_one(world: &mut World) {
    world.set("keep_daily", 1);
    world.set("keep_weekly", 0);
    world.set("keep_monthly", 0);
}

fn world() -> World {
    let mut world = World::new();
    world.write("data/x", "of a");
    world.write("other/y", "of b");
    world.list(&["data"]);
    world
}

#[test]
fn another_machines_archive_is_no_reason_to_skip_and_is_neither_replaced_nor_pruned() {
    let mut world = world();
    for day in 1..4 {
        unmarked(&world, A.0, &format!("2020-01-0{day}"), &format!("2020-01-0{day}T10:00:00"));
    }
    run(&world, A, &["create", "--", "--comment", "mine {hostname}"]).succeeds();
    let output = world.borg(&["info", "--json", &format!("::{}", today())]).output().unwrap();
    let info: Value = serde_json::from_slice(&output.stdout).unwrap();
    let comment = info["archives"][0]["comment"].as_str().unwrap();
    assert!(comment.starts_with("mine hosta [borg-offsite-backup machine="), "{comment}");
    assert!(!comment.contains(A.1), "the machine-id itself is not shown");

    world.list(&["other"]);
    keep_one(&mut world);
    let before = ids(&world);
    let telemetry = world.path("telemetry.prom");
    for how in ["skip", "replace", "fail"] {
        let file = telemetry.to_str().unwrap();
        run(&world, B, &["create", "--if-exists", how, "--telemetry-file", file])
            .exits(2)
            .says(&format!("the archive {} in", today()))
            .says("was made by host hosta (machine ")
            .says("a repository of its own")
            .says("archive_suffix");
        let told = fs::read_to_string(&telemetry).unwrap();
        assert!(!told.contains("archive=\""), "{told}");
        let of = format!("{{dataset=\"{}\"}}", world.path("other").display());
        assert!(told.contains(&format!("borg_backup_last_success_timestamp_seconds{of} 0\n")), "{told}");
        assert!(told.contains(&format!("borg_backup_last_exit_code{of} 2\n")), "{told}");
    }
    assert_eq!(ids(&world), before);

    // With a suffix each looks after its own.
    world.set("archive_suffix", "b");
    world.set("fail_on_warnings", true);
    let mine = format!("{}-b", today());
    run(&world, B, &["create"]).succeeds().says(&format!("::{mine}"));
    run(&world, B, &["create", "--if-exists", "replace"]).succeeds();
    run(&world, B, &["create", "--if-exists", "skip"]).succeeds();
    let ours: Vec<String> = names(&world).into_iter().filter(|name| name.ends_with("-b")).collect();
    assert_eq!(ours, [mine.as_str()]);
    let others = |world: &World| ids(world).into_iter().filter(|(name, _)| *name != mine).collect::<Vec<_>>();
    assert_eq!(others(&world), before);
    let listed = run(&world, B, &["list", "--short", "::latest"]).succeeds();
    assert!(listed.stdout.contains("other/y"), "{}", listed.stdout);
    let listed = run(&world, B, &["list", "--short", &format!("::{}", today())]).succeeds().says(&mine);
    assert!(listed.stdout.contains("other/y"), "{}", listed.stdout);

    world.set("archive_suffix", Value::Null);
    world.list(&["data"]);
    run(&world, A, &["create", "--if-exists", "skip"]).succeeds().says("older ones were pruned");
    assert_eq!(names(&world), [today(), mine.clone()]);
    let listed = run(&world, A, &["list", "--short", "::latest"]).succeeds();
    assert!(listed.stdout.contains("data/x"), "{}", listed.stdout);
}

#[test]
fn while_dated_archives_of_others_are_there_nothing_is_pruned_and_that_is_a_warning() {
    let mut world = world();
    unmarked(&world, A.0, "2020-01-01", "2020-01-01T10:00:00");
    unmarked(&world, B.0, "2020-01-02", "2020-01-02T10:00:00");
    keep_one(&mut world);
    world.set("fail_on_warnings", true);
    run(&world, A, &["create"])
        .exits(3)
        .says("nothing was pruned")
        .says("2020-01-02 by host hostb")
        .says("archive_suffix");
    assert_eq!(names(&world), ["2020-01-01".into(), "2020-01-02".into(), today()]);
}

#[test]
fn two_machines_of_one_name_differ_and_a_renamed_one_with_a_moved_configuration_does_not() {
    let world = world();
    run(&world, ("dom0", A.1), &["create"]).succeeds();
    run(&world, ("dom0", B.1), &["create", "--if-exists", "skip"]).exits(2).says("host dom0 (machine ");
    let moved = world.path("moved.conf");
    fs::rename(world.path("x.conf"), &moved).unwrap();
    let mut command = world.command(&["create", "--if-exists", "skip"]);
    let args: Vec<_> = command.get_args().map(|arg| arg.to_owned()).collect();
    command = Command::new(command.get_program());
    command.args(["--config".into(), moved.into_os_string()]).args(&args[2..]);
    let mut surrounded = world.surrounded(command.get_program().to_str().unwrap());
    surrounded.args(command.get_args());
    let output = as_machine(&world, ("renamed", A.1), &mut surrounded).output().unwrap();
    Ran::from(output).succeeds().says("already; nothing was done");
}

#[test]
fn what_bears_no_mark_is_known_by_the_host_and_a_key_adopts_what_that_does_not_tell() {
    let mut world = world();
    unmarked(&world, "dom0", &today(), "2020-01-01T10:00:00");
    let skip = ["create", "--if-exists", "skip"];
    run(&world, ("dom0", A.1), &skip).exits(2).says("host dom0").says("earlier_host_names");
    run(&world, ("later", A.1), &skip).exits(2);
    for earlier in ["dom0", "dom0.example.org"] {
        world.set("earlier_host_names", vec![earlier]);
        run(&world, ("later", A.1), &skip).succeeds();
    }
    world.set("earlier_host_names", Value::Null);
    world.borg(&["delete", &format!("::{}", today())]).output().unwrap();
    unmarked(&world, "web", &today(), "2020-01-01T10:00:00");
    run(&world, ("web.example.org", A.1), &skip).succeeds();
    let ran = run(&world, ("web", ""), &skip).succeeds();
    ran.says("/etc/machine-id cannot be read");
}

#[test]
fn an_archive_is_a_reason_to_skip_only_if_it_holds_all_and_is_replaced_only_by_what_holds_it() {
    let mut world = world();
    world.run(&["create"]).succeeds();
    let first = ids(&world);
    world.list(&["data", "other"]);
    let other = world.path("other");
    let file = world.path("telemetry.prom");
    world
        .run(&["create", "--if-exists", "skip", "--telemetry-file", file.to_str().unwrap()])
        .exits(3)
        .says(&format!("{} does not hold {}", today(), other.display()));
    let told = fs::read_to_string(&file).unwrap();
    let of_archives = told.lines().filter(|line| line.contains("archive=\""));
    assert!(
        of_archives.clone().count() > 0 && !of_archives.clone().any(|line| line.contains("other")),
        "{told}"
    );
    assert!(told.contains("borg_backup_last_exit_code") && told.contains("} 3\n"), "{told}");
    assert_eq!(ids(&world), first);

    world.run(&["create", "--if-exists", "replace"]).succeeds();
    world.run(&["create", "--if-exists", "skip"]).succeeds();
    let both = ids(&world);
    assert_eq!(names(&world), [today()]);

    world.list(&["other"]);
    let beside = format!("{}.beside", today());
    world
        .run(&["create", "--if-exists", "replace"])
        .exits(3)
        .says(&format!("is not replaced, since it holds {}", world.path("data").display()))
        .says(&format!("the new archive is {beside}"));
    assert_eq!(names(&world), [today(), beside.clone()]);
    assert_eq!(ids(&world)[0], both[0]);
    assert!(!world.paths(&beside).contains(&"data/x".to_owned()));
}

#[test]
fn the_archive_of_another_configuration_is_no_success_for_monitoring() {
    let mut world = world();
    world.run(&["create"]).succeeds();
    world.list(&["other"]);
    // What this configuration's runs left.
    let forget = || {
        for entry in fs::read_dir(world.path("home/cache/borg-offsite-backup")).unwrap().flatten() {
            if entry.file_name().to_str().unwrap().starts_with("telemetry-") {
                fs::remove_file(entry.path()).unwrap();
            }
        }
    };
    let file = world.path("telemetry.prom");
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
        world.run(&[args, &to[..]].concat()).exits(code);
        assert_eq!(success(), 0.0, "{args:?}");
    }
    world.run(&[&["telemetry"][..], &to].concat()).succeeds();
    assert_eq!(success(), 0.0);
    let (date, aside) = (format!("::{}", today()), "aside");
    assert!(world.borg(&["rename", &date, aside]).status().unwrap().success());
    world.run(&["create"]).succeeds();
    forget();
    world.run(&[&["telemetry"][..], &to].concat()).succeeds();
    assert!(success() > 0.0);
}

#[test]
fn what_could_not_be_read_is_told_and_replaces_nothing() {
    let mut world = world();
    world.list(&["data", "data/x", "other"]);
    world.set("on_failure", vec!["sh", "-c", &format!("cat > {}", world.path("told").display())]);
    world.run(&["create"]).succeeds();
    let first = ids(&world);
    break_file(&world, "data/x");
    world.write("other/y", "newer");
    let beside = format!("{}.beside", today());
    let file = world.path("telemetry.prom");
    world
        .run(&["create", "--if-exists", "replace", "--telemetry-file", file.to_str().unwrap()])
        .exits(3)
        .says("[Errno 5]")
        .says(&format!("{} is not replaced, since not everything could be read", today()))
        .says(&format!("{beside} lacks 1 file or directory that could not be read"));
    assert_eq!(names(&world), [today(), beside.clone()]);
    assert_eq!(ids(&world)[0], first[0]);
    assert_eq!(world.content(&today(), "data/x"), "of a");
    assert_eq!(world.content(&beside, "other/y"), "newer");
    let told: Value = serde_json::from_slice(&fs::read(world.path("told")).unwrap()).unwrap();
    assert_eq!((&told["exit_code"], &told["unread"], &told["kept"]), (&3.into(), &1.into(), &today().into()));
    let metrics = fs::read_to_string(&file).unwrap();
    let value = |name: &str| {
        let line = metrics.lines().find(|line| line.starts_with(name)).unwrap();
        line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap()
    };
    assert_eq!((value("borg_backup_last_exit_code"), value("borg_backup_unread_files")), (3.0, 1.0));

    // Which one a date takes is said, and later runs leave it.
    let listed = world.run(&["list", "--short", &format!("::{}", today())]).succeeds();
    listed.says(&format!("{beside} is beside it"));
    // The first archive of a day stays, too, and is no reason to be content.
    world.borg(&["delete", &format!("::{}", today())]).output().unwrap();
    world.run(&["create"]).exits(3).says("lacks 1 file or directory");
    world.run(&["create", "--if-exists", "skip"]).exits(3).says("lacks 1 file or directory");
    nix::mount::umount(&world.path("data/x")).unwrap();
    world
        .run(&["create", "--if-exists", "replace"])
        .succeeds()
        .says(&format!("{beside}, beside {}", today()));
    assert_eq!(names(&world), [today(), beside]);
    assert_eq!(world.content(&today(), "data/x"), "of a");
    world.run(&["create", "--if-exists", "skip"]).succeeds();
    world.assert_nothing_is_left();
}

/// Reading the memory at address 0 is an I/O error for everyone.
fn break_file(world: &World, path: &str) {
    let broken = format!("/proc/{}/mem", std::process::id());
    mount(Some(broken.as_str()), &world.path(path), None::<&str>, MsFlags::MS_BIND, None::<&str>).unwrap();
}

#[test]
fn the_only_whole_archive_of_a_cut_replace_stays_until_there_is_another() {
    let mut world = world();
    world.list(&["data", "data/x", "other"]);
    world.run(&["create"]).succeeds();
    // It is killed when the new one stands and the old one is gone.
    let new = format!("{}.new", today());
    let script = format!(
        "if [ \"$1\" = create ] && [ -e $0.new ]; then kill -9 $PPID; exit 2; fi; case \"$*\" in create*::{new}*) touch $0.new;; esac"
    );
    let output = world.with_borg(&script, &["create", "--if-exists", "replace"]).output().unwrap();
    assert_eq!(output.status.code(), None);
    world.wait_for_no_borg();
    assert_eq!(names(&world), [new.as_str()]);
    let whole = ids(&world)[0].clone();

    break_file(&world, "data/x");
    world.run(&["create"]).exits(3).says(&format!("{new} is a whole archive"));
    world.run(&["create", "--if-exists", "replace"]).exits(3);
    let beside = format!("{}.beside", today());
    assert_eq!(names(&world), [today(), beside.clone(), new.clone()]);
    assert!(ids(&world).contains(&whole));
    nix::mount::umount(&world.path("data/x")).unwrap();
    world.run(&["create", "--if-exists", "replace"]).succeeds();
    assert_eq!(names(&world), [today(), beside]);
    assert_eq!(world.content(&today(), "data/x"), "of a");
}

#[test]
fn what_a_cut_replace_left_stays_while_it_holds_more_than_the_archive_of_the_day() {
    let mut world = world();
    world.list(&["data", "other"]);
    let new = format!("{}.new", today());
    world.run(&["create"]).succeeds();
    world.borg(&["rename", &format!("::{}", today()), &new]).output().unwrap();
    world.list(&["other"]);
    world.run(&["create"]).succeeds();
    assert_eq!(names(&world), [today(), new.clone()]);
    world.run(&["create", "--if-exists", "replace"]).succeeds();
    assert_eq!(names(&world), [today(), new]);
    world.list(&["data", "other"]);
    world.run(&["create", "--if-exists", "replace"]).succeeds();
    assert_eq!(names(&world), [today()]);
}

#[test]
fn when_the_second_making_lacks_a_file_the_first_is_the_backup_of_the_day() {
    let mut world = world();
    world.list(&["data", "data/x", "other"]);
    world.run(&["create"]).succeeds();
    let (date, new) = (today(), format!("{}.new", today()));
    let file = world.path("telemetry.prom");
    let lost = r#"{"type": "log_message", "levelname": "WARNING", "message": "data/x: read: [Errno 5] Input/output error"}"#;
    let script =
        format!("case \"$*\" in create*::{new}*) ;; create*) real \"$@\"; echo '{lost}' >&2; exit 1;; esac");
    let replace = ["create", "--if-exists", "replace", "--json", "--telemetry-file", file.to_str().unwrap()];
    let ran = Ran::from(world.with_borg(&script, &replace).output().unwrap()).exits(3);
    assert!(!ran.stderr.contains("is not replaced") && !ran.stderr.contains("delete ::"), "{}", ran.stderr);
    let told: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((&told["archive"], &told["kept"]), (&new.as_str().into(), &Value::Null));
    ran.says(&format!("{new} is the backup of today")).says(&format!("makes it as {date}"));
    assert_eq!(names(&world), [new]);
    let metrics = fs::read_to_string(&file).unwrap();
    assert!(!metrics.contains(&format!("archive=\"{date}\"")), "{metrics}");
    world.run(&["create"]).succeeds();
    assert_eq!(names(&world), [date]);
}

#[test]
fn what_was_unread_is_known_also_when_borgs_answer_got_lost() {
    let lost =
        r#"{"type": "log_message", "levelname": "ERROR", "msgid": "ConnectionClosed", "message": "x"}"#;
    for said in ["{}", lost] {
        let mut world = world();
        world.list(&["data", "data/x", "other"]);
        world.run(&["create"]).succeeds();
        let first = ids(&world);
        break_file(&world, "data/x");
        let script = format!(
            "if [ \"$1\" = create ] && ! [ -e $0.asked ]; then touch $0.asked
            real \"$@\" > /dev/null; echo '{said}' >&2; exit 2; fi"
        );
        let output = world.with_borg(&script, &["create", "--if-exists", "replace"]).output().unwrap();
        let beside = format!("{}.beside", today());
        Ran::from(output).exits(3).says(&format!("{beside} lacks 1 file or directory"));
        assert_eq!(names(&world), [today(), beside]);
        assert_eq!(ids(&world)[0], first[0]);
    }
}

#[test]
fn every_borg_keeps_the_mark_and_says_what_it_could_not_read() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    for venv in [".venv-1.1", ".venv"] {
        let mut world = world();
        world.list(&["data", "data/x"]);
        let path = format!("{}:{}", here.join(venv).join("bin").display(), std::env::var("PATH").unwrap());
        let run = |machine, args: &[&str]| {
            let mut command = as_machine(&world, machine, &mut world.command(args));
            Ran::from(command.env("PATH", &path).output().unwrap())
        };
        run(A, &["create"]).succeeds();
        run(B, &["create", "--if-exists", "replace"]).exits(2).says("host hosta (machine ");
        break_file(&world, "data/x");
        run(A, &["create", "--if-exists", "replace"]).exits(3).says("[Errno 5]").says(".beside");
        let listed = run(A, &["list", "--short", "::latest"]).succeeds().says("is beside it");
        assert!(listed.stdout.contains("data/x"), "{venv}: {}", listed.stdout);
        nix::mount::umount(&world.path("data/x")).unwrap();
        keep_one(&mut world);
        unmarked(&world, A.0, "2020-01-01", "2020-01-01T10:00:00");
        let run = |args: &[&str]| {
            let mut command = as_machine(&world, A, &mut world.command(args));
            Ran::from(command.env("PATH", &path).output().unwrap())
        };
        run(&["create", "--if-exists", "skip"]).succeeds().says("older ones were pruned");
        assert_eq!(names(&world), [today(), format!("{}.beside", today())], "{venv}");
    }
}
