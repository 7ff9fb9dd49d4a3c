//! docs/client.md and docs/monitoring.md, followed to the letter: each `sh` block is run, in its order, on a
//! machine of its own. What needs another machine or systemd has a stand-in.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use borg_offsite_backup::config::Config;

use crate::contrib;
use crate::machine::{installed, setting};
use crate::world::{World, tmpfs, today};

fn page(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(name)).unwrap()
}

fn blocks(page: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    page.split(&fence).skip(1).map(|rest| rest.split("```").next().unwrap().to_owned()).collect()
}

/// Where root's home, /etc and the like are empty or copies.
fn machine() -> World {
    let world = World::without_repository();
    world.write("x.conf", "{}");
    installed(&world);
    fs::remove_file("/etc/borg-offsite-backup.conf").unwrap();
    for dir in ["/root", "/var/backups", "/var/lib", "/mnt"] {
        tmpfs(Path::new(dir), "mode=755");
    }
    fs::create_dir("/var/backups/backup_of_this_machine").unwrap();
    let unit = fs::read_to_string(contrib("systemd/borg-offsite-backup.service")).unwrap();
    let service = format!(
        "set -a; unset BORG_PASSCOMMAND; CREATE_OPTIONS= QUIET=yes CREDENTIALS_DIRECTORY=/etc/credstore\n\
         [ ! -e /etc/default/borg-offsite-backup ] || . /etc/default/borg-offsite-backup\n{}",
        setting(&unit, "ExecStart")[0]
    );
    let exporter = "case \"$*\" in *node-exporter*) mkdir -p /var/lib/prometheus/node-exporter;; esac";
    let start = "case \"$*\" in\n'start borg-offsite-backup.service') ";
    for (program, script) in [
        ("apt-get", exporter),
        ("make", ""),
        ("journalctl", ""),
        ("systemctl", &format!("echo \"$@\" >> /var/lib/systemctl\n{start}{service}\n;; esac")),
        // The server is this machine.
        (
            "ssh",
            "while [ $# -gt 0 ]; do case $1 in -o|-p|-l|-i|-F) shift 2;; -*) shift;; *) break;; esac; done; shift; exec sh -c \"$*\"",
        ),
    ] {
        let file = format!("bin/{program}");
        world.write(&file, format!("#!/bin/sh\n{script}\n"));
        fs::set_permissions(world.path(&file), PermissionsExt::from_mode(0o755)).unwrap();
    }
    world
}

/// Runs the blocks as one shell would; what they print.
fn follow(world: &World, blocks: &[String]) -> String {
    let path = format!("{}:/usr/local/bin:{}", world.path("bin").display(), std::env::var("PATH").unwrap());
    let mut shell = world.surrounded("sh");
    shell.args(["-eu", "-c", &blocks.concat()]).env("PATH", path);
    shell.env("HOME", "/root").env_remove("XDG_CACHE_HOME").current_dir("/root");
    let output = shell.output().unwrap();
    let (said, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}\n{errors}");
    assert!(!errors.contains("warning"), "{errors}");
    said.into_owned()
}

#[test]
fn the_pages_lead_to_a_backup_that_is_watched_and_can_be_read() {
    let world = machine();
    let said = follow(&world, &blocks(&page("client.md"), "sh"));
    for shown in
        ["ssh-ed25519 ", "/etc/borg-offsite-backup.conf is good", "BORG PAPER KEY", &today(), "\netc\n"]
    {
        assert!(said.contains(shown), "{shown:?} is not in: {said}");
    }
    let asked = fs::read_to_string("/var/lib/systemctl").unwrap();
    for unit in
        ["borg-offsite-backup.timer", "borg-offsite-backup.service", "borg-offsite-backup-mount@mnt-restore"]
    {
        assert!(asked.contains(unit), "{unit}: {asked}");
    }
    let mode = |path: &str| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode("/etc/credstore/borg-offsite-backup.passphrase"), 0o600);
    assert_eq!(mode("/etc/borg-offsite-backup.ping"), 0o600);

    let said = follow(&world, &blocks(&page("monitoring.md"), "sh"));
    assert!(said.contains("borg_backup_last_exit_code"), "{said}");
    let table = page("monitoring.md");
    for name in said.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" gauge")) {
        assert!(table.contains(&format!("| `{name}` |")), "{name} is not on the page");
    }
}

#[test]
fn the_keys_that_the_page_shows_are_good() {
    let dir = tempfile::tempdir().unwrap();
    let shown = blocks(&page("client.md"), "json");
    assert!(shown.len() >= 2);
    for keys in shown {
        let file = dir.path().join("x.conf");
        fs::write(&file, format!("{{\"backup_path\": \"/b\", {keys} }}")).unwrap();
        if let Err(e) = Config::load(&file) {
            panic!("{}", e.chain());
        }
    }
}

#[test]
fn the_pages_lead_nowhere_that_is_not_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for name in ["client.md", "monitoring.md"] {
        for link in page(name).split("](").skip(1).map(|rest| rest.split([')', '#']).next().unwrap()) {
            // Two pages come from another hand.
            let there = root.join("docs").join(link).exists() || ["server.md", "qubes.md"].contains(&link);
            assert!(there, "{name}: {link}");
        }
    }
    for path in ["contrib/notices/mail", "contrib/systemd/mnt-restore.mount", "contrib/monitoring/alerts.yml"]
    {
        let name = Path::new(path).file_name().unwrap().to_str().unwrap();
        assert!(page("client.md").contains(name) || page("monitoring.md").contains(name), "{name}");
    }
}
