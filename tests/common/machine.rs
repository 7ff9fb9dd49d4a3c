//! A machine for one test: a home, a configuration, a repository and an environment of its own, so that
//! tests share nothing and run side by side.

mod backups;
mod builder;
mod server;

use std::ffi::{OsStr, OsString};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::{Value, json};

pub use backups::{STAGING, today};
pub use builder::Builder;
pub use server::ACCOUNT;

use super::own_mounts::{MountNamespace, unmount_below};
use super::program::Program;
use super::repository::Flavour;
use super::run::Run;
use server::Server;

/// Who owns nothing on most machines: `nobody`.
pub const NOBODY: u32 = 65534;

/// Everything in it is gone when it is dropped. `home`, `source`, `mnt` and `out` are there and empty.
pub struct Machine {
    server: Option<Server>,
    dir: tempfile::TempDir,
    flavour: Flavour,
    config: Value,
    /// Set for every program, after everything else.
    variables: Vec<(String, OsString)>,
    /// Directories searched for programs before any other.
    search: Vec<PathBuf>,
    /// The account that runs the programs; otherwise it is the one that runs the tests.
    user: Option<u32>,
    /// Last: what is mounted in it has to be taken down in it.
    mounts: Option<MountNamespace>,
}

pub fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_borg-offsite-backup"))
}

impl Machine {
    /// One whose borg is `flavour`, and asks no questions.
    pub fn new(flavour: Flavour) -> Self {
        Machine::builder(flavour).unattended().build()
    }

    /// One with mounts and a `/run` of its own, and Debian's borg.
    pub fn isolated() -> Self {
        Machine::builder(Flavour::V12).own_mounts().build()
    }

    /// The same with a repository, which is not encrypted. The configuration lists nothing yet.
    pub fn with_repository() -> Self {
        Machine::isolated().initialised()
    }

    /// The same machine with its repository, which is not encrypted.
    pub fn initialised(self) -> Self {
        self.run(["init", "-e", "none"]).succeeds();
        self
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

    /// The directory of the repository, as far as nothing else is configured.
    pub fn repository(&self) -> PathBuf {
        self.path("repository")
    }

    pub fn config(&self) -> PathBuf {
        self.path("x.conf")
    }

    /// The program under test; a copy of it where another account runs it, which may not be allowed to
    /// where it was built.
    pub fn binary(&self) -> PathBuf {
        if self.user.is_some() { self.path("offsite") } else { binary().to_owned() }
    }

    pub fn write(&self, relative: &str, content: impl AsRef<[u8]>) {
        let path = self.path(relative);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    /// A program `name` that is this shell script, in `bin`, whose path is returned: who is to find it
    /// has to [search it first](Program::search_first).
    pub fn script(&self, name: &str, text: &str) -> PathBuf {
        let bin = self.path("bin");
        write_script(&bin.join(name), text);
        bin
    }

    /// Sets a key of the configuration.
    pub fn set(&mut self, key: &str, value: impl Serialize) {
        self.config[key] = json!(value);
        self.configure(self.config.clone());
    }

    pub fn unset(&mut self, key: &str) {
        self.config.as_object_mut().unwrap().remove(key);
        self.configure(self.config.clone());
    }

    /// Sets all of the configuration.
    pub fn configure(&mut self, members: Value) {
        self.config = members;
        std::fs::write(self.config(), serde_json::to_vec(&self.config).unwrap()).unwrap();
    }

    /// Lists these paths, relative to this machine's directory, in filesystems_to_backup.
    pub fn list(&mut self, paths: &[&str]) {
        let paths: Vec<PathBuf> = paths.iter().map(|path| self.path(path)).collect();
        self.set("filesystems_to_backup", paths);
    }

    /// Sets a variable for every program.
    pub fn set_variable(&mut self, key: &str, value: impl Into<OsString>) {
        self.variables.push((key.to_owned(), value.into()));
    }

    /// Puts `dir` before all other directories in PATH.
    pub fn search_first(&mut self, dir: impl Into<PathBuf>) {
        self.search.insert(0, dir.into());
    }

    /// `name`, with this machine's environment and by its account.
    pub fn program(&self, name: impl AsRef<OsStr>) -> Program {
        let inherited = std::env::var_os("PATH").unwrap_or_default();
        let dirs = self.search.iter().cloned().chain([self.flavour.dir()]);
        let dirs = dirs.chain(std::env::split_paths(&inherited)).chain(["/usr/sbin".into()]);
        let program = Program::new(name)
            .env_clear()
            .env("PATH", std::env::join_paths(dirs).unwrap())
            .env("HOME", self.path("home"))
            .env("XDG_CACHE_HOME", self.path("home/.cache"));
        let program = self.variables.iter().fold(program, |program, (key, value)| program.env(key, value));
        match self.user {
            Some(user) => program.under(as_user(user)),
            None => program,
        }
    }

    /// `script`, for the shell.
    pub fn shell(&self, script: &str) -> Program {
        self.program("sh").args(["-eu", "-c", script])
    }

    /// The program under test with this machine's configuration.
    pub fn offsite<S: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = S>) -> Program {
        self.program(self.binary()).arg("--config").arg(self.config()).args(words)
    }

    pub fn run<S: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = S>) -> Run {
        self.offsite(words).run()
    }

    /// The same with another borg: a shell script, in which `real` is the usual one, and which need not
    /// handle every call.
    pub fn with_borg<S: AsRef<OsStr>>(&self, script: &str, words: impl IntoIterator<Item = S>) -> Program {
        let real = self.flavour.dir().join("borg");
        let text = format!("real() {{ {real:?} \"$@\"; }}\n{script}\nexec {real:?} \"$@\"");
        self.offsite(words).search_first(self.script("borg", &text))
    }

    /// borg itself, on the same repository. borg's own second is too short to take the lock of a killed
    /// one over where the disk is busy.
    pub fn borg<S: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = S>) -> Program {
        let repository = self.config["backup_path"].as_str().unwrap();
        let borg = self.program("borg").args(["--lock-wait", "60"]).args(words);
        borg.env("BORG_REPO", repository).env("BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK", "yes")
    }

    /// From now on everything here belongs to an account that is not root's, and that runs the programs.
    pub fn hand_over(&mut self) {
        std::fs::copy(binary(), self.path("offsite")).unwrap();
        Program::new("chown").args(["-R", &format!("{NOBODY}:{NOBODY}")]).arg(self.path("")).ok();
        std::fs::set_permissions(self.path(""), PermissionsExt::from_mode(0o755)).unwrap();
        self.user = Some(NOBODY);
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.stop_sshd();
        if self.mounts.is_some() {
            // The directory cannot be removed while something is mounted in it.
            unmount_below(self.dir.path());
        }
    }
}

/// What runs a program by the account `user`.
pub fn as_user(user: u32) -> [String; 4] {
    ["setpriv".into(), format!("--reuid={user}"), format!("--regid={user}"), "--clear-groups".into()]
}

/// A shell script that can be executed.
pub fn write_script(file: &Path, text: &str) {
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(file, format!("#!/bin/sh\n{text}\n")).unwrap();
    std::fs::set_permissions(file, PermissionsExt::from_mode(0o755)).unwrap();
}
