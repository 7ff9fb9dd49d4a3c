//! docs/client.md and docs/monitoring.md, followed to the letter: each `sh` block is run, in its order, on a
//! machine of its own. What needs another machine or systemd has a stand-in.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use borg_offsite_backup::config::Config;

use crate::common::{Machine, tmpfs, today};
use crate::contrib;
use crate::installed::{installed, setting};

fn page(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(name)).unwrap()
}

fn blocks(page: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    page.split(&fence).skip(1).map(|rest| rest.split("```").next().unwrap().to_owned()).collect()
}

/// Where root's home, /etc and the like are empty or copies.
fn machine() -> Machine {
    let machine = Machine::isolated();
    machine.write("x.conf", "{}");
    installed(&machine);
    fs::remove_file("/etc/borg-offsite-backup.conf").unwrap();
    for dir in ["/root", "/var/backups", "/var/lib", "/mnt"] {
        tmpfs(Path::new(dir), "mode=755");
    }
    fs::create_dir("/var/backups/backup_of_this_machine").unwrap();
    // Somebody connected once by hand.
    fs::create_dir("/root/.ssh").unwrap();
    fs::write("/root/.ssh/known_hosts", "").unwrap();
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
        machine.script(program, script);
    }
    machine
}

/// Runs the blocks as one shell would; what they print.
fn follow(machine: &Machine, blocks: &[String]) -> String {
    let shell = machine.shell(&blocks.concat());
    let shell = shell.search_first("/usr/local/bin").search_first(machine.path("bin"));
    let shell = shell.env("HOME", "/root").env_remove("XDG_CACHE_HOME").current_dir(Path::new("/root"));
    let run = shell.ok();
    assert!(!run.stderr().contains("warning"), "{run}");
    format!("{}{}", run.stdout(), run.stderr())
}

/// The blocks before the section of a new machine, and those in it.
fn old_and_new_machine() -> [Vec<String>; 2] {
    let page = page("client.md");
    let (old, new) = page.split_once("## When the machine is gone").unwrap();
    [blocks(old, "sh"), blocks(new, "sh")]
}

#[test]
fn the_pages_lead_to_a_backup_that_is_watched_and_can_be_read() {
    let machine = machine();
    let [old, new] = old_and_new_machine();
    let said = follow(&machine, &old);
    let there = format!("There is an archive {} already", today());
    for shown in ["ssh-ed25519 ", "/etc/borg-offsite-backup.conf is good", "BORG PAPER KEY", &today(), &there]
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

    let said = follow(&machine, &blocks(&page("monitoring.md"), "sh"));
    assert!(said.contains("borg_backup_last_exit_code"), "{said}");
    // The machine burns down; what is at /mnt, and the server, do not.
    for dir in ["/root", "/etc/credstore", "/etc/default"] {
        fs::remove_dir_all(dir).or_else(|_| tmpfs_over(dir)).unwrap();
    }
    fs::remove_file("/etc/borg-offsite-backup.conf").unwrap();
    let said_by_new = follow(&machine, &new);
    for shown in ["/etc/borg-offsite-backup.conf is good", &today(), "\netc\n"] {
        assert!(said_by_new.contains(shown), "{shown:?} is not in: {said_by_new}");
    }

    let table = page("monitoring.md");
    for name in said.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" gauge")) {
        assert!(table.contains(&format!("| `{name}` |")), "{name} is not on the page");
    }
}

/// A mount point cannot be removed, and need not be.
fn tmpfs_over(dir: &str) -> std::io::Result<()> {
    tmpfs(Path::new(dir), "mode=755");
    Ok(())
}

#[test]
fn what_a_command_before_the_backup_makes_is_backed_up() {
    let page = page("client.md");
    let configured = blocks(&page, "sh").concat();
    let list = configured.split("\"filesystems_to_backup\": ").nth(1).unwrap();
    let listed: Vec<String> = serde_json::from_str(&list[..=list.find(']').unwrap()]).unwrap();
    let dump = page.split("\"before_backup\": ").nth(1).unwrap();
    let command: Vec<String> = serde_json::from_str(&dump[..=dump.find(']').unwrap()]).unwrap();
    let made = command.last().unwrap();
    assert!(listed.iter().any(|dir| Path::new(made).starts_with(dir)), "{made} is not in {listed:?}");
    assert!(page.contains(&format!("\"rm\", \"-f\", {made:?}")), "it is removed afterwards");
}

#[test]
fn what_was_built_for_dom0_is_unpacked_over_it() {
    let machine = machine();
    machine.script("sudo", "exec \"$@\"");
    machine.script("qvm-run", "shift 2; cd && exec sh -c \"$*\"");
    machine.script("qubes-dom0-update", "");
    // All but the binary, which takes minutes to build.
    let make =
        format!("shift; exec /usr/bin/make -C '{}' install-contrib \"$@\"", env!("CARGO_MANIFEST_DIR"));
    machine.script("make", &make);
    // A dom0 where /sbin is a link.
    let dom0 = machine.path("dom0");
    for dir in ["usr/sbin", "usr/local"] {
        fs::create_dir_all(dom0.join(dir)).unwrap();
    }
    std::os::unix::fs::symlink("usr/sbin", dom0.join("sbin")).unwrap();
    fs::set_permissions(dom0.join("usr"), PermissionsExt::from_mode(0o751)).unwrap();
    let page = page("qubes.md");
    let blocks: Vec<String> =
        blocks(&page, "sh").into_iter().filter(|block| block.contains("dom0.tar.gz")).collect();
    let blocks: Vec<String> =
        blocks.iter().map(|block| block.replace("-C / ", &format!("-C '{}' ", dom0.display()))).collect();
    assert_eq!(blocks.len(), 2);
    follow(&machine, &blocks);
    for path in
        ["usr/sbin/mount.borg-offsite-backup", "usr/local/lib/systemd/system/borg-offsite-backup.timer"]
    {
        assert!(fs::symlink_metadata(dom0.join(path)).is_ok(), "{path}");
    }
    assert!(fs::symlink_metadata(dom0.join("sbin")).unwrap().is_symlink());
    assert_eq!(fs::metadata(dom0.join("usr")).unwrap().permissions().mode() & 0o777, 0o751);
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
fn what_is_shipped_beside_the_program_stands_in_the_pages() {
    for path in ["contrib/notices/mail", "contrib/systemd/mnt-restore.mount", "contrib/monitoring/alerts.yml"]
    {
        let name = Path::new(path).file_name().unwrap().to_str().unwrap();
        assert!(page("client.md").contains(name) || page("monitoring.md").contains(name), "{name}");
    }
}
