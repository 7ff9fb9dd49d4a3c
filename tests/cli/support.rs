//! A person at a machine, who is in its directory and names the configuration as it is named there.

use std::ffi::OsStr;

use crate::common::{Flavour, Machine, Program, Run};

/// With a configuration of a local repository that is not made yet.
pub fn machine() -> Machine {
    let mut machine = Machine::builder(Flavour::V12).build();
    machine.set("filesystems_to_backup", ["/"]);
    machine
}

/// With an empty directory where the repository will be, which is all that `check-config` looks at.
pub fn with_directory() -> Machine {
    let machine = machine();
    std::fs::create_dir(machine.repository()).unwrap();
    machine
}

/// With an unencrypted repository that holds, for each of `archives`, a directory `files` with a
/// `letter` that says the archive's name.
pub fn with_archives(archives: &[&str]) -> Machine {
    let machine = machine();
    machine.borg(["init", "-e", "none"]).ok();
    std::fs::create_dir(machine.path("files")).unwrap();
    for name in archives {
        machine.write("files/letter", name);
        machine.borg_here(["create", &format!("::{name}"), "files"]);
    }
    machine
}

pub trait Console {
    /// `program` in the machine's directory.
    fn command(&self, program: impl AsRef<OsStr>) -> Program;

    /// Our program with the machine's configuration.
    fn ours<S: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = S>) -> Program;

    /// Runs borg itself, which must succeed.
    fn borg_here<S: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = S>) -> Run;

    /// What was printed, with the machine's directory as `DIR`.
    fn text(&self, bytes: &[u8]) -> String;
}

impl Console for Machine {
    fn command(&self, program: impl AsRef<OsStr>) -> Program {
        self.program(program).current_dir(&self.path(""))
    }

    fn ours<S: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = S>) -> Program {
        self.command(self.binary()).args(["--config", "x.conf"]).args(words)
    }

    fn borg_here<S: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = S>) -> Run {
        self.borg(words).current_dir(&self.path("")).ok()
    }

    fn text(&self, bytes: &[u8]) -> String {
        let dir = self.path("");
        String::from_utf8_lossy(bytes).replace(dir.to_str().unwrap().trim_end_matches('/'), "DIR")
    }
}
