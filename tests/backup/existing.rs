//! A second backup on the same day.

use std::ffi::OsString;

use nix::sys::signal::Signal;

use crate::common::{Machine, SOON, Started, today, wait_until};

fn machine() -> Machine {
    let mut machine = Machine::with_repository();
    machine.write("data/x", "old");
    machine.list(&["data"]);
    machine.run(["create"]).succeeds();
    machine.write("data/x", "new!");
    machine
}

/// A borg that makes the archive, and then says that the line was cut before it knew.
const UNANSWERED: &str = r#"
if [ "$1" = create ] && ! [ -e "$0.asked" ]; then
    touch "$0.asked"
    real "$@" > /dev/null
    echo '{"type": "log_message", "levelname": "ERROR", "msgid": "ConnectionClosed", "message": "closed"}' >&2
    exit 2
fi
"#;

#[test]
fn one_whose_answer_got_lost_is_known_as_our_own() {
    let mut machine = Machine::with_repository();
    machine.write("data/x", "new!");
    machine.list(&["data"]);
    let output = machine.with_borg(UNANSWERED, ["create"]).run();
    output.succeeds().says("trying again in 5 s");
    assert_eq!(machine.archives(), [today()]);
    assert_eq!(machine.content(&today(), "data/x"), "new!");
    machine.assert_nothing_is_left();
}

/// borg from 1.4 on takes the host's name from BORG_HOSTNAME.
#[test]
fn one_whose_answer_got_lost_is_our_own_under_another_host_name_too() {
    let borg = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(".venv/bin/borg");
    let mut machine = Machine::with_repository();
    machine.write("data/x", "new!");
    machine.list(&["data"]);
    let script = format!("real() {{ {} \"$@\"; }}\n{UNANSWERED}\nreal \"$@\"; exit\n", borg.display());
    let output = machine.with_borg(&script, ["create"]).env("BORG_HOSTNAME", "elsewhere").run();
    output.succeeds().says("trying again in 5 s");
    let listed = machine.borg(["list", "--format", "{hostname}"]).run();
    assert_eq!(listed.stdout(), "elsewhere", "this borg does not know BORG_HOSTNAME");
}

#[test]
fn it_is_an_error_that_tells_the_ways_out() {
    let machine = machine();
    let said = format!("there is an archive {} in", today());
    machine.run(["create"]).exits(1).says(&said).says("--if-exists replace").says("--if-exists skip");
    assert_eq!(machine.content(&today(), "data/x"), "old");
    machine.assert_nothing_is_left();
}

#[test]
fn skip_is_content_with_the_first() {
    let machine = machine();
    machine.run(["create", "--if-exists", "skip"]).succeeds().says("already; nothing was done");
    assert_eq!(machine.content(&today(), "data/x"), "old");
}

#[test]
fn replace_leaves_the_second_under_the_same_name() {
    let machine = machine();
    machine.run(["create", "--if-exists", "replace"]).succeeds();
    assert_eq!(machine.archives(), [today()]);
    assert_eq!(machine.content(&today(), "data/x"), "new!");
    machine.assert_nothing_is_left();
}

#[test]
fn replace_killed_at_any_moment_loses_no_backup() {
    let mut machine = machine();
    let (date, new) = (today(), format!("{}.new", today()));
    machine.write_random("data/big", 3_000_000);
    machine.slow();
    type Moment = fn(&Machine, &mut Started);
    let moments: [Moment; 4] = [
        |machine, _| {
            machine.wait_for_borg(&format!("{}.new", today()));
        },
        |_, create| create.wait_for_line(&format!("delete {}", today())),
        |machine, create| {
            create.wait_for_line(&format!("delete {}", today()));
            let again = OsString::from(format!("::{}", today()));
            let is_create = |w: &[OsString]| w.contains(&again) && w.iter().any(|w| w == "create");
            let makes_again = || machine.borgs().iter().any(|(_, words)| is_create(words));
            assert!(wait_until(SOON, makes_again), "there is no second making");
        },
        |_, create| create.wait_for_line(&format!("delete {}.new", today())),
    ];
    for (i, moment) in moments.into_iter().enumerate() {
        let mut create = machine.start(&["--if-exists", "replace"]);
        moment(&machine, &mut create);
        create.signal(Signal::SIGKILL);
        drop(create);
        machine.wait_for_no_borg();
        let archives = machine.archives();
        assert!(archives.contains(&date) || archives.contains(&new), "moment {i}: {archives:?}");
        if i > 0 {
            let kept = if archives.contains(&new) { &new } else { &date };
            assert_eq!(machine.content(kept, "data/x"), "new!", "moment {i}");
        }
    }
    machine.run(["create", "--if-exists", "replace"]).succeeds();
    assert_eq!(machine.archives(), [today()]);
    assert_eq!(machine.content(&date, "data/x"), "new!");
    machine.assert_nothing_is_left();
}

#[test]
fn what_a_cut_replace_left_is_removed_once_the_day_has_its_archive() {
    let mut machine = Machine::with_repository();
    machine.write("data/x", "x");
    machine.list(&["data"]);
    let new = format!("::{}.new", today());
    for name in [new.as_str(), "::2001-01-01.new", "::notes.new"] {
        let data = machine.path("data");
        machine.borg(["create", name, data.to_str().unwrap()]).ok();
    }
    machine.run(["create"]).succeeds().says("2001-01-01.new is a whole archive");
    let mut archives = machine.archives();
    archives.sort();
    assert_eq!(archives, ["2001-01-01.new".to_owned(), today(), "notes.new".to_owned()]);
}

#[test]
fn one_that_appears_after_the_check_is_told_the_same_way() {
    let mut machine = Machine::with_repository();
    machine.write("data/x", "x");
    machine.list(&["data"]);
    let script = format!(
        "if [ \"$1\" = list ]; then real \"$@\"; real create ::{} {} >&2; exit; fi",
        today(),
        machine.path("data").display()
    );
    machine
        .with_borg(&script, ["create"])
        .run()
        .exits(1)
        .says("there is an archive")
        .says("--if-exists skip");
    machine.assert_nothing_is_left();
}

#[test]
fn its_list_of_files_is_kept_for_the_next_mount_unless_none_is_wanted() {
    let mut machine = machine();
    let lists = |machine: &Machine| {
        let lists = std::fs::read_dir(machine.path("home/.cache/borg-offsite-backup/catalogs"));
        lists.into_iter().flatten().flatten().filter(|list| list.path().extension().is_some()).count()
    };
    assert_eq!(lists(&machine), 1);
    std::fs::remove_dir_all(machine.path("home/.cache/borg-offsite-backup/catalogs")).unwrap();
    machine.set("catalog_cache_mb", 0);
    machine.run(["create", "--if-exists", "replace"]).succeeds();
    assert_eq!(lists(&machine), 0);
}
