//! A temporary directory with a home, a configuration and an environment of its own.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::program::Program;
use super::repository::{Flavour, Repository};

/// Everything in it is gone when it is dropped.
pub struct Sandbox {
    dir: tempfile::TempDir,
    flavour: Flavour,
    /// Set for every program that is run in here, after everything else.
    environment: Vec<(String, OsString)>,
    /// Directories searched for programs before any other.
    path: Vec<PathBuf>,
}

impl Sandbox {
    pub fn new(flavour: Flavour) -> Self {
        let dir = tempfile::Builder::new().prefix("offsite test.").tempdir().unwrap();
        for name in ["home", "source", "mnt", "out"] {
            std::fs::create_dir(dir.path().join(name)).unwrap();
        }
        Sandbox { dir, flavour, environment: Vec::new(), path: vec![flavour.dir()] }
    }

    pub fn flavour(&self) -> Flavour {
        self.flavour
    }

    pub fn path(&self, relative: &str) -> PathBuf {
        self.dir.path().join(relative)
    }

    /// The directory whose content is backed up.
    pub fn source(&self) -> PathBuf {
        self.path("source")
    }

    /// An empty directory to mount on.
    pub fn mount_point(&self) -> PathBuf {
        self.path("mnt")
    }

    pub fn set(&mut self, key: &str, value: impl Into<OsString>) {
        self.environment.push((key.to_owned(), value.into()));
    }

    /// Puts `dir` before all other directories in PATH.
    pub fn search_first(&mut self, dir: PathBuf) {
        self.path.insert(0, dir);
    }

    /// `name`, with the environment of the sandbox.
    pub fn program(&self, name: impl AsRef<std::ffi::OsStr>) -> Program {
        let inherited = std::env::var_os("PATH").unwrap_or_default();
        let path = std::env::join_paths(
            self.path.iter().cloned().chain(std::env::split_paths(&inherited)).chain(["/usr/sbin".into()]),
        );
        let program = Program::new(name)
            .env("PATH", path.unwrap())
            .env("HOME", self.path("home"))
            .env("BORG_BASE_DIR", self.path("home"))
            .env("XDG_CACHE_HOME", self.path("home/.cache"))
            .env("BORG_PASSPHRASE", "")
            .env("BORG_KEY_FILE", self.path("home/key"))
            .env("BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK", "yes");
        self.environment.iter().fold(program, |p, (key, value)| p.env(key, value))
    }

    /// Writes the configuration: `members` are its JSON members beside the repository's place.
    pub fn configure(&self, repository: &Repository, members: &str) {
        let comma = if members.is_empty() { "" } else { ", " };
        let text = format!("{{ {}{comma}{members} }}\n", repository.as_config());
        std::fs::write(self.config(), text).unwrap();
    }

    pub fn config(&self) -> PathBuf {
        self.path("offsite.conf")
    }

    /// The program under test, with the configuration of the sandbox.
    pub fn offsite(&self, command: &str) -> Program {
        self.program(binary()).arg("--config").arg(self.config()).arg(command)
    }
}

pub fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_borg-offsite-backup"))
}
