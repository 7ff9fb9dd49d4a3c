//! A machine of its own for one test, on which the program is installed, and units as systemd reads them.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use nix::mount::{MsFlags, mount};

use crate::common::{Machine, Program, binary, bind, tmpfs};
use crate::contrib;

/// Puts the program into /usr/local/bin, and the configuration of `machine` into /etc; only this test
/// sees that.
pub fn installed(machine: &Machine) {
    if !Path::new("/usr/local/bin/borg-offsite-backup").exists() {
        own_directory(machine, "/etc");
        own_directory(machine, "/usr/sbin");
        tmpfs(Path::new("/usr/local/bin"), "mode=755");
        symlink(binary(), "/usr/local/bin/borg-offsite-backup").unwrap();
    }
    fs::copy(machine.path("x.conf"), "/etc/borg-offsite-backup.conf").unwrap();
}

/// A copy over `dir`: links to what was there, which stays readable at another place. What the program would use on
/// this machine is left out, so that no test reads it or writes to it.
pub fn own_directory(machine: &Machine, dir: &str) {
    let before = machine.path("before").join(dir.trim_start_matches('/'));
    bind(Path::new(dir), &before);
    let none: Option<&str> = None;
    mount(none, &before, none, MsFlags::MS_PRIVATE, none).unwrap();
    tmpfs(Path::new(dir), "mode=755");
    for entry in fs::read_dir(&before).unwrap().flatten() {
        let there = Path::new(dir).join(entry.file_name());
        let name = entry.file_name().to_string_lossy().into_owned();
        match &*name {
            "default" => fs::create_dir(there).unwrap(),
            "credstore" => {}
            _ if name.contains("borg-offsite-backup") => {}
            _ => symlink(entry.path(), there).unwrap(),
        }
    }
}

/// What `key` is set to in a unit, each time; an empty value takes back those before it.
pub fn setting(unit: &str, key: &str) -> Vec<String> {
    let lines = unit.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    lines.map(str::to_owned).collect()
}

/// ExecStart of the unit as systemd would start it, with `path` for %f.
pub fn command(machine: &Machine, unit: &str, path: &str) -> Program {
    let unit = fs::read_to_string(contrib("systemd").join(unit)).unwrap();
    for line in setting(&unit, "ExecStartPre") {
        let words = line.replace("%f", path);
        let mut words = words.split(' ');
        Program::new(words.next().unwrap()).args(words).ok();
    }
    let mut variables: Vec<(String, String)> = Vec::new();
    let mut set = |assignment: &str| {
        let (name, value) = assignment.split_once('=').unwrap();
        variables.push((name.to_owned(), value.to_owned()));
    };
    for line in setting(&unit, "Environment") {
        line.split(' ').for_each(&mut set);
    }
    for file in setting(&unit, "EnvironmentFile") {
        let text = fs::read_to_string(file.trim_start_matches('-')).unwrap_or_default();
        text.lines().for_each(&mut set);
    }
    let value = |name: &str| variables.iter().rev().find(|(n, _)| n == name).unwrap().1.clone();
    let line = setting(&unit, "ExecStart").remove(0).replace("%f", path);
    let words = line.split(' ').flat_map(|word| match word.strip_prefix('$') {
        Some(name) => value(name).split_whitespace().map(str::to_owned).collect(),
        None => vec![word.to_owned()],
    });
    let words: Vec<String> = words.collect();
    let program = machine.program(&words[0]).args(&words[1..]);
    variables.iter().fold(program, |program, (name, value)| program.env(name, value))
}
