//! contrib/server: what it sets up, and that a client can do nothing else there.

use std::path::Path;

use crate::common::{Flavour, Machine, Need, Program, available};

fn machine() -> Option<Machine> {
    available(&[Need::Root, Need::Sshd]).then_some(())?;
    Some(Machine::with_server(Flavour::any()?))
}

#[test]
fn the_client_can_run_nothing_but_borg_serve() {
    let Some(machine) = machine() else { return };
    let refusal = "this account only serves backups";
    for command in ["id", "sh", "cat /etc/passwd", "scp -t /tmp", "borg list backup", "", "bash -c 'borg'"] {
        let said = machine.ssh(&["machine@milena", command]).fails();
        assert!(said.contains(refusal), "`{command}`: {said}");
    }
    let login = machine.ssh(&["-tt", "machine@milena"]).fails();
    assert!(login.contains(refusal) || login.contains("PTY allocation request failed"), "{login}");
    // What looks right to the shell is still only that one command.
    for smuggled in [
        "borg serve; touch /var/backups/machine/backup/smuggled",
        "borg serve $(touch /var/backups/machine/backup/smuggled)",
        "touch /var/backups/machine/backup/smuggled; borg serve ",
    ] {
        machine.ssh(&["machine@milena", smuggled]).run();
        assert!(!Path::new("/var/backups/machine/backup/smuggled").exists(), "{smuggled}");
    }
    let copy = |program: &str, words: &[&str]| {
        machine
            .program("runuser")
            .args(["-u", "bob", "--", program, "-o", "BatchMode=yes"])
            .args(words)
            .fails()
    };
    for (program, words) in [
        ("scp", &["/etc/hostname", "machine@milena:backup/x"][..]),
        ("scp", &["-O", "/etc/hostname", "machine@milena:backup/x"]),
        ("scp", &["machine@milena:/etc/passwd", "/tmp/x"]),
        ("sftp", &["machine@milena:/etc/passwd"]),
    ] {
        let said = copy(program, words);
        assert!(said.contains(refusal) || said.contains("onnection closed"), "{program}: {said}");
    }
    assert!(!Path::new("/var/backups/machine/backup/x").exists());
}

#[test]
fn the_login_shell_alone_keeps_a_client_from_everything_else() {
    let Some(machine) = machine() else { return };
    machine.shell("cp ~bob/.ssh/its\\ key.pub ~machine/.ssh/authorized_keys").ok();
    for command in ["id", "borg init -e none backup/x", ""] {
        let said = machine.ssh(&["machine@milena", command]).fails();
        assert!(said.contains("this account only serves backups"), "`{command}`: {said}");
    }
    let said = machine.offsite(["list"]).fails();
    assert!(said.contains("holds no repository"), "borg is served: {said}");
}

#[test]
fn nothing_is_forwarded_for_the_client() {
    let Some(machine) = machine() else { return };
    let there = format!("127.0.0.1:{}", machine.port());
    let said = machine.ssh(&["-W", &there, "machine@milena"]).fails();
    assert!(said.contains("administratively prohibited") || said.contains("forwarding failed"), "{said}");
    let back = ["-o", "ExitOnForwardFailure=yes", "-N", "-R", "0:127.0.0.1:22", "machine@milena"];
    let said = machine.ssh(&back).fails();
    assert!(said.contains("remote port forwarding failed"), "{said}");
    let granted = machine.ssh(&["-v", "-A", "-X", "machine@milena", "id"]).fails();
    let options = granted.lines().find(|l| l.contains("key options:")).unwrap_or_else(|| panic!("{granted}"));
    for forbidden in ["agent-forwarding", "x11-forwarding", "port-forwarding", "pty", "user-rc"] {
        assert!(!options.contains(forbidden), "{options}");
    }
}

