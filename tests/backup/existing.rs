//! A second backup on the same day.

use nix::sys::signal::Signal;

use crate::world::{Ran, World, today};

fn world() -> World {
    let mut world = World::new();
    world.write("data/x", "old");
    world.list(&["data"]);
    world.run(&["create"]).succeeds();
    world.write("data/x", "new!");
    world
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
    let mut world = World::new();
    world.write("data/x", "new!");
    world.list(&["data"]);
    let output = world.with_borg(UNANSWERED, &["create"]).output().unwrap();
    Ran::from(output).succeeds().says("trying again in 5 s");
    assert_eq!(world.archives(), [today()]);
    assert_eq!(world.content(&today(), "data/x"), "new!");
    world.assert_nothing_is_left();
}

/// borg from 1.4 on takes the host's name from BORG_HOSTNAME.
#[test]
fn one_whose_answer_got_lost_is_our_own_under_another_host_name_too() {
    let borg = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(".venv/bin/borg");
    let mut world = World::new();
    world.write("data/x", "new!");
    world.list(&["data"]);
    let script = format!("real() {{ {} \"$@\"; }}\n{UNANSWERED}\nreal \"$@\"; exit\n", borg.display());
    let output = world.with_borg(&script, &["create"]).env("BORG_HOSTNAME", "elsewhere").output().unwrap();
    Ran::from(output).succeeds().says("trying again in 5 s");
    let listed = world.borg(&["list", "--format", "{hostname}"]).output().unwrap();
    assert_eq!(listed.stdout, b"elsewhere", "this borg does not know BORG_HOSTNAME");
}

#[test]
fn it_is_an_error_that_tells_the_ways_out() {
    let world = world();
    let said = format!("there is an archive {} in", today());
    world.run(&["create"]).exits(1).says(&said).says("--if-exists replace").says("--if-exists skip");
    assert_eq!(world.content(&today(), "data/x"), "old");
    world.assert_nothing_is_left();
}

#[test]
fn skip_is_content_with_the_first() {
    let world = world();
    world.run(&["create", "--if-exists", "skip"]).succeeds().says("already; nothing was done");
    assert_eq!(world.content(&today(), "data/x"), "old");
}

#[test]
fn replace_leaves_the_second_under_the_same_name() {
    let world = world();
    world.run(&["create", "--if-exists", "replace"]).succeeds();
    assert_eq!(world.archives(), [today()]);
    assert_eq!(world.content(&today(), "data/x"), "new!");
    world.assert_nothing_is_left();
}

#[test]
fn replace_killed_at_any_moment_loses_no_backup() {
    let mut world = world();
    let (date, new) = (today(), format!("{}.new", today()));
    world.write_random("data/big", 3_000_000);
    world.slow();
    type Moment = fn(&World, &mut crate::world::Started);
    let moments: [Moment; 4] = [
        |world, _| {
            world.wait_for_borg(&format!("{}.new", today()));
        },
        |_, create| create.wait_for_line(&format!("delete {}", today())),
        |world, create| {
            create.wait_for_line(&format!("delete {}", today()));
            let again = std::ffi::OsString::from(format!("::{}", today()));
            crate::world::until("the second making", || {
                let is_create =
                    |w: &Vec<std::ffi::OsString>| w.contains(&again) && w.iter().any(|w| w == "create");
                world.borgs().into_iter().find(|(_, words)| is_create(words))
            });
        },
        |_, create| create.wait_for_line(&format!("delete {}.new", today())),
    ];
    for (i, moment) in moments.into_iter().enumerate() {
        let mut create = world.start(&["--if-exists", "replace"]);
        moment(&world, &mut create);
        create.signal(Signal::SIGKILL);
        drop(create);
        world.wait_for_no_borg();
        let archives = world.archives();
        assert!(archives.contains(&date) || archives.contains(&new), "moment {i}: {archives:?}");
        if i > 0 {
            let kept = if archives.contains(&new) { &new } else { &date };
            assert_eq!(world.content(kept, "data/x"), "new!", "moment {i}");
        }
    }
    world.run(&["create", "--if-exists", "replace"]).succeeds();
    assert_eq!(world.archives(), [today()]);
    assert_eq!(world.content(&date, "data/x"), "new!");
    world.assert_nothing_is_left();
}

#[test]
fn what_a_cut_replace_left_is_removed_once_the_day_has_its_archive() {
    let mut world = World::new();
    world.write("data/x", "x");
    world.list(&["data"]);
    let new = format!("::{}.new", today());
    for name in [new.as_str(), "::2001-01-01.new", "::notes.new"] {
        let data = world.path("data");
        assert!(world.borg(&["create", name, data.to_str().unwrap()]).status().unwrap().success());
    }
    world.run(&["create"]).succeeds().says("2001-01-01.new is a whole archive");
    let mut archives = world.archives();
    archives.sort();
    assert_eq!(archives, ["2001-01-01.new".to_owned(), today(), "notes.new".to_owned()]);
}

#[test]
fn one_that_appears_after_the_check_is_told_the_same_way() {
    let mut world = World::new();
    world.write("data/x", "x");
    world.list(&["data"]);
    let script = format!(
        "if [ \"$1\" = list ]; then real \"$@\"; real create ::{} {} >&2; exit; fi",
        today(),
        world.path("data").display()
    );
    Ran::from(world.with_borg(&script, &["create"]).output().unwrap())
        .exits(1)
        .says("there is an archive")
        .says("--if-exists skip");
    world.assert_nothing_is_left();
}
