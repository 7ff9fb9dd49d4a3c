//! A real borg repository of a machine.

use std::path::{Path, PathBuf};

use super::machine::Machine;
use super::needs::left_out;
use super::program::Program;

/// The archive that most tests make: its name is a date, as that of our own archives.
pub const DAY: &str = "2026-03-14";
pub const ARCHIVE: &str = "::2026-03-14";

/// Which borg is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavour {
    /// PyPI's, in `.venv-1.1`, of which there may be old servers and old archives.
    V11,
    /// Debian's.
    V12,
    /// PyPI's, in `.venv` (scripts/setup.sh makes it).
    V14,
}

impl Flavour {
    /// The directory with its `borg`.
    pub fn dir(self) -> PathBuf {
        match self {
            Flavour::V11 => concat!(env!("CARGO_MANIFEST_DIR"), "/.venv-1.1/bin").into(),
            Flavour::V12 => "/usr/bin".into(),
            Flavour::V14 => concat!(env!("CARGO_MANIFEST_DIR"), "/.venv/bin").into(),
        }
    }

    pub fn is_installed(self) -> bool {
        let (borg, version) = match self {
            Flavour::V11 => (self.dir().join("borg"), "borg 1.1."),
            Flavour::V12 => (self.dir().join("borg"), "borg 1.2."),
            Flavour::V14 => (self.dir().join("borg"), "borg 1.4."),
        };
        let right = borg.exists() && Program::new(&borg).arg("--version").ok().stdout().starts_with(version);
        if !right {
            left_out(&format!("{} is no {version}x; `scripts/setup.sh test` installs it", borg.display()));
        }
        right
    }

    /// This flavour, or the other one where it is not installed.
    pub fn any() -> Option<Flavour> {
        [Flavour::V14, Flavour::V12].into_iter().find(|f| f.is_installed())
    }
}

/// Runs `test` once with every borg that we work with.
pub fn each_borg(test: impl Fn(Flavour)) {
    for flavour in [Flavour::V12, Flavour::V14] {
        if flavour.is_installed() {
            eprintln!("with {flavour:?}");
            test(flavour);
        }
    }
}

/// A repository of a machine.
pub struct Repository {
    dir: PathBuf,
}

impl Repository {
    /// A new, local one where the machine is configured to have it.
    pub fn init(machine: &Machine, encryption: &str) -> Self {
        let dir = machine.repository();
        machine.program("borg").args(["init", "--encryption", encryption]).arg(&dir).ok();
        Repository { dir }
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Whether a borg has it for itself.
    pub fn is_locked(&self) -> bool {
        is_locked(&self.dir)
    }

    /// `borg SUBCOMMAND`, on the repository's directory.
    pub fn borg(&self, machine: &Machine, subcommand: &str) -> Program {
        machine.borg(subcommand.split(' ')).env("BORG_REPO", &self.dir)
    }

    /// `borg create` of all that is in the machine's source directory.
    pub fn create(&self, machine: &Machine, archive: &str) {
        self.create_with(machine, archive, &[]);
    }

    pub fn create_with(&self, machine: &Machine, archive: &str, options: &[&str]) {
        let mut names: Vec<_> =
            std::fs::read_dir(machine.source()).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        self.borg(machine, "create")
            .args(options)
            .arg(format!("::{archive}"))
            .arg("--")
            .args(names)
            .current_dir(&machine.source())
            .ok();
    }

    /// What `borg extract` makes of `archive`, in a new directory of the machine.
    pub fn extract(&self, machine: &Machine, archive: &str, options: &[&str]) -> PathBuf {
        let out = tempfile::Builder::new().tempdir_in(machine.path("out")).unwrap().keep();
        self.borg(machine, "extract").args(options).arg(format!("::{archive}")).current_dir(&out).ok();
        out
    }
}

/// Whether a borg has the repository at `dir` for itself. borg up to 1.2 makes the lock's directory first,
/// then the file in it that names the holder.
pub fn is_locked(dir: &Path) -> bool {
    std::fs::read_dir(dir.join("lock.exclusive")).is_ok_and(|mut holders| holders.next().is_some())
}