#[test]
fn the_client_reaches_its_own_repository_only() {
    let Some(mut machine) = machine() else { return };
    machine.shell("install -d -o machine /var/backups/machine-2 /var/backups/machine/backup-2").ok();
    for path in ["/var/backups/machine-2", "/var/backups/machine/backup-2", "backup/../../machine-2", "/"] {
        machine.set("backup_path", path);
        for words in [&["list"][..], &["init", "-e", "none"]] {
            let said = machine.offsite(words).fails();
            assert!(said.contains("does not allow"), "{path}: {said}");
        }
    }
}

#[test]
fn append_only_lets_the_client_delete_nothing_for_good() {
    let Some(machine) = machine() else { return };
    std::fs::write(machine.source().join("letter"), "dear").unwrap();
    machine.add_account(&["--append-only", "--quota", "1G", "/home/bob/.ssh/its key.pub"]).ok();
    machine.offsite(["init", "-e", "repokey-blake2"]).ok();
    machine.offsite(["create"]).ok();
    let segments = || machine.shell("ls /var/backups/machine/backup/data/0").ok().stdout().lines().count();
    let before = segments();
    let transactions = || machine.shell("cat /var/backups/machine/backup/transactions").ok().stdout();
    let last = transactions().lines().last().unwrap().split([' ', ',']).nth(1).unwrap().to_owned();
    let archive = format!("::{}", machine.offsite(["list", "--short"]).ok().stdout().trim());
    machine.offsite(["delete", &archive]).ok();
    machine.offsite(["compact", "--threshold", "0"]).run();
    assert!(segments() > before, "what was deleted is still there");
    // As docs/server.md says: back to the transaction before.
    let undo = page("docs/server.md", "for segment in").replace("last=9", &format!("last={last}"));
    assert!(undo.contains(&format!("last={last}")), "{undo}");
    let undo = format!("cd /var/backups/machine/backup\n{undo}");
    machine.shell(&undo).ok();
    machine
        .program("rm")
        .arg("-r")
        .args(["home/.cache/borg", "home/.config/borg/security"].map(|p| machine.path(p)))
        .ok();
    let undone = machine.offsite(["list", "--short"]).run();
    assert_eq!(undone.stdout().lines().count(), 1, "{undone}\n{}", transactions());
    // When that is taken back, space is given back.
    machine.add_account(&["--no-append-only", "/home/bob/.ssh/its key.pub"]).ok();
    machine.offsite(["delete", &archive]).ok();
    machine.offsite(["compact", "--threshold", "0"]).ok();
    assert!(segments() < before + 2);
}

#[test]
fn the_set_up_can_be_repeated_and_takes_nothing_from_anybody() {
    let Some(machine) = machine() else { return };
    let key = "/home/bob/.ssh/its key.pub";
    let state = || {
        let script =
            "getent passwd machine; cat ~machine/.ssh/authorized_keys; ls -lan ~machine ~machine/.ssh";
        machine
            .shell(script)
            .ok()
            .stdout()
            .lines()
            .filter(|l| !l.contains(" ."))
            .collect::<Vec<_>>()
            .join("\n")
    };
    machine.shell("touch ~machine/backup/kept").ok();
    let first = state();
    assert!(first.contains("restrict,command=\"/usr/local/bin/backupsh\" ssh-ed25519 "), "{first}");
    machine.add_account(&[key]).ok();
    assert!(Path::new("/var/backups/machine/backup/kept").exists());
    machine.shell("ssh-keygen -q -t ed25519 -N '' -f /run/new").ok();
    assert!(machine.add_account(&["/run/new.pub"]).fails().contains("another key already"));
    assert_eq!(state(), first);
    let rehearsed =
        machine.add_account(&["--dry-run", "--append-only", "--replace-key", "/run/new.pub"]).ok().stdout();
    assert!(rehearsed.contains("would write: /var/backups/machine/append-only"), "{rehearsed}");
    assert_eq!(state(), first);
    machine.add_account(&["--replace-key", "/run/new.pub"]).ok();
    assert!(machine.ssh(&["machine@milena", "borg serve"]).fails().contains("Permission denied"));

    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/contrib/server/add-backup-account");
    let fails = |account: &str, key: &str| machine.program(script).args([account, key]).fails();
    assert!(fails("bob", "/run/new.pub").contains("already, for something else"));
    assert!(fails("root", "/run/new.pub").contains("already, for something else"));
    assert!(fails("../x", "/run/new.pub").contains("is no name for an account"));
    assert!(fails("new", "/run/new").contains("public key"), "a private key");
    machine.shell("(echo -n 'command=\"sh\" '; cat /run/new.pub) > /run/sly.pub; cat /run/new.pub /run/new.pub > /run/two.pub").ok();
    assert!(fails("new", "/run/sly.pub").contains("this is no public key"));
    assert!(fails("new", "/run/two.pub").contains("one public key"));
    machine.shell("! getent passwd new; ! test -e /var/backups/new").ok();
    let dry = machine.program(script).args(["--dry-run", "new", "/run/new.pub"]).ok().stdout();
    assert!(dry.contains("would run: useradd"), "{dry}");
    machine.shell("! getent passwd new; ! test -e /var/backups/new").ok();
}

