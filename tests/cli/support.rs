//! A home directory of its own for each test, with a configuration, a repository and borg's caches.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

pub const PROGRAM: &str = env!("CARGO_BIN_EXE_borg-offsite-backup");

pub struct Home {
    dir: tempfile::TempDir,
}

impl Home {
    /// With a configuration of a local repository, which is not made yet.
    pub fn new() -> Self {
        let home = Home { dir: tempfile::tempdir().unwrap() };
        home.configure(format!(
            r#"{{"backup_path": "{}", "filesystems_to_backup": ["/"]}}"#,
            home.path("repository").display()
        ));
        home
    }

    /// With an empty directory where the repository will be, which is all that `check-config` looks at.
    pub fn with_directory() -> Self {
        let home = Home::new();
        std::fs::create_dir(home.path("repository")).unwrap();
        home
    }

    /// With an unencrypted repository that holds, for each of `archives`, a directory `files` with a
    /// `letter` that says the archive's name.
    pub fn with_archives(archives: &[&str]) -> Self {
        let home = Home::new();
        home.borg(["init", "-e", "none"]);
        std::fs::create_dir(home.path("files")).unwrap();
        for name in archives {
            std::fs::write(home.path("files/letter"), name).unwrap();
            home.borg(["create", &format!("::{name}"), "files"]);
        }
        home
    }

    pub fn path(&self, relative: &str) -> PathBuf {
        self.dir.path().join(relative)
    }

    pub fn configure(&self, text: impl AsRef<[u8]>) {
        std::fs::write(self.path("x.conf"), text).unwrap();
    }

    /// `program` in this home, with no variable of borg's or ours set.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        for (name, _) in std::env::vars_os() {
            if name.to_str().is_some_and(|n| n.starts_with("BORG_") || n.starts_with("XDG_")) {
                command.env_remove(name);
            }
        }
        for name in ["QUIET", "NO_COLOR", "LC_ALL"] {
            command.env_remove(name);
        }
        command.env("HOME", self.dir.path()).current_dir(self.dir.path()).stdin(Stdio::null());
        command
    }

    /// Our program with this home's configuration.
    pub fn ours<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = self.command(PROGRAM);
        command.arg("--config").arg("x.conf").args(args);
        command
    }

    /// Runs borg itself, which must succeed.
    pub fn borg<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) {
        let output = self
            .command("borg")
            .args(args)
            .env("BORG_REPO", self.path("repository"))
            .env("BORG_KEY_FILE", self.path(".borg-offsite-backup.key"))
            .env("BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK", "yes")
            .env("BORG_PASSPHRASE", "")
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// Puts a program named borg before the real one; `script` is for the shell.
    pub fn fake_borg(&self, script: &str) -> PathBuf {
        let dir = self.path("bin");
        std::fs::create_dir_all(&dir).unwrap();
        let file = dir.join("borg");
        std::fs::write(&file, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        dir
    }

    /// What was printed, with this home's directory as `HOME`.
    pub fn text(&self, bytes: &[u8]) -> String {
        String::from_utf8_lossy(bytes).replace(&*self.dir.path().to_string_lossy(), "HOME")
    }
}

/// `dir` before the directories of PATH.
pub fn path_with(dir: &Path) -> String {
    format!("{}:{}", dir.display(), std::env::var("PATH").unwrap())
}

#[track_caller]
pub fn ends_with_code(output: &Output, code: i32) {
    assert_eq!(
        output.status.code(),
        Some(code),
        "stdout: {}\nstderr: {}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}
