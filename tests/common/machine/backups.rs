//! What is in the repository, and a `create` that runs.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::Read;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use serde_json::Value;

use super::Machine;
use crate::common::repository::is_locked;
use crate::common::started::Started;
use crate::common::wait::{SOON, wait_until};

/// Where `create` keeps its state, and mounts what it backs up.
pub const STAGING: &str = "/run/borg-offsite-backup";

/// The name of today's archive.
pub fn today() -> String {
    chrono::Local::now().format("%Y-%m-%d").to_string()
}

impl Machine {
    /// A file of random bytes; with [`Machine::slow`] each MB takes borg a third of a second.
    pub fn write_random(&self, relative: &str, size: u64) {
        let mut bytes = Vec::new();
        fs::File::open("/dev/urandom").unwrap().take(size).read_to_end(&mut bytes).unwrap();
        self.write(relative, bytes);
    }

    pub fn slow(&mut self) {
        self.set("compression", "lzma,9");
    }

    pub fn archives(&self) -> Vec<String> {
        let list: Value = serde_json::from_slice(&self.borg(["list", "--json"]).ok().stdout).unwrap();
        let names = list["archives"].as_array().unwrap().iter();
        names.map(|a| a["name"].as_str().unwrap().to_owned()).collect()
    }

    /// The paths in the archive `name`, those of this machine without its directory (`…/machine-xyz/`).
    pub fn paths(&self, name: &str) -> Vec<String> {
        let place = format!("{}/", self.dir.path().to_str().unwrap().trim_start_matches('/'));
        let list = self.borg(["list", "--format", "{path}{NL}", &format!("::{name}")]).ok();
        let text = String::from_utf8(list.stdout).unwrap();
        text.lines().map(|p| p.strip_prefix(&place).unwrap_or(p).to_owned()).collect()
    }

    pub fn content(&self, name: &str, path: &str) -> String {
        let path = self.path(path);
        let path = path.to_str().unwrap().trim_start_matches('/');
        let extract = self.borg(["extract", "--stdout", &format!("::{name}"), path]).run();
        String::from_utf8(extract.stdout).unwrap()
    }

    /// Starts `create WORDS`.
    pub fn start(&self, words: &[&str]) -> Started {
        self.offsite(["create"]).args(words).start()
    }

    /// The borg processes that work on this machine, by the words of their command lines.
    pub fn borgs(&self) -> Vec<(i32, Vec<OsString>)> {
        let home = self.path("home");
        let mark = [b"HOME=", home.as_os_str().as_bytes()].concat();
        let process = |entry: fs::DirEntry| {
            let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
            let environment = fs::read(entry.path().join("environ")).ok()?;
            environment.split(|b| *b == 0).find(|v| *v == mark)?;
            let cmdline = fs::read(entry.path().join("cmdline")).ok()?;
            let words = cmdline.split(|b| *b == 0).map(|w| OsString::from_vec(w.to_vec()));
            let words: Vec<OsString> = words.collect();
            let is_borg = words.iter().take(3).any(|w| Path::new(w).file_name() == Some(OsStr::new("borg")));
            is_borg.then_some((pid, words))
        };
        fs::read_dir("/proc").unwrap().flatten().filter_map(process).collect()
    }

    /// The process of `borg create ::NAME`, once it holds the repository's lock.
    #[track_caller]
    pub fn wait_for_borg(&self, name: &str) -> i32 {
        let argument = OsString::from(format!("::{name}"));
        let mut found = None;
        let creates = || {
            found = self.borgs().into_iter().find(|(_, words)| words.contains(&argument));
            found.is_some() && is_locked(&self.repository())
        };
        assert!(wait_until(SOON, creates), "no borg creates {name}");
        found.unwrap().0
    }

    /// Waits for the end of every borg of a `create` that was killed.
    #[track_caller]
    pub fn wait_for_no_borg(&self) {
        assert!(wait_until(SOON, || self.borgs().is_empty()), "{:?} still run", self.borgs());
    }

    #[track_caller]
    pub fn assert_nothing_is_left(&self) {
        assert!(self.borgs().is_empty(), "{:?} still run", self.borgs());
        assert!(!self.path("repository/lock.exclusive").exists(), "the repository is still locked");
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let mounts = fs::read_to_string(entry.path().join("mountinfo")).unwrap_or_default();
            let place = format!("{STAGING}{}", self.dir.path().display());
            assert!(!mounts.contains(&place), "{:?} still has staged mounts: {mounts}", entry.path());
        }
        let state: Vec<_> = fs::read_dir(STAGING).unwrap().flatten().map(|e| e.file_name()).collect();
        assert_eq!(state, ["create.lock"]);
        assert_eq!(fs::read(format!("{STAGING}/create.lock")).unwrap(), b"");
    }
}
