//! tests/fakes/borg before the real one in PATH: it counts the calls, and plays faults.

use std::path::PathBuf;

use super::sandbox::Sandbox;

/// See tests/fakes/borg for what it can do.
pub struct FakeBorg {
    dir: PathBuf,
}

impl FakeBorg {
    /// From now on the sandbox's programs find the fake, which calls the sandbox's borg.
    pub fn install(sandbox: &mut Sandbox) -> Self {
        let dir = sandbox.path("fake");
        std::fs::create_dir(&dir).unwrap();
        sandbox.set("FAKE_BORG_DIR", &dir);
        sandbox.set("FAKE_BORG_REAL", sandbox.flavour().dir().join("borg"));
        sandbox.search_first(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fakes").into());
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
