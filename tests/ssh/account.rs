//! The account that makes the connection.

use std::path::Path;
use std::time::Duration;

use crate::common::{Flavour, Machine, Need, Program, available, binary, wait_until};

#[test]
fn root_connects_with_the_key_the_known_hosts_and_the_configuration_of_the_account() {
    if !available(&[Need::Root, Need::Fuse, Need::Sshd]) {
        return;
    }
    let Some(flavour) = Flavour::any() else { return };
    let mut machine = Machine::with_server(flavour);
    std::fs::write(machine.source().join("letter"), "dear").unwrap();
    machine.offsite(["init", "-e", "repokey-blake2"]).ok();
    machine.offsite(["create"]).ok();
    let listed = machine.offsite(["list", "--short", "::latest"]).ok().stdout();
    assert!(listed.contains("letter"), "{listed}");
    assert!(Path::new("/var/backups/machine/backup/config").exists(), "the path is relative to the home");
    let script = format!(
        "{0:?} --config {1:?} mount ::latest {2:?}; cat {2:?}/{3:?}/letter; {0:?} umount {2:?}",
        binary(),
        machine.config(),
        machine.mount_point(),
        machine.source().strip_prefix("/").unwrap()
    );
    assert_eq!(machine.shell(&script).ok().stdout(), "dear");
    // Without it, root has no key, and does not know what `milena` is.
    machine.unset("ssh_from");
    let said = machine.offsite(["list"]).fails();
    assert!(said.contains("there is no host milena"), "{said}");
}

#[test]
fn who_is_not_root_connects_as_nobody_else() {
    if !available(&[Need::Root, Need::Sshd]) {
        return;
    }
    let Some(flavour) = Flavour::any() else { return };
    let machine = Machine::with_server(flavour);
    let own = |account: &str| {
        let text = format!(
            r#"{{"backup_server": "milena", "backup_user": "machine", "backup_path": "backup", "ssh_from": "{account}"}}"#
        );
        machine.shell(&format!("echo '{text}' > /run/x.conf; chmod 644 /run/x.conf")).ok();
        let program =
            machine.program("setpriv").args(["--reuid=bob", "--regid=bob", "--init-groups", "--reset-env"]);
        copied(program, &machine).args(["--config", "/run/x.conf", "list"]).run()
    };
    let refused = own("root");
    assert_eq!(refused.code(), Some(2), "{refused}");
    assert!(refused.stderr().contains("only root can connect as `root`"), "{refused}");
    let missing = own("nobody-here");
    assert!(missing.stderr().contains("no account `nobody-here` on this machine"), "{missing}");
    // His own name is right: bob gets through, and there is no repository yet.
    let let_through = own("bob");
    assert!(
        let_through.stderr().contains("the directory at ssh://machine@milena/./backup holds no repository"),
        "{let_through}"
    );
}

/// Our program, where anybody can run it.
fn copied(program: Program, machine: &Machine) -> Program {
    machine.shell(&format!("cp {:?} /usr/local/bin/offsite", binary())).ok();
    program.arg("/usr/local/bin/offsite")
}

/// What the account's ssh runs: it takes down which terminals it has, types into each, and connects,
/// or hangs where it is told to at its so manieth call.
const THIEF: &str = r#"#!/usr/bin/python3
import fcntl, os, socket, sys, termios, threading, time
found = []
try:
    found.append(os.open('/dev/tty', os.O_RDWR))
except OSError:
    pass
found += [fd for fd in range(256) if os.path.exists(f'/proc/self/fd/{fd}') and os.isatty(fd)]
for fd in found:
    try:
        for key in b'echo pwned\n':
            fcntl.ioctl(fd, termios.TIOCSTI, bytes([key]))
    except OSError:
        pass
with open('/home/bob/stolen', 'a') as log:
    log.write(f'{found}\n')
calls = len(open('/home/bob/stolen').readlines())
if os.path.exists('/home/bob/hang') and calls >= int(open('/home/bob/hang').read()):
    time.sleep(424242)
line = socket.create_connection(('127.0.0.1', int(sys.argv[1])))
def out():
    while data := line.recv(65536):
        os.write(1, data)
    os._exit(0)
threading.Thread(target=out, daemon=True).start()
while data := os.read(0, 65536):
    line.sendall(data)
line.shutdown(socket.SHUT_WR)
time.sleep(60)
"#;

/// A machine whose bob connects by the thief, and has a repository.
fn den(flavour: Flavour) -> Machine {
    let machine = Machine::with_server(flavour);
    machine.offsite(["init", "-e", "repokey-blake2"]).ok();
    std::fs::write("/home/bob/thief", THIEF).unwrap();
    machine
        .shell("chmod 755 ~bob/thief; echo '    ProxyCommand /home/bob/thief %p' >> ~bob/.ssh/config")
        .ok();
    machine
}

