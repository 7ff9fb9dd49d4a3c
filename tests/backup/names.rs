//! Which archive a date or a word stands for, in every command that reads.

use crate::common::Machine;

/// With an archive of `data/x` for each name, begun at this time of UTC, whose content is the name.
fn machine(archives: &[(&str, &str)]) -> Machine {
    let mut machine = Machine::with_repository();
    for (name, time) in archives {
        machine.write("data/x", name);
        let name = format!("::{name}");
        let borg = machine.borg(["create", "--timestamp", time, &name, "data"]);
        borg.current_dir(&machine.path("")).env("TZ", "UTC").ok();
    }
    machine.list(&["data"]);
    machine
}

/// Each reading command on the archive `said`, and what it took: the content of `data/x`.
fn taken(machine: &Machine, said: &str) -> Vec<(String, String)> {
    let ours = |args: &[&str]| machine.offsite(args).current_dir(&machine.path("")).env("TZ", "UTC").ok();
    let mut taken = Vec::new();
    let output = ours(&["extract", "--stdout", said, "data/x"]);
    taken.push((output.stdout(), output.stderr()));
    let out = machine.path("restored");
    let output = ours(&["restore", said, "data/x", "--to", out.to_str().unwrap(), "--yes"]);
    taken.push((std::fs::read_to_string(&out).unwrap(), output.stderr()));
    std::fs::remove_file(&out).unwrap();
    let output = ours(&["verify", said, "data/x", "--against", machine.path("data/x").to_str().unwrap()]);
    taken.push((std::fs::read_to_string(machine.path("data/x")).unwrap(), output.stderr()));
    for source in ["native", "stream"] {
        let dir = machine.path("mounted");
        std::fs::create_dir_all(&dir).unwrap();
        let output = ours(&["mount", "--source", source, said, dir.to_str().unwrap()]);
        taken.push((std::fs::read_to_string(dir.join("data/x")).unwrap(), output.stderr()));
        ours(&["umount", dir.to_str().unwrap()]);
    }
    taken
}

#[test]
fn a_checkpoint_is_never_the_latest_nor_a_date() {
    let machine = machine(&[
        ("2026-11-23.checkpoint", "2026-11-23T10:00:00"),
        ("2026-11-24.checkpoint", "2026-11-25T10:00:00"),
        ("2026-11-24", "2026-11-24T10:00:00"),
    ]);
    for said in ["::latest", "::2026-11-24"] {
        for (content, _) in taken(&machine, said) {
            assert_eq!(content, "2026-11-24", "{said}");
        }
    }
    for command in ["list", "verify"] {
        let output = machine.offsite([command, "::2026-11-23"]).env("TZ", "UTC").run();
        let said = output.stderr();
        assert_eq!(output.code(), Some(1), "{command}: {said}");
        assert!(said.contains("there is no archive 2026-11-23") && said.contains("shows all 3"), "{said}");
        machine.run([command, "::2026-11-23.checkpoint"]).succeeds();
    }
}

#[test]
fn a_date_is_the_last_archive_begun_on_it_and_which_one_is_said() {
    let machine = machine(&[
        ("host-2026-11-22T04:00:00", "2026-11-22T04:00:00"),
        ("host-2026-11-23T03:00:00", "2026-11-23T03:00:00"),
        ("host-2026-11-23T04:00:00", "2026-11-23T04:00:00"),
    ]);
    let last = "host-2026-11-23T04:00:00";
    for (content, said) in taken(&machine, "::2026-11-23") {
        assert_eq!(content, last);
        assert!(said.contains(&format!("using {last}, the last one begun on that day")), "{said}");
    }
    for (said, content) in
        [("::latest~1", "host-2026-11-23T03:00:00"), ("::latest~2", "host-2026-11-22T04:00:00")]
    {
        let output = machine.run(["extract", "--stdout", said, "data/x"]).succeeds();
        assert_eq!(output.stdout(), content);
    }
    // The day is that of the person: an hour past midnight there.
    let output = machine.offsite(["info", "::2026-11-24"]).env("TZ", "UTC-21").run();
    assert!(output.stdout().contains(last), "{output}");
    let nothing = machine.run(["verify", "::2026-11-20"]).exits(1).says("there is no archive 2026-11-20");
    assert!(!nothing.stderr().contains("no archive yet"), "{}", nothing.stderr());

    // What changes the repository takes no date and no word.
    machine.run(["delete", "::latest"]).exits(2).says(&format!("::latest is ::{last} now"));
    machine.run(["rename", "::today", "x"]).exits(2);
    let _ = machine.run(["delete", "::2026-11-23"]);
    assert_eq!(machine.archives().len(), 3);
}

#[test]
fn where_several_machines_have_one_the_choice_is_shown() {
    let mut machine = Machine::with_repository();
    machine.write("data/x", "x");
    machine.list(&["data"]);
    let on_host = |host: &str, name: &str| {
        let create = machine.borg(["create", &format!("::{name}"), "data"]);
        let create = create.under(["unshare", "-u", "sh", "-c", "hostname \"$0\" && exec \"$@\"", host]);
        create.current_dir(&machine.path("")).ok();
    };
    for host in ["hosta", "hostb"] {
        on_host(host, &format!("{host}-1"));
        let ran = machine.run(["list", "--short", "::latest"]);
        if host == "hosta" {
            ran.succeeds();
            assert_eq!(latest_links(&machine), ["hosta-1", "hosta-1"]);
            continue;
        }
        assert_eq!(latest_links(&machine), ["none", "none"]);
        ran.exits(2).says("host hosta: its last is hosta-1").says("host hostb: its last is hostb-1");
        for command in [&["verify", "::latest"][..], &["verify", "--source", "stream", "::latest"]] {
            let ran = machine.run(command);
            assert!(
                ran.stderr().contains("its last is hostb-1") || ran.stderr().contains("--source"),
                "{}",
                ran.stderr()
            );
        }
    }

    machine.run(["create"]).succeeds();
    on_host("hostb", "hostb-2");
    let ours = machine.archives().into_iter().find(|name| !name.starts_with("host")).unwrap();
    assert_eq!(latest_links(&machine), [&*ours, &*ours]);
    machine.run(["info", "::latest"]).succeeds();
}

/// Where the link `latest` leads in a mount of all archives, by each source.
fn latest_links(machine: &Machine) -> Vec<String> {
    let dir = machine.path("all");
    std::fs::create_dir_all(&dir).unwrap();
    let link = |source| {
        let ran = machine.run(["mount", "--source", source, dir.to_str().unwrap()]).succeeds();
        let link = std::fs::read_link(dir.join("latest"));
        machine.run(["umount", dir.to_str().unwrap()]).succeeds();
        match link {
            Ok(target) => target.into_os_string().into_string().unwrap(),
            Err(_) => {
                assert!(ran.stderr().contains("there is no link `latest`"), "{}", ran.stderr());
                "none".to_owned()
            }
        }
    };
    ["native", "stream"].into_iter().map(link).collect()
}
