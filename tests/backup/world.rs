//! A small world for one test: a mount namespace with a /run of its own, a home, a repository and
//! a configuration, so that tests share nothing and run side by side.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

const BINARY: &str = env!("CARGO_BIN_EXE_borg-offsite-backup");
pub const STAGING: &str = "/run/borg-offsite-backup";
const NOTHING: Option<&str> = None;

pub struct World {
    dir: tempfile::TempDir,
    config: Value,
    user: Option<u32>,
}

/// The tests may themselves be run by something that ignores signals, as nohup does.
fn heeds_signals(command: &mut Command) {
    // SAFETY: signal is allowed between fork and exec.
    unsafe {
        command.pre_exec(|| {
            for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP] {
                libc::signal(signal, libc::SIG_DFL);
            }
            Ok(())
        });
    }
}

/// How one call ended.
pub struct Ran {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl World {
    /// A repository that is initialised, and a configuration that lists nothing yet.
    pub fn new() -> World {
        let mut world = World::without_repository();
        world.set("backup_path", world.path("repository").to_str().unwrap());
        world.run(&["init", "-e", "none"]).succeeds();
        world
    }

    /// The same for a user who is not root.
    pub fn unprivileged() -> World {
        let mut world = World::without_repository();
        world.user = Some(65534);
        for dir in [world.path(""), world.path("home")] {
            std::os::unix::fs::chown(dir, world.user, world.user).unwrap();
        }
        world.set("backup_path", world.path("repository").to_str().unwrap());
        world.run(&["init", "-e", "none"]).succeeds();
        world
    }

    pub fn without_repository() -> World {
        let world = World::in_directory("/tmp");
        tmpfs(world.dir.path(), "mode=755");
        world.furnished()
    }

    /// One that is on the file system of the directory `parent`.
    pub fn on_disk(parent: &str) -> World {
        World::in_directory(parent).furnished()
    }

    fn in_directory(parent: &str) -> World {
        unshare(CloneFlags::CLONE_NEWNS).expect("these tests are for root");
        // Shared, as under systemd, but with nobody outside: what would get out is seen here.
        for propagation in [MsFlags::MS_PRIVATE, MsFlags::MS_SHARED] {
            mount(NOTHING, "/", NOTHING, MsFlags::MS_REC | propagation, NOTHING).unwrap();
        }
        // Other tests mount archives at the same time, and kill those mounts.
        for mount in mounts().lines().filter(|m| m.contains(" - fuse.borg-offsite-backup ")) {
            let _ = umount2(mount.split(' ').nth(4).unwrap(), MntFlags::MNT_DETACH);
        }
        tmpfs(Path::new("/run"), "mode=755");
        let dir = tempfile::Builder::new().prefix("bob-").tempdir_in(parent).unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        World { dir, config: json!({"compression": "none"}), user: None }
    }

    fn furnished(self) -> World {
        fs::create_dir(self.path("home")).unwrap();
        self
    }

    pub fn path(&self, relative: &str) -> PathBuf {
        self.dir.path().join(relative)
    }

    /// Sets a key of the configuration.
    pub fn set(&mut self, key: &str, value: impl Into<Value>) {
        self.config[key] = value.into();
        fs::write(self.path("x.conf"), serde_json::to_vec(&self.config).unwrap()).unwrap();
    }

    /// Lists these paths, relative to this world, in filesystems_to_backup.
    pub fn list(&mut self, paths: &[&str]) {
        let paths: Vec<String> = paths.iter().map(|p| self.path(p).to_str().unwrap().to_owned()).collect();
        self.set("filesystems_to_backup", paths);
    }

    pub fn write(&self, relative: &str, content: impl AsRef<[u8]>) {
        let path = self.path(relative);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// A file of random bytes; with [`World::slow`] each MB takes borg a third of a second.
    pub fn write_random(&self, relative: &str, size: u64) {
        let mut bytes = Vec::new();
        fs::File::open("/dev/urandom").unwrap().take(size).read_to_end(&mut bytes).unwrap();
        self.write(relative, bytes);
    }

    pub fn slow(&mut self) {
        self.set("compression", "lzma,9");
    }

    /// The program, ready to be started.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = match self.user {
            Some(id) => {
                let mut command = Command::new("setpriv");
                command.args([format!("--reuid={id}"), format!("--regid={id}"), "--clear-groups".into()]);
                command.arg(BINARY);
                command
            }
            None => Command::new(BINARY),
        };
        command.arg("--config").arg(self.path("x.conf")).args(args);
        self.surround(&mut command);
        command
    }

    /// Another program, with the environment of this world.
    #[allow(dead_code, reason = "for the tests of the units")]
    pub fn surrounded(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        self.surround(&mut command);
        command
    }