#[test]
fn what_was_set_for_an_account_stays_until_it_is_taken_back() {
    let Some(machine) = machine() else { return };
    let set = |options: &[&str]| {
        let told = machine.add_account(&[options, &["/home/bob/.ssh/its key.pub"]].concat()).ok().stdout();
        let files = machine.shell("cd ~machine; ls append-only || :; cat quota || :").run().stdout();
        (told, files.contains("append-only\n"), files.lines().any(|line| line == "1G"))
    };
    let holds = |(told, append_only, quota): (String, bool, bool), wanted: (bool, bool)| {
        assert_eq!((append_only, quota), wanted, "{told}");
        assert_eq!(told.contains("append-only: yes"), wanted.0, "{told}");
        assert_eq!(told.contains("quota: 1G"), wanted.1, "{told}");
    };
    holds(set(&[]), (false, false));
    holds(set(&["--append-only", "--quota", "1G"]), (true, true));
    holds(set(&[]), (true, true));
    set(&["--dry-run", "--no-append-only", "--no-quota"]);
    holds(set(&[]), (true, true));
    holds(set(&["--no-quota"]), (true, false));
    holds(set(&["--quota", "1G", "--no-append-only"]), (false, true));
    for wrong in [&["--quota", "much"][..], &["--quota", "0"], &["--quota", "no"]] {
        machine.add_account(&[wrong, &["/home/bob/.ssh/its key.pub"]].concat()).fails();
    }
}

