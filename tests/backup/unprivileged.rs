//! `create` as a user who is not root.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::world::{Ran, World, tmpfs, today};

#[test]
fn the_live_tree_is_read_one_file_system_each() {
    let mut world = World::unprivileged();
    world.write("data/x", "x");
    world.write("data/below/y", "y");
    tmpfs(&world.path("data/other"), "");
    world.write("data/other/z", "z");
    tmpfs(&world.path("data/listed"), "");
    world.write("data/listed/q", "q");
    world.list(&["data", "data/below", "data/listed"]);
    world.run(&["create"]).succeeds().says("not as root: borg reads the live tree");
    let paths = world.paths(&today());
    let mut files: Vec<&str> =
        paths.iter().map(String::as_str).filter(|p| p.rsplit('/').next().unwrap().len() == 1).collect();
    files.sort_unstable();
    assert_eq!(files, ["data/below/y", "data/listed/q", "data/x"]);
    let state = world.path("home/cache/borg-offsite-backup/run");
    assert_eq!(fs::metadata(&state).unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn warnings_are_shown_and_counted_and_fail_only_where_that_is_wanted() {
    let mut world = World::unprivileged();
    world.write("data/x", "x");
    world.list(&["data"]);
    let script = r#"
if [ "$1" = create ]; then
    real "$@"
    for i in $(seq 25); do
        echo '{"type": "log_message", "levelname": "WARNING", "message": "x: file changed while we backed it up"}' >&2
    done
    [ "$BORG_EXIT_CODES" = modern ] && exit 100
    exit 1
fi"#;
    let create = |world: &World, args: &[&str]| {
        Ran::from(world.with_borg(script, &[&["create"], args].concat()).output().unwrap())
    };
    let ran = create(&world, &[]).succeeds().says("25 files changed while read (listed above)");
    assert_eq!(ran.stderr.matches("file changed").count(), 20, "{}", ran.stderr);
    ran.says("and 5 more like these");
    assert_eq!(world.archives(), [today()]);

    world.set("fail_on_warnings", true);
    create(&world, &["--if-exists", "replace"]).exits(3).says("25 files changed");
    assert_eq!(world.archives(), [today()]);
    let mut modern = world.with_borg(script, &["create", "--if-exists", "replace"]);
    assert_eq!(modern.env("BORG_EXIT_CODES", "modern").output().unwrap().status.code(), Some(3));
}

#[test]
fn what_may_not_be_read_is_missing_whatever_warnings_count_for() {
    for codes in ["legacy", "modern"] {
        let mut world = World::unprivileged();
        world.write("data/x", "x");
        world.write("data/closed", "x");
        fs::set_permissions(world.path("data/closed"), fs::Permissions::from_mode(0o000)).unwrap();
        world.list(&["data"]);
        let output = world.command(&["create"]).env("BORG_EXIT_CODES", codes).output().unwrap();
        Ran::from(output).exits(3).says("[Errno 13]").says("1 file or directory not read (listed above)");
        assert_eq!(world.archives(), [today()]);
    }
}
