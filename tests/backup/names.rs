//! Which archive a date or a word stands for, in every command that reads.

use std::process::{Command, Output};

use crate::world::World;

/// With an archive of `data/x` for each name, begun at this time of UTC, whose content is the name.
fn world(archives: &[(&str, &str)]) -> World {
    let mut world = World::new();
    for (name, time) in archives {
        world.write("data/x", name);
        let name = format!("::{name}");
        let mut borg = world.borg(&["create", "--timestamp", time, &name, "data"]);
        assert!(borg.current_dir(world.path("")).env("TZ", "UTC").status().unwrap().success());
    }
    world.list(&["data"]);
    world
}

/// Each reading command on the archive `said`, and what it took: the content of `data/x`.
fn taken(world: &World, said: &str) -> Vec<(String, String)> {
    let ours = |args: &[&str]| -> Output {
        let mut command = world.command(args);
        let output = command.current_dir(world.path("")).env("TZ", "UTC").output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args:?}: {stderr}");
        output
    };
    let stderr = |output: &Output| String::from_utf8_lossy(&output.stderr).into_owned();
    let mut taken = Vec::new();
    let output = ours(&["extract", "--stdout", said, "data/x"]);
    taken.push((String::from_utf8(output.stdout.clone()).unwrap(), stderr(&output)));
    let out = world.path("out");
    let output = ours(&["restore", said, "data/x", "--to", out.to_str().unwrap(), "--yes"]);
    taken.push((std::fs::read_to_string(&out).unwrap(), stderr(&output)));
    std::fs::remove_file(&out).unwrap();
    let output = ours(&["verify", said, "data/x", "--against", world.path("data/x").to_str().unwrap()]);
    taken.push((std::fs::read_to_string(world.path("data/x")).unwrap(), stderr(&output)));
    for source in ["native", "stream"] {
        let dir = world.path("mounted");
        std::fs::create_dir_all(&dir).unwrap();
        let output = ours(&["mount", "--source", source, said, dir.to_str().unwrap()]);
        taken.push((std::fs::read_to_string(dir.join("data/x")).unwrap(), stderr(&output)));
        ours(&["umount", dir.to_str().unwrap()]);
    }
    taken
}

#[test]
fn a_checkpoint_is_never_the_latest_nor_a_date() {
    let world = world(&[
        ("2026-11-23.checkpoint", "2026-11-23T10:00:00"),
        ("2026-11-24.checkpoint", "2026-11-25T10:00:00"),
        ("2026-11-24", "2026-11-24T10:00:00"),
    ]);
    for said in ["::latest", "::2026-11-24"] {
        for (content, _) in taken(&world, said) {
            assert_eq!(content, "2026-11-24", "{said}");
        }
    }
    for command in ["list", "verify"] {
        let output = world.command(&[command, "::2026-11-23"]).env("TZ", "UTC").output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{command}: {said}");
        assert!(said.contains("there is no archive 2026-11-23") && said.contains("shows all 3"), "{said}");
        world.run(&[command, "::2026-11-23.checkpoint"]).succeeds();
    }
}

#[test]
fn a_date_is_the_last_archive_begun_on_it_and_which_one_is_said() {
    let world = world(&[
        ("host-2026-11-22T04:00:00", "2026-11-22T04:00:00"),
        ("host-2026-11-23T03:00:00", "2026-11-23T03:00:00"),
        ("host-2026-11-23T04:00:00", "2026-11-23T04:00:00"),
    ]);
    let last = "host-2026-11-23T04:00:00";
    for (content, said) in taken(&world, "::2026-11-23") {
        assert_eq!(content, last);
        assert!(said.contains(&format!("using {last}, the last one begun on that day")), "{said}");
    }
    for (said, content) in
        [("::latest~1", "host-2026-11-23T03:00:00"), ("::latest~2", "host-2026-11-22T04:00:00")]
    {
        let output = world.run(&["extract", "--stdout", said, "data/x"]).succeeds();
        assert_eq!(output.stdout, content);
    }
    // The day is that of the person: an hour past midnight there.
    let output = world.command(&["info", "::2026-11-24"]).env("TZ", "UTC-21").output().unwrap();
    assert!(String::from_utf8_lossy(&output.stdout).contains(last), "{output:?}");
    let nothing = world.run(&["verify", "::2026-11-20"]).exits(1).says("there is no archive 2026-11-20");
    assert!(!nothing.stderr.contains("no archive yet"), "{}", nothing.stderr);

    // What changes the repository takes no date and no word.
    world.run(&["delete", "::latest"]).exits(2).says(&format!("::latest is ::{last} now"));
    world.run(&["rename", "::today", "x"]).exits(2);
    let _ = world.run(&["delete", "::2026-11-23"]);
    assert_eq!(world.archives().len(), 3);
}

#[test]
fn where_several_machines_have_one_the_choice_is_shown() {
    let mut world = World::new();
    world.write("data/x", "x");
    world.list(&["data"]);
    let on_host = |host: &str, name: &str| {
        let mut on_host = Command::new("unshare");
        let script = "hostname \"$0\" && exec borg create \"::$1\" data";
        on_host.args(["-u", "sh", "-c", script, host, name]).current_dir(world.path(""));
        let surrounded = world.borg(&[]);
        on_host.envs(surrounded.get_envs().filter_map(|(name, value)| Some((name, value?))));
        assert!(on_host.status().unwrap().success());
    };
    for host in ["hosta", "hostb"] {
        on_host(host, &format!("{host}-1"));
        let ran = world.run(&["list", "--short", "::latest"]);
        if host == "hosta" {
            ran.succeeds();
            assert_eq!(latest_links(&world), ["hosta-1", "hosta-1"]);
            continue;
        }
        assert_eq!(latest_links(&world), ["none", "none"]);
        ran.exits(2).says("host hosta: its last is hosta-1").says("host hostb: its last is hostb-1");
        for command in [&["verify", "::latest"][..], &["verify", "--source", "stream", "::latest"]] {
            let ran = world.run(command);
            assert!(
                ran.stderr.contains("its last is hostb-1") || ran.stderr.contains("--source"),
                "{}",
                ran.stderr
            );
        }
    }

    world.run(&["create"]).succeeds();
    on_host("hostb", "hostb-2");
    let ours = world.archives().into_iter().find(|name| !name.starts_with("host")).unwrap();
    assert_eq!(latest_links(&world), [&*ours, &*ours]);
    world.run(&["info", "::latest"]).succeeds();
}

/// Where the link `latest` leads in a mount of all archives, by each source.
fn latest_links(world: &World) -> Vec<String> {
    let dir = world.path("all");
    std::fs::create_dir_all(&dir).unwrap();
    let link = |source| {
        let ran = world.run(&["mount", "--source", source, dir.to_str().unwrap()]).succeeds();
        let link = std::fs::read_link(dir.join("latest"));
        world.run(&["umount", dir.to_str().unwrap()]).succeeds();
        match link {
            Ok(target) => target.into_os_string().into_string().unwrap(),
            Err(_) => {
                assert!(ran.stderr.contains("there is no link `latest`"), "{}", ran.stderr);
                "none".to_owned()
            }
        }
    };
    ["native", "stream"].into_iter().map(link).collect()
}
