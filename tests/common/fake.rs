//! tests/fakes/borg before the real one in PATH: it counts the calls, and plays faults.

use std::path::PathBuf;

use super::machine::Machine;

/// See tests/fakes/borg for what it can do.
pub struct FakeBorg {
    dir: PathBuf,
}

impl FakeBorg {
    /// From now on the machine's programs find the fake, which calls the machine's borg.
    pub fn install(machine: &mut Machine) -> Self {
        let dir = machine.path("fake");
        std::fs::create_dir(&dir).unwrap();
        machine.set_variable("FAKE_BORG_DIR", &dir);
        machine.set_variable("FAKE_BORG_REAL", machine.flavour().dir().join("borg"));
        machine.search_first(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fakes"));
        FakeBorg { dir }
    }

    /// The next calls of `extract` play `fault`.
    pub fn play(&self, fault: &str) {
        std::fs::write(self.dir.join("fault"), fault).unwrap();
    }

    pub fn behave(&self) {
        let _ = std::fs::remove_file(self.dir.join("fault"));
    }

    /// How often `subcommand` was called since the last [`FakeBorg::forget`].
    pub fn calls(&self, subcommand: &str) -> usize {
        let log = std::fs::read(self.dir.join("calls")).unwrap_or_default();
        log.split(|b| *b == b'\n')
            .filter(|line| line.split(|b| *b == 0).next() == Some(subcommand.as_bytes()))
            .count()
    }

    pub fn forget(&self) {
        let _ = std::fs::remove_file(self.dir.join("calls"));
    }
}
