//! `create` as a user who is not root.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::world::{World, tmpfs, today};

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
    for i in 0..25 {
        world.write(&format!("data/closed-{i:02}"), "x");
        let path = world.path(&format!("data/closed-{i:02}"));
        fs::set_permissions(path, fs::Permissions::from_mode(0o000)).unwrap();
    }
    world.list(&["data"]);
    let ran = world.run(&["create"]).succeeds().says("25 warnings (listed above)");
    assert_eq!(ran.stderr.matches("Permission denied").count(), 20, "{}", ran.stderr);
    ran.says("and 5 more like these");
    assert_eq!(world.archives(), [today()]);

    world.set("fail_on_warnings", true);
    world.run(&["create", "--if-exists", "replace"]).exits(3).says("25 warnings");
    assert_eq!(world.archives(), [today()]);
    let modern =
        world.command(&["create", "--if-exists", "replace"]).env("BORG_EXIT_CODES", "modern").output();
    assert_eq!(modern.unwrap().status.code(), Some(3));
}