#[test]
fn an_account_that_connects_gets_no_terminal_of_ours() {
    if !available(&[Need::Root, Need::Sshd]) {
        return;
    }
    let Some(flavour) = Flavour::any() else { return };
    let machine = den(flavour);
    let program = format!("{:?} --config {:?}", binary(), machine.config());
    // With a terminal as a further descriptor, too; our connections, and those of a borg.
    for (words, further) in [
        ("list", "exec 7<>/dev/tty;"),
        ("create", "exec 7<>/dev/tty;"),
        ("mount ::latest /run/m", ""),
        ("umount /run/m", ""),
    ] {
        let script = format!("mkdir -p /run/m; {further} {program} {words}");
        let (code, shown) = machine.shell(&script).on_terminal().ends();
        assert!(code == Some(0) && !shown.contains("pwned"), "{words}: {code:?} {shown}");
    }
    let stolen = std::fs::read_to_string("/home/bob/stolen").unwrap();
    assert!(stolen.lines().count() > 5, "{stolen}");
    assert!(stolen.lines().all(|found| found == "[]"), "{stolen}");
}

#[test]
fn what_ssh_would_ask_for_an_account_is_told_as_a_command_to_run_by_hand() {
    if !available(&[Need::Root, Need::Sshd]) {
        return;
    }
    let Some(flavour) = Flavour::any() else { return };
    let machine = Machine::with_server(flavour);
    machine.shell("rm ~bob/.ssh/known_hosts").ok();
    let (code, shown) = machine.offsite(["list"]).on_terminal().ends();
    let by_hand = "runuser --pty -u bob -- ssh machine@milena";
    assert!(code == Some(1) && shown.contains(by_hand), "{code:?} {shown}");
    // It works, and asks.
    let mut asking = machine.shell(by_hand).on_terminal();
    let asked = wait_until(Duration::from_secs(20), || asking.shown().contains("(yes/no"));
    assert!(asked, "{}", asking.shown());
    asking.types(b"yes\n");
    asking.ends();
    machine.shell("ssh-keygen -F milena -f ~bob/.ssh/known_hosts").ok();
}

#[test]
fn ctrl_c_ends_also_what_runs_as_another_account() {
    if !available(&[Need::Root, Need::Sshd]) {
        return;
    }
    let Some(flavour) = Flavour::any() else { return };
    let machine = den(flavour);
    // Our own connection, and the one of a borg that we became.
    for call in [1, 2] {
        machine.shell(&format!("rm -f ~bob/stolen; echo {call} > ~bob/hang")).ok();
        let mut list = machine.offsite(["list"]).on_terminal();
        let hangs = || {
            let stolen = std::fs::read_to_string("/home/bob/stolen").unwrap_or_default();
            stolen.lines().count() == call
        };
        let patience = Duration::from_secs(30);
        assert!(wait_until(patience, hangs));
        list.types(b"\x03");
        let (code, shown) = list.ends();
        assert_ne!(code, Some(0), "{shown}");
        let gone = wait_until(patience, || machine.count("/home/bob/thief") == 0);
        assert!(gone, "{call}: it still runs");
    }
}

#[test]
fn borg_is_found_on_the_server_by_the_name_that_it_has_there() {
    if !available(&[Need::Root, Need::Fuse, Need::Sshd]) {
        return;
    }
    let Some(flavour) = Flavour::any() else { return };
    let mut machine = Machine::with_server(flavour);
    std::fs::write(machine.source().join("letter"), "dear").unwrap();
    // To bob's own account there, whose only borg is called borg1.
    machine.shell("mkdir ~bob/bin; ln -s $(command -v borg) ~bob/bin/borg1; chown -R bob: ~bob/bin").ok();
    machine.set("backup_user", "bob");
    machine.set("remote_path", "/home/bob/bin/borg{borgmajor}");
    let point = machine.mount_point();
    let point = point.to_str().unwrap();
    for words in [
        &["init", "-e", "repokey-blake2"][..],
        &["create"],
        &["list"],
        &["mount", "--source", "native", "::latest", point],
        &["umount", point],
        &["mount", "--source", "stream", "::latest", point],
        &["umount", point],
    ] {
        machine.offsite(words).ok();
    }
    machine.set("remote_path", "/home/bob/bin/borg{borgminor}");
    let said = machine.offsite(["list"]).fails();
    assert!(said.contains("there is no borg on milena") && said.contains("`remote_path`"), "{said}");
    // The variable goes before the configuration, as everywhere.
    machine.set_variable("BORG_REMOTE_PATH", "/home/bob/bin/borg{borgmajor}");
    machine.offsite(["list"]).ok();
}

#[test]
fn a_signal_that_borg_keeps_from_its_connection_does_not_cut_it() {
    let me = nix::unistd::User::from_uid(nix::unistd::geteuid()).unwrap().unwrap().name;
    let inner = "grep SigIgn /proc/$PPID/status";
    let started = format!("trap '' INT; exec {:?} run-as {me} -- sh -c '{inner}'", binary());
    let run = Program::new("sh").args(["-c", &started]).ok();
    let mask = u64::from_str_radix(run.stdout().split_whitespace().last().unwrap(), 16).unwrap();
    let ignored = |signal: i32| mask & 1 << (signal - 1) != 0;
    assert!(ignored(libc::SIGINT) && !ignored(libc::SIGTERM), "{run}");
}