/// The block of commands in a page that has `word` in it.
fn page(page: &str, word: &str) -> String {
    let text = std::fs::read_to_string(format!("{}/{page}", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let mut blocks = text.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    blocks.find(|block| block.contains(word)).unwrap_or_else(|| panic!("{page} has no `{word}`")).to_owned()
}

#[test]
fn the_page_about_the_server_can_be_followed_to_the_letter() {
    let Some(machine) = machine() else { return };
    let made = page("docs/server.md", "ssh-keygen -t ed25519");
    machine.program("su").args(["bob", "-c", &format!("cd ~; HOME=/home/bob; {made}")]).ok();
    machine
        .shell(&format!(
            "mkdir /run/there; cp -r '{}/contrib' ~bob/.ssh/id_ed25519.pub /run/there",
            env!("CARGO_MANIFEST_DIR")
        ))
        .ok();
    machine.shell(
        "cd /run/there; mv id_ed25519.pub machine.pub; userdel --force machine; rm -r /var/backups/machine",
    )
    .ok();
    for word in ["--dry-run machine", "--append-only machine machine.pub\n"] {
        let block = page("docs/server.md", word);
        let ours = block.lines().filter(|line| line.starts_with("contrib/server"));
        let told =
            machine.shell(&format!("cd /run/there\n{}", ours.collect::<Vec<_>>().join("\n"))).ok().stdout();
        assert!(
            told.contains("machine is ready") && told.contains("\"/var/backups/machine/backup\""),
            "{told}"
        );
    }
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/server.md")).unwrap();
    let line = machine.shell("cat ~machine/.ssh/authorized_keys").ok().stdout();
    assert!(text.contains(&line[..line.find("AAAA").unwrap() + 4]), "{line}");
    machine.shell("sed -i 's/its key/id_ed25519/' ~bob/.ssh/config").ok();
    let said = machine.ssh(&["machine@milena"]).fails();
    let answer = "backupsh: this account only serves backups: borg serve";
    assert!(said.contains(answer) && text.contains(answer), "{said}");
    let port = machine.port();
    machine.shell(&format!("ssh-keyscan -p {port} 127.0.0.1 >> ~bob/.ssh/known_hosts")).ok();
    let example = text.split("```json\n").nth(1).unwrap().split("```").next().unwrap();
    let example = example.replace("backup.example.org", &format!("127.0.0.1:{port}"));
    std::fs::write(machine.config(), example.replacen('{', "{\"ssh_from\": \"bob\",", 1)).unwrap();
    machine.offsite(["init", "-v", "-e", "keyfile-blake2"]).ok();
}

#[test]
fn the_servers_scripts_are_clean_to_shellcheck() {
    if !Path::new("/usr/bin/shellcheck").exists() {
        return crate::common::needs::left_out("there is no shellcheck; `scripts/setup.sh test` installs it");
    }
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/contrib/server/");
    Program::new("shellcheck")
        .args(["backupsh", "add-backup-account"].map(|name| format!("{dir}{name}")))
        .ok();
}

#[test]
fn root_keeps_every_config_so_that_a_key_that_a_client_replaced_comes_back() {
    let Some(machine) = machine() else { return };
    machine.offsite(["init", "-e", "repokey-blake2"]).ok();
    machine.add_account(&["--append-only", "/home/bob/.ssh/its key.pub"]).ok();
    let keep = || machine.program("/usr/local/bin/keep-backup-configs").ok();
    let copies = || machine.shell("ls ~machine/configs").ok().stdout().lines().count();
    keep();
    assert_eq!(copies(), 1, "what did not change is kept once");
    // Append-only does not protect the key.
    let change = machine.offsite(["key", "change-passphrase"]).env("BORG_NEW_PASSPHRASE", "nobody's");
    change.ok();
    machine.offsite(["list"]).fails();
    keep();
    assert_eq!(copies(), 2);
    let as_client = |script: &str| {
        let client = ["--reuid=machine", "--regid=machine", "--clear-groups", "sh", "-c", script];
        machine.program("setpriv").args(client).run().code()
    };
    assert_ne!(as_client("cat ~machine/configs/*"), Some(0));
    assert_ne!(as_client("rm -r ~machine/configs || mv ~machine/configs ~machine/x"), Some(0));
    machine.shell(
        "cd ~machine; install -o machine -g machine -m 600 configs/$(ls configs | head -n 1) backup/config",
    )
    .ok();
    machine.offsite(["list"]).ok();
    // What the client puts in its place takes nothing that is not the client's, and holds nothing up.
    for trick in ["ln -s /etc/shadow config", "mkfifo config", "ln -s /dev/zero config", "mkdir config"] {
        assert_eq!(as_client(&format!("cd ~machine/backup; mv config kept; {trick}")), Some(0), "{trick}");
        keep();
        assert_eq!(as_client("cd ~machine/backup; rm -r config; mv kept config"), Some(0), "{trick}");
    }
    assert_eq!(copies(), 2);
    assert_eq!(machine.shell("ls -A ~machine/configs | grep -v ^config").run().stdout(), "");
}