    fn surround(&self, command: &mut Command) {
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap());
        command.env("HOME", self.path("home")).env("XDG_CACHE_HOME", self.path("home/cache"));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        heeds_signals(command);
    }

    pub fn run(&self, args: &[&str]) -> Ran {
        Ran::from(self.command(args).output().unwrap())
    }

    /// The program with another borg: a shell script, in which `real` is the usual one, and which
    /// need not handle every call.
    pub fn with_borg(&self, script: &str, args: &[&str]) -> Command {
        let path = std::env::var_os("PATH").unwrap();
        let is_borg = |dir: &PathBuf| dir.join("borg").exists();
        let real = std::env::split_paths(&path).find(is_borg).unwrap().join("borg");
        let text =
            format!("#!/bin/sh\nreal() {{ {0} \"$@\"; }}\n{script}\nexec {0} \"$@\"\n", real.display());
        self.write("bin/borg", text);
        fs::set_permissions(self.path("bin/borg"), fs::Permissions::from_mode(0o755)).unwrap();
        let dirs = std::iter::once(self.path("bin")).chain(std::env::split_paths(&path));
        let mut command = self.command(args);
        command.env("PATH", std::env::join_paths(dirs).unwrap());
        command
    }

    /// borg itself, on the same repository. borg's own second is too short to take the lock of a
    /// killed one over where the disk is busy.
    pub fn borg(&self, args: &[&str]) -> Command {
        let mut command = Command::new("borg");
        command.args(["--lock-wait", "60"]).args(args);
        self.surround(&mut command);
        command.env("BORG_REPO", self.config["backup_path"].as_str().unwrap());
        command
    }

    pub fn archives(&self) -> Vec<String> {
        let output = self.borg(&["list", "--json"]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let list: Value = serde_json::from_slice(&output.stdout).unwrap();
        let names = list["archives"].as_array().unwrap().iter();
        names.map(|a| a["name"].as_str().unwrap().to_owned()).collect()
    }

    /// The paths in the archive `name`, those of this world without its place (`…/bob-xyz/`).
    pub fn paths(&self, name: &str) -> Vec<String> {
        let place = format!("{}/", self.dir.path().to_str().unwrap().trim_start_matches('/'));
        let output = self.borg(&["list", "--format", "{path}{NL}", &format!("::{name}")]).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().map(|p| p.strip_prefix(&place).unwrap_or(p).to_owned()).collect()
    }

    pub fn content(&self, name: &str, path: &str) -> String {
        let path = self.path(path);
        let path = path.to_str().unwrap().trim_start_matches('/');
        let output = self.borg(&["extract", "--stdout", &format!("::{name}"), path]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    /// Starts `create ARGS`; what it says can be followed line by line.
    pub fn start(&self, args: &[&str]) -> Started {
        let mut command = self.command(&[&["create"], args].concat());
        let mut child = command.spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        Started { child, stderr }
    }

    /// The borg processes that work on this world, by the words of their command lines.
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
    pub fn wait_for_borg(&self, name: &str) -> i32 {
        let argument = OsString::from(format!("::{name}"));
        // borg up to 1.2 makes the lock's directory first, then the file in it that names the holder.
        let lock = self.path("repository/lock.exclusive");
        let is_locked = || fs::read_dir(&lock).is_ok_and(|mut holders| holders.next().is_some());
        until("borg to create", || {
            let found = self.borgs().into_iter().find(|(_, words)| words.contains(&argument));
            found.map(|(pid, _)| pid).filter(|_| is_locked())
        })
    }

    /// Waits for the end of every borg of a `create` that was killed.
    pub fn wait_for_no_borg(&self) {
        until("borg to end", || self.borgs().is_empty().then_some(()));
    }

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

impl Drop for World {
    fn drop(&mut self) {
        // The directory cannot be removed while something is mounted in it.
        let mounts = mounts();
        let dirs = mounts.lines().filter_map(|l| l.split(' ').nth(4)).map(PathBuf::from);
        let mut dirs: Vec<PathBuf> = dirs.filter(|d| d.starts_with(self.dir.path())).collect();
        while let Some(dir) = dirs.pop() {
            let _ = umount2(&dir, MntFlags::MNT_DETACH);
        }
    }
}

/// A `create` that runs; dropped, it is killed.
pub struct Started {
    pub child: Child,
    stderr: BufReader<std::process::ChildStderr>,
}

impl Started {
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).unwrap();
    }

    /// Reads what it says up to a line with these words in it.
    pub fn wait_for_line(&mut self, words: &str) {
        let mut said = String::new();
        while !said.lines().last().is_some_and(|l| l.split_whitespace().eq(words.split_whitespace())) {
            let n = self.stderr.read_line(&mut said).unwrap();
            assert!(n > 0, "it ended without {words:?}, having said: {said}");
        }
    }

    pub fn end(mut self) -> Ran {
        let mut stderr = String::new();
        self.stderr.read_to_string(&mut stderr).unwrap();
        let code = self.child.wait().unwrap().code();
        Ran { code, stdout: String::new(), stderr }
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Ran {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Ran { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

impl Ran {
    #[track_caller]
    pub fn exits(self, code: i32) -> Ran {
        assert_eq!(self.code, Some(code), "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        self
    }

    #[track_caller]
    pub fn succeeds(self) -> Ran {
        self.exits(0)
    }

    #[track_caller]
    pub fn says(self, words: &str) -> Ran {
        assert!(self.stderr.contains(words), "{words:?} is not in: {}", self.stderr);
        self
    }
}

/// The mount table as this test sees it.
pub fn mounts() -> String {
    fs::read_to_string("/proc/thread-self/mountinfo").unwrap()
}

pub fn tmpfs(dir: &Path, options: &str) {
    fs::create_dir_all(dir).unwrap();
    mount(Some("test"), dir, Some("tmpfs"), MsFlags::empty(), Some(options)).unwrap();
}

pub fn bind(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    mount(Some(from), to, NOTHING, MsFlags::MS_BIND, NOTHING).unwrap();
}

/// The name of today's archive.
pub fn today() -> String {
    chrono::Local::now().format("%Y-%m-%d").to_string()
}

/// Polls until `found` gives something.
#[track_caller]
pub fn until<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(value) = found() {
            return value;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
