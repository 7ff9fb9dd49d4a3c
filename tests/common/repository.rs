//! A real borg repository in a sandbox.

use std::path::{Path, PathBuf};

use super::needs::left_out;
use super::program::Program;
use super::sandbox::Sandbox;

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

/// A repository of a sandbox, and its place in a configuration.
pub struct Repository {
    dir: PathBuf,
    server: Option<(String, String)>,
}

impl Repository {
    /// A new, local one at `repo` in the sandbox; the sandbox is configured for it.
    pub fn init(sandbox: &Sandbox, encryption: &str) -> Self {
        let repository = Repository { dir: sandbox.path("repo"), server: None };
        let dir = &repository.dir;
        sandbox.program("borg").args(["init", "--encryption", encryption]).arg(dir).ok();
        sandbox.configure(&repository, "");
        repository
    }

    /// The same repository, reached as `user` over ssh on `server` (`host:port`); the sandbox is
    /// configured for it.
    pub fn over_ssh(self, sandbox: &Sandbox, user: &str, server: &str) -> Self {
        let repository = Repository { server: Some((user.to_owned(), server.to_owned())), ..self };
        sandbox.configure(&repository, "");
        repository
    }

    /// Is reached in its directory again.
    pub fn come_here(&mut self, sandbox: &Sandbox) {
        self.server = None;
        sandbox.configure(self, "");
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Its place, as members of the configuration.
    pub fn as_config(&self) -> String {
        let path = format!("\"backup_path\": {:?}", self.dir.to_str().unwrap());
        match &self.server {
            None => path,
            Some((user, server)) => {
                format!("{path}, \"backup_user\": {user:?}, \"backup_server\": {server:?}")
            }
        }
    }

    /// Whether a borg has it for itself. borg up to 1.2 makes the lock's directory first, then the file in
    /// it that names the holder.
    pub fn is_locked(&self) -> bool {
        std::fs::read_dir(self.dir.join("lock.exclusive")).is_ok_and(|mut holders| holders.next().is_some())
    }

    /// `borg SUBCOMMAND`, on the repository's directory.
    pub fn borg(&self, sandbox: &Sandbox, subcommand: &str) -> Program {
        sandbox.program("borg").env("BORG_REPO", &self.dir).args(subcommand.split(' '))
    }

    /// `borg create` of all that is in the sandbox's source directory.
    pub fn create(&self, sandbox: &Sandbox, archive: &str) {
        self.create_with(sandbox, archive, &[]);
    }

    pub fn create_with(&self, sandbox: &Sandbox, archive: &str, options: &[&str]) {
        let mut names: Vec<_> =
            std::fs::read_dir(sandbox.source()).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        self.borg(sandbox, "create")
            .args(options)
            .arg(format!("::{archive}"))
            .arg("--")
            .args(names)
            .current_dir(&sandbox.source())
            .ok();
    }

    /// What `borg extract` makes of `archive`, in a new directory of the sandbox.
    pub fn extract(&self, sandbox: &Sandbox, archive: &str, options: &[&str]) -> PathBuf {
        let out = tempfile::Builder::new().tempdir_in(sandbox.path("out")).unwrap().keep();
        self.borg(sandbox, "extract").args(options).arg(format!("::{archive}")).current_dir(&out).ok();
        out
    }
}
