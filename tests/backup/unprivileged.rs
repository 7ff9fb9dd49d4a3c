//! `create` as a user who is not root.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::common::{Flavour, Machine, tmpfs, today};

fn unprivileged() -> Machine {
    Machine::builder(Flavour::V12).own_mounts().unprivileged().build().initialised()
}

#[test]
fn the_live_tree_is_read_one_file_system_each() {
    let mut machine = unprivileged();
    machine.write("data/x", "x");
    machine.write("data/below/y", "y");
    tmpfs(&machine.path("data/other"), "");
    machine.write("data/other/z", "z");
    tmpfs(&machine.path("data/listed"), "");
    machine.write("data/listed/q", "q");
    machine.list(&["data", "data/below", "data/listed"]);
    machine.run(["create"]).succeeds().says("not as root: borg reads the live tree");
    let paths = machine.paths(&today());
    let mut files: Vec<&str> =
        paths.iter().map(String::as_str).filter(|p| p.rsplit('/').next().unwrap().len() == 1).collect();
    files.sort_unstable();
    assert_eq!(files, ["data/below/y", "data/listed/q", "data/x"]);
    let state = machine.path("home/.cache/borg-offsite-backup/run");
    assert_eq!(fs::metadata(&state).unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn warnings_are_shown_and_counted_and_fail_only_where_that_is_wanted() {
    let mut machine = unprivileged();
    machine.write("data/x", "x");
    machine.list(&["data"]);
    let script = r#"
if [ "$1" = create ]; then
    real "$@"
    for i in $(seq 25); do
        echo '{"type": "log_message", "levelname": "WARNING", "message": "x: file changed while we backed it up"}' >&2
    done
    [ "$BORG_EXIT_CODES" = modern ] && exit 100
    exit 1
fi"#;
    let create =
        |machine: &Machine, args: &[&str]| machine.with_borg(script, [&["create"], args].concat()).run();
    let ran = create(&machine, &[]).succeeds().says("25 files changed while read (listed above)");
    assert_eq!(ran.stderr().matches("file changed").count(), 20, "{}", ran.stderr());
    ran.says("and 5 more like these");
    assert_eq!(machine.archives(), [today()]);

    machine.set("fail_on_warnings", true);
    create(&machine, &["--if-exists", "replace"]).exits(3).says("25 files changed");
    assert_eq!(machine.archives(), [today()]);
    let modern = machine.with_borg(script, ["create", "--if-exists", "replace"]);
    modern.env("BORG_EXIT_CODES", "modern").run().exits(3);
}

#[test]
fn what_may_not_be_read_is_missing_whatever_warnings_count_for() {
    for codes in ["legacy", "modern"] {
        let mut machine = unprivileged();
        machine.write("data/x", "x");
        machine.write("data/closed", "x");
        fs::set_permissions(machine.path("data/closed"), fs::Permissions::from_mode(0o000)).unwrap();
        machine.list(&["data"]);
        let output = machine.offsite(["create"]).env("BORG_EXIT_CODES", codes).run();
        output.exits(3).says("[Errno 13]").says("1 file or directory not read (listed above)");
        assert_eq!(machine.archives(), [today()]);
    }
}
